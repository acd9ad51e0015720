"""PDF: reading order, paragraphs, headings, and what only OCR can read."""

from __future__ import annotations

import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from knowledge.parse import runner
from knowledge.parse.prose import PLAIN_FORMS
from tests.knowledge.parse import made
from tests.knowledge.parse.conftest import Read, Refuse, told

SENTENCE = "every worker has fifteen days of paid leave in a year and may keep five of them"
WORDS = SENTENCE.split(" ")


def text_page(canvas: Canvas, number: int) -> None:
    """A page of a report: header, chapter, fifty lines in paragraphs, page number."""
    canvas.setFont("Helvetica", 8)
    canvas.drawString(72, 815, "Annual report")
    canvas.drawString(300, 20, f"Page {number}")
    canvas.setFont("Helvetica-Bold", 16)
    canvas.drawString(72, 780, f"Chapter {number}")
    canvas.setFont("Helvetica", 10)
    for line in range(50):
        words = WORDS[line % 7 :] + WORDS[: line % 7]
        canvas.drawString(72, 755 - 13 * line - 6 * (line // 5), " ".join(words))
    canvas.showPage()


def test_it_joins_lines_to_paragraphs_and_mends_broken_words(read: Read) -> None:
    def fill(canvas: Canvas) -> None:
        canvas.setFont("Helvetica-Bold", 20)
        canvas.drawString(72, 760, "Leave")
        canvas.setFont("Helvetica", 11)
        made.lines(
            canvas, ["Every worker of the company has fif-", "teen days of leave.", "", "Ask Ann."]
        )
        canvas.setFont("STSong-Light", 11)
        made.lines(canvas, ["公司的工作时间为上午九点", "到下午六点。"], top=600)

    assert told(read(made.pdf(fill), "pdf")) == [
        ("heading 1", "Leave"),
        ("paragraph", "Every worker of the company has fifteen days of leave."),
        ("paragraph", "Ask Ann."),
        ("paragraph", "公司的工作时间为上午九点到下午六点。"),
    ]


@pytest.mark.parametrize("is_side_by_side", [True, False])
def test_it_reads_columns_one_after_the_other(is_side_by_side: bool, read: Read) -> None:
    left = [f"The left column tells of apples {n}" for n in range(8)]
    right = [f"The right column tells of pears {n}" for n in range(8)]

    def fill(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 10)
        if not is_side_by_side:
            made.lines(canvas, left)
            made.lines(canvas, right, left=330)
            return
        for number in range(8):
            made.lines(canvas, [left[number]], top=700 - 14 * number)
            made.lines(canvas, [right[number]], left=330, top=700 - 14 * number)

    assert read(made.pdf(fill), "pdf").text == " ".join(left + right)


def test_it_keeps_the_rows_of_a_table(read: Read) -> None:
    def fill(canvas: Canvas) -> None:
        for number, row in enumerate([["kind", "days"], ["paid", "15"], ["sick", "10"]]):
            for column, cell in enumerate(row):
                canvas.drawString(72 + 200 * column, 700 - 14 * number, cell)

    assert told(read(made.pdf(fill), "pdf")) == [
        ("table_header", "kind | days"),
        ("table_row", "paid | 15"),
        ("table_row", "sick | 10"),
    ]


def test_it_reads_pages_that_lie_on_their_side(read: Read) -> None:
    def fill(canvas: Canvas) -> None:
        canvas.setPageRotation(90)
        canvas.translate(300, 100)
        canvas.rotate(90)
        made.lines(
            canvas, ["This line runs up the page and", "goes on in the next one."], left=0, top=0
        )

    assert (
        read(made.pdf(fill), "pdf").text
        == "This line runs up the page and goes on in the next one."
    )


def test_it_leaves_out_what_comes_back_in_every_margin(read: Read) -> None:
    def fill(canvas: Canvas) -> None:
        for number in range(1, 7):
            text_page(canvas, number)

    parsed = read(made.pdf(fill), "pdf")
    assert parsed.page_count == 6
    assert told(parsed, page=3)[0] == ("heading 1", "Chapter 3")
    assert "Annual report" not in parsed.text
    assert "Page 3" not in parsed.text


def test_it_writes_ligatures_and_radicals_as_letters() -> None:
    assert "e\ufb03cient \u2f42\u5b57 \uf9e4".translate(PLAIN_FORMS) == "efficient 文字 理"


def test_it_reads_fifty_pages(read: Read) -> None:
    def fill(canvas: Canvas) -> None:
        for number in range(1, 51):
            text_page(canvas, number)

    parsed = read(made.pdf(fill), "pdf")
    assert parsed.page_count == 50
    assert told(parsed, page=50)[0] == ("heading 1", "Chapter 50")


def scan(canvas: Canvas) -> None:
    """A page that shows a picture and no text."""
    canvas.drawImage(ImageReader(Image.new("RGB", (40, 40), "black")), 0, 0, 500, 500)
    canvas.showPage()


def test_it_names_the_pages_that_only_ocr_can_read(read: Read) -> None:
    def fill(canvas: Canvas) -> None:
        scan(canvas)
        canvas.drawString(72, 700, "A page of text, and then one that is blank.")
        canvas.showPage()
        canvas.showPage()

    parsed = read(made.pdf(fill), "pdf")
    assert parsed.image_pages == (1,)
    assert parsed.text == "A page of text, and then one that is blank."


@pytest.mark.parametrize("has_ocr", [True, False])
def test_it_asks_for_ocr_where_there_is_no_text_at_all(
    has_ocr: bool, read: Read, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "ocr_is_installed", lambda: has_ocr)
    data = made.pdf(scan)
    if has_ocr:
        parsed = read(data, "pdf")
        assert (parsed.text, parsed.image_pages) == ("", (1,))
    else:
        assert refuse(data, "pdf").code == "ocr_missing"


def test_it_refuses_an_encrypted_file_that_it_reads_without_a_password(
    read: Read, refuse: Refuse
) -> None:
    def fill(canvas: Canvas) -> None:
        canvas.drawString(72, 700, "Nobody may know.")

    assert read(made.pdf(fill), "pdf").text == "Nobody may know."
    # An empty password only forbids printing and the like: everybody can open the file.
    assert read(made.pdf(fill, password=""), "pdf").text == "Nobody may know."
    failed = refuse(made.pdf(fill, password="secret"), "pdf")
    assert (failed.code, failed.is_permanent) == ("encrypted", True)


@pytest.mark.parametrize("broken", ["cut", "text", "header only"])
def test_it_refuses_a_broken_file(broken: str, refuse: Refuse) -> None:
    whole = made.pdf(lambda canvas: text_page(canvas, 1))
    contents = {"cut": whole[: len(whole) // 3], "text": b"no PDF at all", "header only": whole[:9]}
    failed = refuse(contents[broken], "pdf")
    assert (failed.code, failed.is_permanent) == ("broken", True)
