"""Web pages: the main text as a browser would show it, without menus, scripts and small print."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from lxml import etree

from knowledge.parse.charsets import decode
from knowledge.parse.draft import Draft
from knowledge.parse.prose import flow, lines
from knowledge.parse.tables import add_table
from knowledge.parse.wire import Order

_CHARSET = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([\w.:-]+)""", re.I
)
_DECLARED_WITHIN = 4096
_UNSEEN = {
    "script", "style", "noscript", "template", "head", "iframe", "object", "svg", "canvas", "video",
    "audio", "button", "select", "textarea", "input", "datalist", "dialog", "map",
}  # fmt: skip
_AROUND = {"nav", "footer", "aside", "menu"}
_AROUND_ROLES = {"navigation", "contentinfo", "complementary", "search", "banner", "menu"}
_BLOCKS = {
    "address", "article", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl",
    "dt", "fieldset", "figcaption", "figure", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hr", "html", "legend", "li", "main", "ol", "p", "pre", "section", "summary", "table", "tbody",
    "td", "tfoot", "th", "thead", "tr", "ul",
}  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_MAX_SPAN = 100
# With less in it, <main> or <article> is a frame that a script fills.
_MIN_MAIN = 200


def read(order: Order, draft: Draft) -> None:
    data = Path(order.path).read_bytes()
    found = _CHARSET.search(data[:_DECLARED_WITHIN])
    text = decode(data, found[1].decode("ascii", "ignore") if found else None)
    root = _tree(text.replace("\x00", ""))
    if root is None:
        return
    main = _main(root)
    if next(main.iter("h1"), None) is None:
        for title in itertools.islice(root.iter("title"), 1):
            draft.add("heading", flow("".join(map(str, title.itertext()))), level=1)
    _Walk(draft).walk(main)


def _tree(text: str) -> etree._Element | None:
    parser = etree.HTMLParser(
        encoding="utf-8", huge_tree=True, no_network=True, remove_comments=True, remove_pis=True
    )
    data = text.encode("utf-8", "replace")
    if not data.strip():
        return None
    root: etree._Element | None = etree.fromstring(data, parser)
    return root


def _main(root: etree._Element) -> etree._Element:
    """The element that holds what the page is about: the only one of its kind, and not empty."""
    for path in (".//main", ".//*[@role='main']", ".//article"):
        found = root.findall(path)
        if len(found) == 1 and sum(len(text.strip()) for text in found[0].itertext()) >= _MIN_MAIN:
            return found[0]
    return root


def _is_shown(element: etree._Element) -> bool:
    """Whether a reader sees it and it belongs to the page's own text."""
    name = element.tag
    if not isinstance(name, str) or name in _UNSEEN or name in _AROUND:
        return False
    if element.get("role") in _AROUND_ROLES or element.get("hidden") is not None:
        return False
    return not _HIDDEN.search(str(element.get("style") or ""))


class _Walk:
    """Goes through the tree without recursion, as pages may be nested to any depth."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._text: list[str] = []
        self._lists: list[int | None] = []
        self._mark = ""
        self._is_code = False

    def walk(self, root: etree._Element) -> None:
        walker = etree.iterwalk(root, events=("start", "end"))
        passed_over: etree._Element | None = None
        for event, element in walker:
            if event == "end":
                if element is not passed_over:
                    self._close(element)
                if element is not root:
                    self._text.append(element.tail or "")
            elif element is not root and not _is_shown(element):
                walker.skip_subtree()
                passed_over = element
            elif element.tag == "table" and _is_data(element):
                self._flush()
                self._table(element)
                walker.skip_subtree()
                passed_over = element
            else:
                self._open(element)
        self._flush()

    def _open(self, element: etree._Element) -> None:
        name = str(element.tag)
        if name == "br":
            self._text.append("\n" if self._is_code else "\x1e")
        elif name in _BLOCKS:
            self._flush()
        if name in ("ul", "ol"):
            self._lists.append(1 if name == "ol" else None)
        elif name == "li":
            self._mark = self._next_mark()
        elif name == "pre":
            self._is_code = True
        self._text.append(element.text or "")

    def _close(self, element: etree._Element) -> None:
        name = element.tag
        if name not in _BLOCKS:
            return
        self._flush(level=_HEADINGS.get(str(name), 0))
        if name in ("ul", "ol") and self._lists:
            self._lists.pop()
        elif name == "pre":
            self._is_code = False

    def _next_mark(self) -> str:
        depth = max(0, len(self._lists) - 1)
        number = self._lists[-1] if self._lists else None
        if number is None:
            return "  " * min(depth, 9) + "- "
        self._lists[-1] = number + 1
        return "  " * min(depth, 9) + f"{number}. "

    def _flush(self, *, level: int = 0) -> None:
        text, self._text = "".join(self._text), []
        if self._is_code:
            self._draft.add("code", text)
            return
        text = lines("\n".join(flow(line) for line in text.split("\x1e")))
        if not text:
            return
        mark, self._mark = self._mark, ""
        if level:
            self._draft.add("heading", flow(text), level=level)
        elif mark:
            self._draft.add("list", mark + text)
        else:
            self._draft.add("paragraph", text)

    def _table(self, table: etree._Element) -> None:
        caption = next(table.iter("caption"), None)
        if caption is not None:
            self._draft.add("paragraph", flow("".join(map(str, caption.itertext()))))
        rows = list(table.iter("tr"))
        header_rows = 0
        while header_rows < len(rows) and _is_header(rows[header_rows]):
            header_rows += 1
        add_table(self._draft, _grid(rows), header_rows=min(max(1, header_rows), 3))


def _is_data(table: etree._Element) -> bool:
    """A table without another one or a heading in it: those only place things on the page."""
    return next(table.iterdescendants("table", *_HEADINGS), None) is None


def _is_header(row: etree._Element) -> bool:
    parent = row.getparent()
    cells = [cell for cell in row if cell.tag in ("td", "th")]
    return (parent is not None and parent.tag == "thead") or (
        bool(cells) and all(cell.tag == "th" for cell in cells)
    )


def _grid(rows: list[etree._Element]) -> list[list[str]]:
    """The cells by column. What spans rows is in each of them."""
    grid: list[list[str]] = []
    open_cells: dict[int, tuple[int, str]] = {}
    for row in rows:
        line: list[str] = []
        for cell in row:
            if cell.tag not in ("td", "th"):
                continue
            _take_open(line, open_cells)
            text = _cell_text(cell)
            if (down := _span(cell, "rowspan")) > 1:
                open_cells[len(line)] = down - 1, text
            line += [text] + [""] * (_span(cell, "colspan") - 1)
        _take_open(line, open_cells)
        grid.append(line)
    return grid


def _take_open(line: list[str], open_cells: dict[int, tuple[int, str]]) -> None:
    """Puts in the cells that reach down from the rows above, as far as they are next in line."""
    while (at := len(line)) in open_cells:
        left, text = open_cells.pop(at)
        line.append(text)
        if left > 1:
            open_cells[at] = left - 1, text


def _cell_text(cell: etree._Element) -> str:
    parts: list[str] = []
    walker = etree.iterwalk(cell, events=("start", "end"))
    for event, element in walker:
        if event == "end":
            parts.append((element.tail or "") if element is not cell else "")
        elif element is not cell and not _is_shown(element):
            walker.skip_subtree()
        else:
            parts += [
                " " if element.tag in _BLOCKS or element.tag == "br" else "",
                element.text or "",
            ]
    return flow("".join(parts))


def _span(cell: etree._Element, name: str) -> int:
    value = str(cell.get(name) or "")
    return min(max(int(value), 1), _MAX_SPAN) if value.isdecimal() and len(value) < 6 else 1
