"""Web pages: the text that they are about."""

from __future__ import annotations

import pytest

from tests.knowledge.parse.conftest import Read, told


def test_it_reads_headings_text_lists_code_and_tables_in_order(read: Read) -> None:
    page = """<!doctype html><html><head><title>Leave</title><style>p{}</style></head><body>
      <nav><ul><li>Home</ul></nav><script>alert(1)</script>
      <h1>Leave &amp; pay</h1><p>Fifteen <b>d</b>ays<br>a year.</p>
      <ul><li>sick<ul><li>half</ul><li>paid</ul><ol><li>ask<li>wait</ol>
      <pre>if x:
    y()</pre><p hidden>secret</p><div style="display: none">trap</div>
      <table><caption>Days</caption><thead><tr><th>kind<th>days</thead>
        <tr><td rowspan=2>paid<td>15<tr><td>20</table><footer>© Acme</footer>"""
    assert told(read(page, "html")) == [
        ("heading 1", "Leave & pay"),
        ("paragraph", "Fifteen days\na year."),
        ("list", "- sick"),
        ("list", "  - half"),
        ("list", "- paid"),
        ("list", "1. ask"),
        ("list", "2. wait"),
        ("code", "if x:\n    y()"),
        ("paragraph", "Days"),
        ("table_header", "kind | days"),
        ("table_row", "paid | 15"),
        ("table_row", "paid | 20"),
    ]


@pytest.mark.parametrize("declared", ['<meta charset="gb2312">', ""])
def test_it_reads_chinese_pages_without_spaces_at_line_breaks(declared: str, read: Read) -> None:
    page = f"<html><head>{declared}<title>镕基</title></head><p>中文\n  换行 and\nEnglish</p>"
    assert told(read(page.encode("gbk"), "htm")) == [
        ("heading 1", "镕基"),
        ("paragraph", "中文换行 and English"),
    ]


@pytest.mark.parametrize("declared", ["no-such-charset", "hex", "shift_jis"])
def test_it_knows_better_than_a_page_that_names_a_wrong_charset(declared: str, read: Read) -> None:
    assert read(f'<meta charset="{declared}"><p>中文页面</p>', "html").text == "中文页面"


def test_it_takes_the_main_part_of_a_page_that_has_one(read: Read) -> None:
    main = "What the page is about. " * 20
    page = f"<body><div>Cookies!</div><main><h2>Topic</h2><p>{main}</p></main><div>Ads</div></body>"
    assert told(read(page, "html")) == [("heading 2", "Topic"), ("paragraph", main.strip())]


def test_it_reads_tables_that_only_place_things_as_text(read: Read) -> None:
    page = """<table><tr><td>Menu</td><td><p>Before</p>
              <table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table>
              after</td></tr></table>"""
    assert told(read(page, "html")) == [
        ("paragraph", "Menu"),
        ("paragraph", "Before"),
        ("table_header", "a | b"),
        ("table_row", "1 | 2"),
        ("paragraph", "after"),
    ]
