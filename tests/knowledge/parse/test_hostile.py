"""Files that attack their reader: each ends in a clear failure, and the parent reads on."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pytest_django import Settings
from reportlab.pdfgen.canvas import Canvas

from tests.bounded import in_time
from tests.knowledge.parse import made
from tests.knowledge.parse.conftest import Read, Refuse, told

PARAGRAPH = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"
LAUGHS = '<!ENTITY l0 "lol">' + "".join(
    f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12)
)
SECRET = "the secret of the server"


@pytest.fixture(autouse=True)
def the_parent_lives_on(read: Read) -> Iterator[None]:
    """After each attack no child is left, no memory was taken, and the next document is read."""
    process = psutil.Process()
    children, memory = set(process.children()), process.memory_info().rss
    yield
    assert set(process.children()) <= children
    assert process.memory_info().rss - memory < 100 * 2**20
    assert read("All is well.", "txt").text == "All is well."


@pytest.mark.parametrize("entities", ['<!ENTITY x SYSTEM "{url}">', LAUGHS + '<!ENTITY x "&l11;">'])
@pytest.mark.parametrize("file_type", ["docx", "pptx", "xlsx"])
def test_it_expands_and_fetches_no_entities(
    entities: str, file_type: str, tmp_path: Path, read: Read, refuse: Refuse
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    plain = {
        "docx": made.word_xml(PARAGRAPH.format("MARK")),
        "pptx": made.slides(lambda deck: _titled(deck, "MARK")),
        "xlsx": made.sheets(lambda book: book.active.append(["MARK", "x"])),
    }[file_type]
    assert "MARK" in read(plain, file_type).text

    def attack(_name: str, content: bytes) -> bytes:
        if b"MARK" not in content:
            return content
        start = content.index(b"<", 1) if content.startswith(b"<?xml") else 0
        doctype = f"<!DOCTYPE root [{entities.format(url=secret.as_uri())}]>".encode()
        return content[:start] + doctype + content[start:].replace(b"MARK", b"MARK&x;")

    assert refuse(made.changed(plain, attack), file_type).code == "broken"


def _four_times(make: Callable[[], None]) -> None:
    for _time in range(4):
        make()


def _page_of_text(canvas: Canvas) -> None:
    canvas.drawString(72, 700, "A page of text.")
    canvas.showPage()


def _titled(deck: Any, title: str) -> None:
    deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = title


def test_it_fetches_nothing_for_a_page(tmp_path: Path, read: Read) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    url = secret.as_uri()
    page = (
        f'<!DOCTYPE html [<!ENTITY x SYSTEM "{url}">]><p>Seen &x;</p>'
        f'<iframe src="{url}"></iframe><object data="{url}"></object>'
    )
    text = read(page, "html").text
    assert "Seen" in text
    assert SECRET not in text


@pytest.mark.parametrize("file_type", ["docx", "xlsx"])
def test_it_stops_inflating_a_bomb(file_type: str, read: Read, refuse: Refuse) -> None:
    plain = (
        made.word_xml(PARAGRAPH.format("text"))
        if file_type == "docx"
        else made.sheets(lambda book: book.active.append(["text", "x"]))
    )
    part = "word/document.xml" if file_type == "docx" else "xl/worksheets/sheet1.xml"
    assert "text" in read(plain, file_type).text
    bomb = made.changed(
        plain, lambda name, content: content + b" " * (25 * 2**20) if name == part else content
    )
    assert len(bomb) < 200_000
    assert refuse(bomb, file_type).code == "too_large"


def test_it_counts_what_many_parts_inflate_to_together(refuse: Refuse, read: Read) -> None:
    """No part is a bomb by itself."""
    blank = b" " * (9 * 2**20)

    def bomb(parts: int) -> bytes:
        plain = made.sheets(lambda book: book.active.append(["text", "x"]))
        with zipfile.ZipFile(io.BytesIO(plain)) as old:
            kept = {name: old.read(name) for name in old.namelist()}
        extra = {f"xl/extra{n}.xml": blank for n in range(parts)}
        return made.package({**kept, **extra}, level=1)

    assert read(bomb(2), "xlsx").text
    assert refuse(bomb(40), "xlsx").code == "too_large"


def test_it_refuses_a_directory_that_lies_about_sizes(refuse: Refuse) -> None:
    data = bytearray(made.word_xml(PARAGRAPH.format("text " * 1000)))
    at = data.rindex(b"word/document.xml") - 46 + 24
    assert struct.unpack_from("<I", data, at)[0] > 5000
    struct.pack_into("<I", data, at, 10)
    assert refuse(bytes(data), "docx").code == "broken"


def test_it_does_not_open_zips_inside_of_zips(read: Read) -> None:
    inner = made.package({"zeros": b"\0" * (20 * 2**20)})
    plain = made.word_xml(PARAGRAPH.format("text"))
    with zipfile.ZipFile(io.BytesIO(plain)) as old:
        kept = {name: old.read(name) for name in old.namelist()}
    assert read(made.package({**kept, "word/inner.zip": inner}), "docx").text == "text"


def test_it_refuses_a_zip_of_very_many_parts(refuse: Refuse) -> None:
    assert refuse(made.package({f"{n}": "" for n in range(20_001)}), "docx").code == "too_large"


@pytest.mark.parametrize("file_type", ["docx", "pptx", "xlsx"])
@pytest.mark.parametrize(
    "content", [b"no zip", made.package({}), made.package({"a": "b"}), made.word_xml("x")[:-200]]
)
def test_it_refuses_office_files_that_are_none(
    content: bytes, file_type: str, refuse: Refuse
) -> None:
    failed = refuse(content, file_type)
    # Of half a docx under another name its true name is said.
    is_misnamed = content.startswith(b"PK") and b"word/" in content and file_type != "docx"
    assert failed.code == ("unsupported_content" if is_misnamed else "broken")
    assert failed.is_permanent


@pytest.mark.parametrize("file_type", ["docx", "pptx", "xlsx"])
def test_it_tells_encrypted_office_files_from_old_ones(file_type: str, refuse: Refuse) -> None:
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 3000
    assert refuse(ole + "EncryptedPackage".encode("utf-16-le"), file_type).code == "encrypted"
    assert refuse(ole, file_type).code == "unsupported_content"


def test_it_refuses_xml_that_is_nested_without_end(read: Read, refuse: Refuse) -> None:
    def nested(depth: int) -> bytes:
        return made.word_xml(
            "<w:sdt><w:sdtContent>" * depth
            + PARAGRAPH.format("deep")
            + "</w:sdtContent></w:sdt>" * depth
        )

    assert read(nested(50), "docx").text == "deep"
    assert refuse(nested(100_000), "docx").code == "broken"


def test_it_refuses_json_that_is_nested_without_end(read: Read, refuse: Refuse) -> None:
    assert read("[" * 100 + "1" + "]" * 100, "json").text.endswith("1")
    assert refuse("[" * 200_000 + "]" * 200_000, "json").code == "unsupported_content"


@pytest.mark.parametrize("tag", ["div", "table><tr><td", "ul><li", "b"])
def test_it_survives_a_page_that_is_nested_without_end(tag: str, read: Read) -> None:
    assert "deep" in read(f"<p>start</p>{f'<{tag}>' * 60}deep", "html").text
    assert read(f"<p>start</p>{f'<{tag}>' * 20_000}deep", "html").text.startswith("start")


def test_it_refuses_a_line_of_a_million_columns(read: Read, refuse: Refuse) -> None:
    assert told(read("a,b\n" + "x," * 16_000, "csv"))[0] == ("table_header", "a | b")
    assert refuse("x," * 1_000_000, "csv").code == "too_large"
    assert refuse("x\t" * 17_000, "csv").code == "too_large"


def test_it_refuses_cells_in_columns_that_no_sheet_has(refuse: Refuse) -> None:
    plain = made.sheets(lambda book: book.active.append(["text", "x"]))

    def far(_name: str, content: bytes) -> bytes:
        return content.replace(b'r="B1"', b'r="ZZZZZZ1"')

    assert refuse(made.changed(plain, far), "xlsx").code in ("too_large", "broken", "out_of_memory")


def test_it_refuses_rows_that_no_sheet_has(refuse: Refuse) -> None:
    plain = made.sheets(lambda book: book.active.append(["text", "x"]))

    def far(_name: str, content: bytes) -> bytes:
        return content.replace(b'<row r="1"', b'<row r="99999999"').replace(b'"A1"', b'"A99999999"')

    assert refuse(made.changed(plain, far), "xlsx").code in ("too_large", "broken")


@pytest.mark.parametrize("file_type", ["txt", "md", "csv", "json", "html"])
def test_it_refuses_more_text_than_allowed(
    file_type: str, refuse: Refuse, read: Read, settings: Settings
) -> None:
    text = {"json": f'["{"word " * 300}"]'}.get(file_type, "word " * 300)
    assert len(read(text, file_type).text) > 1000
    settings.PARSE_MAX_CHARS = 1000
    assert refuse(text, file_type).code == "too_large"


def test_it_refuses_more_pages_than_allowed(read: Read, refuse: Refuse, settings: Settings) -> None:
    pages = made.pdf(lambda canvas: _four_times(lambda: _page_of_text(canvas)))
    sheets = made.sheets(lambda book: _four_times(lambda: book.create_sheet().append(["x", "y"])))
    slides = made.slides(lambda deck: _four_times(lambda: _titled(deck, "text")))
    files = {"pdf": pages, "xlsx": sheets, "pptx": slides}
    for settings.PARSE_MAX_PAGES, is_allowed in ((5, True), (3, False)):
        for file_type, content in files.items():
            if is_allowed:
                assert read(content, file_type).page_count in (4, 5)
            else:
                assert refuse(content, file_type).code == "too_large"


def test_it_refuses_a_pdf_that_claims_a_million_pages(refuse: Refuse) -> None:
    data = made.pdf(lambda canvas: canvas.drawString(72, 700, "One page of text."))
    lying = data.replace(b"/Count 1 ", b"/Count 1000000 ")
    assert lying != data
    assert refuse(lying, "pdf").code in ("too_large", "broken")


def test_it_refuses_what_takes_too_much_memory(
    read: Read, refuse: Refuse, settings: Settings
) -> None:
    big = "word " * 3_900_000
    assert len(read(big, "txt").text) > 10_000_000
    settings.PARSE_MEMORY_MB = 64
    assert read("word", "txt").text == "word"
    failed = refuse(big, "txt")
    assert (failed.code, failed.is_permanent) == ("out_of_memory", True)


def test_it_refuses_what_takes_too_much_time(refuse: Refuse, settings: Settings) -> None:
    settings.PARSE_TIMEOUT_S = 2
    failed = refuse("<p>x<b>y</b></p>" * 1_000_000, "html")
    assert failed.code == "timed_out"


def test_it_reads_comments_that_never_end_in_one_pass(read: Read) -> None:
    assert read("start " + "<!--" * 1_000_000, "md").text.startswith("start <!--")
    assert read("start " + "<!--" * 1_000_000 + "-->", "md").text == "start"
    assert read("start " + "<!-->" * 500_000, "md").text.startswith("start")
    assert read("~~~ `\n" * 500_000 + "<!-- -->", "md").text.startswith("~~~ `")
    assert read("---\n" + "a: b\n" * 200_000, "md").text.startswith("a: b")
    assert read("| a |\n" * 100_000, "md").text.startswith("| a |")
    assert read("#" * 1_000_000, "md").text


def test_it_reads_names_of_charsets_that_never_end(read: Read) -> None:
    assert read("<meta " * 500_000 + "><p>text", "html").text == "text"


@pytest.mark.parametrize("depth", [1, 14])
def test_text_boxes_in_text_boxes_are_read_once(read: Read, depth: int) -> None:
    body = PARAGRAPH.format("In the box.")
    for _level in range(depth):
        box = f"<w:pict><w:txbxContent>{body}</w:txbxContent></w:pict>"
        body = f"<w:p><w:r>{box}</w:r></w:p>"
    assert told(read(made.word_xml(body), "docx")) == [("paragraph", "In the box.")]


def test_notes_that_refer_to_themselves_are_read_once(read: Read) -> None:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    reference = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    note = f"<w:p><w:r><w:t>The proof.</w:t></w:r>{reference * 2}</w:p>"
    notes = f'<w:footnotes {space}><w:footnote w:id="2">{note}</w:footnote></w:footnotes>'
    claim = f"<w:p><w:r><w:t>Claim</w:t></w:r>{reference}</w:p>"
    body = claim + PARAGRAPH.format("More.") * 16
    parsed = read(made.word_xml(body, parts={"footnotes.xml": notes}), "docx")
    assert told(parsed) == [
        ("paragraph", "Claim[1]"),
        ("paragraph", "[1] The proof."),
        *[("paragraph", "More.")] * 16,
    ]


LINES = """
from pathlib import Path
from knowledge.parse.draft import Draft
from knowledge.parse.readers import markdown
from knowledge.parse.wire import Order

many = 100_000
lines = [
    "# a" + " " * many + "b",
    "# a" + " #" * many + "b",
    "~" * many + "`",
    " " * many + "x-|",
    "-|-" + " " * many + "x",
    "* " * many + "x",
    "=" * many + "x",
    "-" * many + "x",
]
path = Path({path!r})
path.write_text("|\\n".join(lines) + "\\n\\n" + "\\n".join(lines))
order = Order(str(path), "md", False, 600, 60, 10, 10_000_000)
markdown.read(order, Draft(order))
print("done")
"""


def test_no_line_of_markdown_takes_long(tmp_path: Path) -> None:
    assert in_time(LINES.replace("{path!r}", repr(str(tmp_path / "a.md")))).split() == ["done"]


ENVIRONMENT = """
import ctypes, os, sys
from knowledge.parse.limits import confine
from knowledge.parse.wire import Order

if ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) < 1:
    print("unknown")
    sys.exit()
theirs = f"/proc/{os.getppid()}/environ"
print(len(open(theirs, "rb").read()) > 0)
confine(Order("a.txt", "txt", False, 1024, 50, 10, 100))
try:
    open(theirs, "rb").read()
except PermissionError:
    print("refused")
print(len(open("/proc/self/status").read()) > 0)
"""


def test_it_cannot_read_what_its_parent_knows() -> None:
    told = in_time(ENVIRONMENT).split()
    if told == ["unknown"]:
        pytest.skip("this kernel has no Landlock")
    assert told == ["True", "refused", "True"]
