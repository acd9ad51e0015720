"""Word: what a reader of the document sees, in its order, with tracked changes accepted.

Read from the XML itself: the usual library leaves out insertions, content controls, text boxes and
notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from knowledge.parse.draft import Draft
from knowledge.parse.numbering import Numbering
from knowledge.parse.ooxml import Package, attribute, child, local
from knowledge.parse.tables import add_table
from knowledge.parse.wire import Order

_HEADING_NAME = re.compile(r"(?:heading|标题|titre|überschrift|título)\s*(?P<level>[1-9])", re.I)
_CONTENTS_NAME = re.compile(r"(?:toc|目录)\s*[1-9]", re.I)
_TITLE_NAMES = {"title", "标题"}
# What wraps content without being any. Deletions and the old places of moves are not among them.
_WRAPPERS = {
    "sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag", "hyperlink", "fldSimple",
    "bdo", "dir", "ruby", "rubyBase", "AlternateContent", "Choice", "oMathPara", "oMath",
}  # fmt: skip
_MAX_STYLE_DEPTH = 20
_MAX_SPAN = 200


def read(order: Order, draft: Draft) -> None:
    with Package(order.path) as package:
        main = package.main_part()
        document = package.xml(main)
        body = child(document, "body")
        if body is not None:
            styles = _Styles(package.related(main, "styles"))
            numbering = Numbering(package.related(main, "numbering"))
            notes = {
                kind: _notes(package.related(main, f"{kind}s")) for kind in ("footnote", "endnote")
            }
            _Walk(draft, styles, numbering, notes).blocks(body)


class _Styles:
    """What the styles of paragraphs say of headings and lists, looked up along their bases."""

    def __init__(self, root: etree._Element | None) -> None:
        self._by_id = {
            attribute(style, "styleId"): style
            for style in (root if root is not None else ())
            if local(style) == "style"
        }

    def heading_level(self, properties: etree._Element | None) -> int:
        """1 to 9, or 0 for what is no heading."""
        level = _outline_level(properties)
        if level is not None:
            return level
        for style in self._chain(properties):
            name = (attribute(child(style, "name"), "val") or "").strip()
            if found := _HEADING_NAME.match(name):
                return int(found["level"])
            if name.lower() in _TITLE_NAMES:
                return 1
            level = _outline_level(child(style, "pPr"))
            if level is not None:
                return level
        return 0

    def list_place(
        self, properties: etree._Element | None, numbering: Numbering
    ) -> tuple[str, int] | None:
        """The list that a paragraph is in, and how deep, from 0; None outside of lists."""
        own_depth = attribute(child(properties, "numPr", "ilvl"), "val")
        for style in (None, *self._chain(properties)):
            owner = properties if style is None else child(style, "pPr")
            list_id = attribute(child(owner, "numPr", "numId"), "val")
            if list_id is None:
                continue
            if list_id == "0":
                return None
            depth = own_depth or attribute(child(owner, "numPr", "ilvl"), "val")
            if depth is not None and depth.isdecimal():
                return list_id, min(int(depth), 8)
            style_id = None if style is None else attribute(style, "styleId")
            return list_id, numbering.depth_of(list_id, style_id)
        return None

    def is_contents(self, properties: etree._Element | None) -> bool:
        """Whether it is a line of the table of contents, which repeats every heading."""
        style = next(self._chain(properties), None)
        return _CONTENTS_NAME.match(attribute(child(style, "name"), "val") or "") is not None

    def _chain(self, properties: etree._Element | None) -> Iterator[etree._Element]:
        style_id = attribute(child(properties, "pStyle"), "val")
        for _depth in range(_MAX_STYLE_DEPTH):
            style = self._by_id.get(style_id)
            if style_id is None or style is None:
                return
            yield style
            style_id = attribute(child(style, "basedOn"), "val")


def _outline_level(properties: etree._Element | None) -> int | None:
    value = attribute(child(properties, "outlineLvl"), "val")
    if value is None or not value.isdecimal():
        return None
    return int(value) + 1 if int(value) < 9 else 0


def _notes(root: etree._Element | None) -> dict[str, etree._Element]:
    """Notes by id, without the lines that separate them from the text."""
    return {
        attribute(note, "id") or "": note
        for note in (root if root is not None else ())
        if attribute(note, "type") in (None, "normal")
    }


class _Walk:
    """Goes through the document once. What hangs on a paragraph (notes, boxes) follows it."""

    def __init__(
        self,
        draft: Draft,
        styles: _Styles,
        numbering: Numbering,
        notes: dict[str, dict[str, etree._Element]],
    ) -> None:
        self._draft = draft
        self._styles = styles
        self._numbering = numbering
        self._notes = notes
        self._note_count = 0
        self._pending: list[tuple[str, etree._Element]] = []

    def blocks(self, container: etree._Element) -> None:
        for element in _content(container):
            if local(element) == "p":
                self._paragraph(element)
            elif local(element) == "tbl":
                self._table(element)
            self._hanging()

    def _paragraph(self, element: etree._Element) -> None:
        properties = child(element, "pPr")
        if self._styles.is_contents(properties):
            return
        place = self._styles.list_place(properties, self._numbering)
        number = self._numbering.next(*place) if place else None
        text = self._text(element).strip()
        level = self._styles.heading_level(properties)
        if not text:
            return
        if level:
            heading = f"{number or ''} {text}"
            self._draft.add("heading", " ".join(heading.split()), level=level)
        elif place:
            self._draft.add("list", f"{'  ' * place[1]}{number or '-'} {text}")
        else:
            self._draft.add("paragraph", text)

    def _hanging(self) -> None:
        pending, self._pending = self._pending, []
        for mark, container in pending:
            if mark:
                self._draft.add("paragraph", mark + " " + self._inner_text(container))
            else:
                self.blocks(container)

    def _table(self, table: etree._Element) -> None:
        """A table of one cell is a frame: what is in it is read as usual."""
        rows = [row for row in _content(table) if local(row) == "tr" and not _is_deleted(row)]
        cells = [[cell for cell in _content(row) if local(cell) == "tc"] for row in rows]
        if sum(map(len, cells)) == 1:
            self.blocks(next(row[0] for row in cells if row))
            return
        header_rows = 0
        while header_rows < len(rows) and _repeats(rows[header_rows]):
            header_rows += 1
        add_table(self._draft, self._grid(cells), header_rows=max(1, header_rows))

    def _grid(self, rows: list[list[etree._Element]]) -> list[list[str]]:
        """The cells by column. What is merged downwards is in each of its rows."""
        grid: list[list[str]] = []
        for cells in rows:
            above = grid[-1] if grid else []
            line: list[str] = []
            for cell in cells:
                properties = child(cell, "tcPr")
                merge = child(properties, "vMerge")
                is_continued = merge is not None and attribute(merge, "val") != "restart"
                at = len(line)
                line.append(
                    above[at] if is_continued and at < len(above) else self._inner_text(cell)
                )
                span = attribute(child(properties, "gridSpan"), "val") or "1"
                line += [""] * (min(int(span), _MAX_SPAN) - 1 if span.isdecimal() else 0)
            grid.append(line)
        return grid

    def _inner_text(self, container: etree._Element) -> str:
        """All paragraphs of a cell or note, a nested table as text in brackets."""
        parts = []
        for element in _content(container):
            if local(element) == "p":
                place = self._styles.list_place(child(element, "pPr"), self._numbering)
                number = self._numbering.next(*place) if place else None
                parts.append(f"{number or ''} {self._text(element)}".strip())
            elif local(element) == "tbl":
                rows = (row for row in _content(element) if local(row) == "tr")
                texts = (", ".join(self._cell_texts(row)) for row in rows)
                parts.append("[" + "; ".join(texts) + "]")
        return "\n".join(part for part in parts if part.strip())

    def _cell_texts(self, row: etree._Element) -> list[str]:
        return [self._inner_text(cell) for cell in _content(row) if local(cell) == "tc"]

    def _text(self, element: etree._Element) -> str:
        return "".join(self._pieces(element))

    def _pieces(self, element: etree._Element) -> Iterator[str]:
        for inner in _content(element):
            match local(inner):
                case "r":
                    yield from self._pieces(inner)
                case "t":
                    yield inner.text or ""
                case "tab" | "ptab":
                    yield "\t"
                case "br" | "cr":
                    yield "\n"
                case "noBreakHyphen":
                    yield "-"
                case "footnoteReference" | "endnoteReference":
                    yield self._note(inner)
                case "drawing" | "pict" | "object":
                    self._pending += [("", box) for box in _boxes(inner)]
                case "f" | "sSup" | "sSub" | "rad" | "d" | "nary" | "func" | "num" | "den" | "e":
                    yield from (text.text or "" for text in inner.iter("{*}t"))

    def _note(self, reference: etree._Element) -> str:
        kind = local(reference).removesuffix("Reference")
        # Once: a note may refer to itself.
        note = self._notes[kind].pop(attribute(reference, "id") or "", None)
        if note is None:
            return ""
        self._note_count += 1
        mark = f"[{self._note_count}]"
        self._pending.append((mark, note))
        return mark


def _boxes(drawing: etree._Element) -> Iterator[etree._Element]:
    """Its text boxes, without those inside of them: these hang on a paragraph of the outer one."""
    for element in drawing:
        if local(element) == "txbxContent":
            yield element
        else:
            yield from _boxes(element)


def _content(container: etree._Element) -> Iterator[etree._Element]:
    """The children, with what only wraps opened, and of alternatives the first."""
    for element in container:
        name = local(element)
        if name == "AlternateContent" and child(element, "Choice") is None:
            fallback = child(element, "Fallback")
            yield from _content(fallback) if fallback is not None else ()
        elif name in _WRAPPERS:
            yield from _content(element)
        else:
            yield element


def _is_deleted(row: etree._Element) -> bool:
    return child(row, "trPr", "del") is not None


def _repeats(row: etree._Element) -> bool:
    """Whether Word repeats the row on each page, as it does with headers."""
    mark = child(row, "trPr", "tblHeader")
    return mark is not None and attribute(mark, "val") not in ("0", "false", "off")
