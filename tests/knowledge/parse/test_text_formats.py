"""Text, Markdown, tables and JSON, in the charsets that people have."""

from __future__ import annotations

import json

import pytest

from tests.knowledge.parse import made
from tests.knowledge.parse.conftest import Read, Refuse, told

CHINESE = "员工手册\n\n第一章 总则\n公司的工作时间为上午九点到下午六点。"


@pytest.mark.parametrize(
    "charset", ["utf-8", "utf-8-sig", "gb18030", "gbk", "utf-16", "utf-16-le", "utf-32"]
)
@pytest.mark.parametrize("file_type", ["txt", "md"])
def test_it_reads_chinese_in_any_usual_charset(charset: str, file_type: str, read: Read) -> None:
    assert "公司的工作时间为上午九点到下午六点。" in read(CHINESE.encode(charset), file_type).text


@pytest.mark.parametrize("charset", ["cp1252", "latin-1", "utf-8"])
def test_it_takes_no_accents_for_chinese(charset: str, read: Read) -> None:
    text = "Déjà vu: à la fenêtre, où l'été s'achève, près du café."
    assert read(text.encode(charset), "txt").text == text


def test_it_reads_on_past_a_broken_character(read: Read) -> None:
    data = CHINESE.encode() * 20
    assert read(data[:-1], "txt").text.startswith("员工手册")


@pytest.mark.parametrize("text", ["The key is a\0b c.", "Key a\0b", "\0One line.\n"])
def test_it_takes_no_accidental_nul_for_wide_characters(text: str, read: Read) -> None:
    plain = text.replace("\0", "").strip()
    for ending in ("", " "):
        assert read(f"{text}{ending}", "txt").text == plain
    wide = read("开门时间 9:30。".encode("utf-16-le"), "txt")
    assert (wide.text, read(plain.encode("utf-16-be"), "txt").text) == ("开门时间 9:30。", plain)


def test_it_strips_what_is_no_text(read: Read) -> None:
    assert read(b"\xef\xbb\xbfa\x00b\x07c\xc2\xadd\r\ne\x0bf", "txt").text == "abcd\ne\nf"


def test_it_finds_paragraphs_and_chapters_of_plain_text(read: Read) -> None:
    assert told(
        read(CHINESE + "\n\n第二节 休假\n每年十五天。\n \nChapter 3: Pay\nOnce.", "txt")
    ) == [
        ("paragraph", "员工手册"),
        ("heading 2", "第一章 总则"),
        ("paragraph", "公司的工作时间为上午九点到下午六点。"),
        ("heading 3", "第二节 休假"),
        ("paragraph", "每年十五天。"),
        ("heading 2", "Chapter 3: Pay"),
        ("paragraph", "Once."),
    ]


def test_it_cuts_text_without_blank_lines_at_its_lines(read: Read) -> None:
    parsed = read("\n".join(["a line of a long log file"] * 1000), "txt")
    assert len(parsed.blocks) > 5
    assert "".join(text for _kind, text in told(parsed)).count("log") == 1000


def test_it_tells_the_parts_of_markdown_apart(read: Read) -> None:
    source = """---
title: Leave
---
# Leave #

Fifteen days
a year. <!-- not for
readers -->

- first
- second
  goes on
1. third

| kind | days |
|:-----|-----:|
| sick | 10 |
| paid | 15 |

Underlined
==========
```py
# no heading
```
~~~
left open"""
    assert told(read(source, "md")) == [
        ("paragraph", "title: Leave"),
        ("heading 1", "Leave"),
        ("paragraph", "Fifteen days\na year."),
        ("list", "- first"),
        ("list", "- second\n  goes on"),
        ("list", "1. third"),
        ("table_header", "| kind | days |\n|:-----|-----:|"),
        ("table_row", "| sick | 10 |"),
        ("table_row", "| paid | 15 |"),
        ("heading 1", "Underlined"),
        ("code", "# no heading"),
        ("code", "left open"),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_it_finds_the_delimiter_and_the_header_of_a_table(delimiter: str, read: Read) -> None:
    rows = [["name", "pay, gross", "note"], ["张三", '"1;000"', '"two\nlines"'], ["李四", "7", "x"]]
    if delimiter == ",":
        rows[0][1] = '"pay, gross"'
    text = "\n".join(delimiter.join(row) for row in rows)
    assert told(read(text.encode("gb18030"), "csv")) == [
        ("table_header", "name | pay, gross | note"),
        ("table_row", "张三 | 1;000 | two lines"),
        ("table_row", "李四 | 7 | x"),
    ]


def test_it_believes_the_delimiter_that_excel_notes(read: Read) -> None:
    assert told(read("sep=;\na,b;c\n1;2\n", "csv"))[0] == ("table_header", "a,b | c")


def test_it_reads_rows_behind_a_quote_that_never_closes(read: Read) -> None:
    text = 'a,b\n"open,1\n' + "x,2\n" * 20_000
    assert told(read(text, "csv"))[2] == ("table_row", "x | 2")


def test_it_reads_json_as_lines_below_paths_with_numbers_as_written(read: Read) -> None:
    source = """{"name": "Acme", "tags": ["a", "b"], "none": null, "on": true,
                 "staff": [{"id": 12345678901234567890123, "pay": 1.10, "at": {"city": "上海"}}]}"""
    assert told(read(source, "json")) == [
        ("paragraph", "name: Acme\ntags: a, b\nnone: null\non: true"),
        ("paragraph", "staff[0]\nid: 12345678901234567890123\npay: 1.10"),
        ("paragraph", "staff[0].at\ncity: 上海"),
    ]


def test_it_reads_json_lines(read: Read) -> None:
    assert told(read('{"a": 1}\n\n{"a": 2}\n', "json")) == [
        ("paragraph", "a: 1"),
        ("paragraph", "a: 2"),
    ]


def test_it_reads_json_with_half_a_character_in_it(read: Read) -> None:
    assert read(json.dumps({"a": "x\ud800y\x00z"}), "json").text == "a: xyz"


@pytest.mark.parametrize("file_type", ["txt", "md", "csv", "json", "html", "docx", "pdf", "xlsx"])
def test_it_says_that_a_file_of_no_bytes_is_empty(file_type: str, refuse: Refuse) -> None:
    failed = refuse(b"", file_type)
    assert (failed.code, failed.is_permanent) == ("no_text", True)


@pytest.mark.parametrize(
    ("file_type", "content"),
    [
        ("txt", " \n\t\n"),
        ("md", "<!-- nothing -->"),
        ("csv", ",,\n,,"),
        ("json", "{}"),
        ("html", "<p>"),
    ],
)
def test_it_says_that_there_is_no_text(file_type: str, content: str, refuse: Refuse) -> None:
    assert refuse(content, file_type).code == "no_text"


def test_it_refuses_json_that_breaks_off(refuse: Refuse, read: Read) -> None:
    assert read('{"a": [1, 2]}', "json").text
    assert refuse('{"a": [1, 2', "json").code == "broken"


def test_it_refuses_what_is_no_text(refuse: Refuse) -> None:
    assert refuse(bytes(range(1, 256)) * 40, "txt").code == "unsupported_content"


MISNAMED = {
    "pdf": made.pdf(lambda canvas: made.lines(canvas, ["Opening hours"])),
    "docx": made.word(lambda document: document.add_paragraph("Opening hours")),
    "xlsx": made.sheets(lambda book: book.active.append(["Opening", "hours"])),
    "png": b"\x89PNG\r\n\x1a\n" + b"rubbish" * 20,
}


@pytest.mark.parametrize("file_type", ["txt", "md", "csv", "json", "html", "pptx"])
@pytest.mark.parametrize("actual", MISNAMED)
def test_it_says_what_a_misnamed_file_is(actual: str, file_type: str, refuse: Refuse) -> None:
    failed = refuse(MISNAMED[actual], file_type)
    assert (failed.code, failed.is_permanent) == ("unsupported_content", True)
    assert f".{actual}" in failed.message


def test_it_says_so_of_documents_among_each_other(read: Read, refuse: Refuse) -> None:
    assert read(MISNAMED["docx"], "docx").text == "Opening hours"
    assert ".docx" in refuse(MISNAMED["docx"], "pdf").message
    assert ".pdf" in refuse(MISNAMED["pdf"], "docx").message


@pytest.mark.parametrize(
    "content",
    [
        made.package({"a.txt": "text " * 99}),
        b"\x7fELF" + bytes(range(256)),
        b"\x1f\x8b\x08" + b"abc" * 99,
        bytes([1, 2, 3, 200, 0, 0, 0, 0, 9, 0, 0, 0]) * 50,
    ],
)
def test_it_refuses_bytes_that_are_no_text(content: bytes, refuse: Refuse) -> None:
    assert refuse(content, "txt").code == "unsupported_content"


def test_text_may_begin_like_a_program_or_an_image(read: Read) -> None:
    for text in ("MZ is how a program begins.", "BM is a bitmap.", "RIFF is a guitar's.", "PK 12"):
        assert read(text, "txt").text == text


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# Title", "Title"),
        ("# Title #", "Title"),
        ("# Title ## \t", "Title"),
        ("# C#", "C#"),
        ("# One # two", "One # two"),
    ],
)
def test_it_leaves_out_the_marks_that_close_a_heading(read: Read, line: str, title: str) -> None:
    assert told(read(f"{line}\n\nText.", "md"))[0] == ("heading 1", title)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("A <!-- b --> c", "A  c"),
        ("Comments begin with `<!--`.\n\nMore.", "Comments begin with `<!--`.\n\nMore."),
        ("One `<!--` and <!-- two\n--> three", "One `<!--` and  three"),
        ("Open <!-- for ever.\n\nMore.", "Open <!-- for ever.\n\nMore."),
        ("```html\n<!-- menu -->\n```\nA <!-- b -->", "<!-- menu -->\n\nA"),
        ("~~~~\n~~~ <!-- x -->\n~~~~~\nA<!-- b -->", "~~~ <!-- x -->\n\nA"),
        ("```\n<!-- a --> for ever", "<!-- a --> for ever"),
    ],
)
def test_it_leaves_out_comments_of_markdown_but_no_text(source: str, text: str, read: Read) -> None:
    assert read(source, "md").text == text


@pytest.mark.parametrize("line", ["---|---", "| :-: | - |", "|-|", " :---|:--- "])
def test_it_knows_the_line_under_the_head_of_a_table(read: Read, line: str) -> None:
    assert told(read(f"a | b\n{line}\n1 | 2", "md"))[1] == ("table_row", "1 | 2")


@pytest.mark.parametrize("line", ["---", "|", "||", "a|-", "--|- -", "-|:"])
def test_other_lines_are_not_under_the_head_of_a_table(read: Read, line: str) -> None:
    kinds = [kind for kind, _text in told(read(f"a | b\n{line}\n1 | 2", "md"))]
    assert "table_row" not in kinds
