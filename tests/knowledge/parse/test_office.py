"""Word, PowerPoint and Excel, with the mess of real documents."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from knowledge.parse.numbering import written
from tests.knowledge.parse import made
from tests.knowledge.parse.conftest import Read, told


def p(*runs: str, properties: str = "") -> str:
    """A paragraph of Word."""
    return f"<w:p><w:pPr>{properties}</w:pPr>{''.join(runs)}</w:p>"


def r(text: str) -> str:
    """A run of text in Word."""
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def test_it_reads_headings_lists_and_tables_of_word_in_their_order(read: Read) -> None:
    def fill(document: Any) -> None:
        document.add_heading("员工手册", 0)
        document.add_heading("Leave", 2)
        document.add_paragraph("ask", style="List Bullet")
        table = document.add_table(3, 2)
        for cell, text in zip(table._cells, ["kind", "days", "paid", "15", "", "20"], strict=True):
            cell.text = text
        table.cell(1, 0).merge(table.cell(2, 0))
        document.add_paragraph("After the table.")

    assert told(read(made.word(fill), "docx")) == [
        ("heading 1", "员工手册"),
        ("heading 2", "Leave"),
        ("list", "- ask"),
        ("table_header", "kind | days"),
        ("table_row", "paid | 15"),
        ("table_row", "paid | 20"),
        ("paragraph", "After the table."),
    ]


def test_it_reads_word_as_if_all_changes_were_accepted(read: Read) -> None:
    body = p(
        r("Kept "),
        f"<w:del>{r('deleted').replace('w:t', 'w:delText')}</w:del>",
        f"<w:ins>{r('inserted ')}</w:ins>",
        f"<w:moveFrom>{r('old place')}</w:moveFrom>",
        f'<w:hyperlink w:anchor="x">{r("linked ")}</w:hyperlink>',
        f"<w:sdt><w:sdtContent>{r('controlled')}</w:sdtContent></w:sdt>",
        "<w:r><w:instrText>PAGEREF _Toc1</w:instrText></w:r>",
    )
    assert told(read(made.word_xml(body), "docx")) == [
        ("paragraph", "Kept inserted linked controlled")
    ]


def test_it_reads_content_controls_text_boxes_and_notes_of_word(read: Read) -> None:
    box = f"<w:drawing><w:txbxContent>{p(r('In the box.'))}</w:txbxContent></w:drawing>"
    alternatives = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f"<mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>"
    )
    body = (
        f"<w:sdt><w:sdtContent>{p(r('Controlled.'))}</w:sdtContent></w:sdt>"
        + p(r("Claim"), '<w:r><w:footnoteReference w:id="2"/></w:r>', r(" made."))
        + p(r("Beside."), f"<w:r>{alternatives}</w:r>")
    )
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    notes = (
        f'<w:footnotes {space}><w:footnote w:type="separator" w:id="0">{p(r("----"))}</w:footnote>'
        f'<w:footnote w:id="2">{p(r("The proof."))}</w:footnote></w:footnotes>'
    )
    parts = {"footnotes.xml": notes}
    assert told(read(made.word_xml(body, parts=parts), "docx")) == [
        ("paragraph", "Controlled."),
        ("paragraph", "Claim[1] made."),
        ("paragraph", "[1] The proof."),
        ("paragraph", "Beside."),
        ("paragraph", "In the box."),
    ]


def test_it_knows_headings_of_chinese_word_by_name_base_and_outline(read: Read) -> None:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    styles = (
        f'<w:styles {space}><w:style w:styleId="1"><w:name w:val="heading 1"/></w:style>'
        '<w:style w:styleId="a"><w:name w:val="我的标题"/><w:basedOn w:val="1"/></w:style>'
        '<w:style w:styleId="b"><w:name w:val="x"/><w:basedOn w:val="b"/></w:style>'
        '<w:style w:styleId="t"><w:name w:val="toc 1"/></w:style></w:styles>'
    )
    body = (
        p(r("总则 1"), properties='<w:pStyle w:val="t"/>')
        + p(r("总则"), properties='<w:pStyle w:val="a"/>')
        + p(r("细则"), properties='<w:outlineLvl w:val="1"/>')
        + p(r("正文"), properties='<w:pStyle w:val="b"/>')
    )
    assert told(read(made.word_xml(body, parts={"styles.xml": styles}), "docx")) == [
        ("heading 1", "总则"),
        ("heading 2", "细则"),
        ("paragraph", "正文"),
    ]


def test_it_writes_the_numbers_that_word_only_counts(read: Read) -> None:
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'

    def level(at: int, shape: str, text: str, style: str = "") -> str:
        owner = f'<w:pStyle w:val="{style}"/>' if style else ""
        owner += "<w:isLgl/>" if at else ""
        return (
            f'<w:lvl w:ilvl="{at}"><w:start w:val="1"/><w:numFmt w:val="{shape}"/>{owner}'
            f'<w:lvlText w:val="{text}"/></w:lvl>'
        )

    chapters = level(0, "chineseCounting", "第%1章", "h") + level(1, "decimal", "%1.%2")
    items = level(0, "lowerRoman", "(%1)") + level(1, "bullet", "\uf0b7")
    numbering = (
        f'<w:numbering {space}><w:abstractNum w:abstractNumId="0">{chapters}</w:abstractNum>'
        f'<w:abstractNum w:abstractNumId="1">{items}</w:abstractNum>'
        '<w:num w:numId="5"><w:abstractNumId w:val="0"/></w:num>'
        '<w:num w:numId="6"><w:abstractNumId w:val="1"/></w:num></w:numbering>'
    )
    styles = (
        f'<w:styles {space}><w:style w:styleId="h"><w:name w:val="heading 1"/>'
        '<w:pPr><w:numPr><w:numId w:val="5"/></w:numPr></w:pPr></w:style></w:styles>'
    )

    def item(text: str, number: int, depth: int) -> str:
        place = f'<w:ilvl w:val="{depth}"/><w:numId w:val="{number}"/>'
        return p(r(text), properties=f"<w:numPr>{place}</w:numPr>")

    body = ""
    for _chapter in range(11):
        body += p(r("规则"), properties='<w:pStyle w:val="h"/>')
    body += item("article", 5, 1) + item("article", 5, 1) + item("four", 6, 0) + item("dot", 6, 1)
    body += p(r("规则"), properties='<w:pStyle w:val="h"/>') + item("article", 5, 1)
    body += f"<w:tbl><w:tr><w:tc>{item('', 6, 0)}</w:tc><w:tc>{p(r('x'))}</w:tc></w:tr></w:tbl>"
    parts = {"numbering.xml": numbering, "styles.xml": styles}
    assert told(read(made.word_xml(body, parts=parts), "docx"))[10:] == [
        ("heading 1", "第十一章 规则"),
        ("list", "  11.1 article"),
        ("list", "  11.2 article"),
        ("list", "(i) four"),
        ("list", "  - dot"),
        ("heading 1", "第十二章 规则"),
        ("list", "  12.1 article"),
        ("table_header", "(ii) | x"),
    ]


@pytest.mark.parametrize(
    ("number", "shape", "expected"),
    [
        (10, "chineseCounting", "十"),
        (20, "chineseCounting", "二十"),
        (103, "chineseCountingThousand", "一百零三"),
        (110, "chineseCountingThousand", "一百一十"),
        (1999, "upperRoman", "MCMXCIX"),
        (28, "lowerLetter", "bb"),
        (3, "decimalEnclosedCircle", "③"),
        (7, "decimalZero", "07"),
        (5000, "lowerRoman", "5000"),
    ],
)
def test_it_counts_as_word_does(number: int, shape: str, expected: str) -> None:
    assert written(number, shape) == expected


def test_it_reads_tables_in_tables_and_frames_around_text_of_word(read: Read) -> None:
    def table(*rows: list[str]) -> str:
        cells = ("".join(f"<w:tc>{cell}</w:tc>" for cell in row) for row in rows)
        return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"

    inner = table([p(r("1")), p(r("2"))], [p(r("3")), p(r("4"))])
    body = table([p(r("a")), p(r("b"))], [p(r("x")), inner]) + table([p(r("Framed."))])
    assert told(read(made.word_xml(body), "docx")) == [
        ("table_header", "a | b"),
        ("table_row", "x | [1, 2; 3, 4]"),
        ("paragraph", "Framed."),
    ]


def test_it_reads_slides_as_pages_with_titles_tables_and_notes(read: Read) -> None:
    def fill(deck: Any) -> None:
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = "年度计划"
        slide.placeholders[1].text = "first\nsecond"
        slide.notes_slide.notes_text_frame.text = "Say hello."
        group = slide.shapes.add_group_shape()
        group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "in a group"
        table = slide.shapes.add_table(2, 2, 0, 0, 9, 9).table
        for cell, text in zip(table.iter_cells(), ["k", "v", "x", "y"], strict=True):
            cell.text = text
        hidden = deck.slides.add_slide(deck.slide_layouts[5])
        hidden.shapes.title.text = "Backup"
        hidden._element.set("show", "0")
        deck.slides.add_slide(deck.slide_layouts[5]).shapes.title.text = "End"

    parsed = read(made.slides(fill), "pptx")
    assert parsed.page_count == 3
    assert sorted(told(parsed, page=1)[1:]) == sorted(
        [
            ("list", "- first"),
            ("list", "- second"),
            ("paragraph", "in a group"),
            ("table_header", "k | v"),
            ("table_row", "x | y"),
            ("paragraph", "Say hello."),
        ]
    )
    assert told(parsed, page=1)[0] == ("heading 1", "年度计划")
    assert told(parsed, page=2) == []
    assert told(parsed, page=3) == [("heading 1", "End")]


def test_it_reads_sheets_as_pages_with_numbers_and_dates_as_shown(read: Read) -> None:
    def fill(book: Any) -> None:
        sheet = book.active
        sheet.title = "员工"
        day = datetime.datetime(2024, 5, 1, 13, 30)
        sheet.append(["Staff of 2024"])
        sheet.append([])
        sheet.append(["name", "since", "share", "code", "sum", "at"])
        sheet.append(["Ann", day.date(), 0.25, 7, 0.1 + 0.2, day.time()])
        sheet.append(["Bob", day, 1, 12345678901, 1000.0, True])
        sheet["C4"].number_format = "0.0%"
        sheet["D4"].number_format = "00000"
        book.create_sheet("Empty")
        hidden = book.create_sheet("Hidden")
        hidden.append(["secret", "x"])
        hidden.sheet_state = "hidden"

    parsed = read(made.sheets(fill), "xlsx")
    assert parsed.page_count == 3
    assert told(parsed) == [
        ("heading 1", "员工"),
        ("paragraph", "Staff of 2024"),
        ("table_header", "name | since | share | code | sum | at"),
        ("table_row", "Ann | 2024-05-01 | 25.0% | 00007 | 0.3 | 13:30"),
        ("table_row", "Bob | 2024-05-01 13:30 | 1 | 12345678901 | 1000 | TRUE"),
        ("heading 1", "Empty"),
    ]


def test_it_repeats_merged_cells_and_tells_tables_of_one_sheet_apart(read: Read) -> None:
    def fill(book: Any) -> None:
        sheet = book.active
        for row in [["team", "name"], ["red", "Ann"], [None, "Bob"], [], ["x", "7"], []]:
            sheet.append(row)
        sheet.append(["Rooms"])
        sheet.append(["room", "floor"])
        sheet.append(["A1", 2])
        sheet.merge_cells("A2:A3")

    assert told(read(made.sheets(fill), "xlsx")) == [
        ("table_header", "team | name"),
        ("table_row", "red | Ann"),
        ("table_row", "red | Bob"),
        ("table_row", "x | 7"),
        ("paragraph", "Rooms"),
        ("table_header", "room | floor"),
        ("table_row", "A1 | 2"),
    ]


def test_it_reads_all_rows_of_a_sheet_that_lies_about_its_size(read: Read) -> None:
    def fill(book: Any) -> None:
        for number in range(5):
            book.active.append([f"a{number}", f"b{number}"])

    def lie(name: str, content: bytes) -> bytes:
        return content.replace(b'ref="A1:B5"', b'ref="A1"') if "sheet1" in name else content

    assert "a4 | b4" in read(made.changed(made.sheets(fill), lie), "xlsx").text
