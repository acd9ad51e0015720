"""PowerPoint: slides as pages, titles as headings, then text, tables, diagrams and notes.

Hidden slides are left out, as they are when the slides are shown.
"""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from knowledge.parse.draft import Draft, Refused
from knowledge.parse.ooxml import Package, attribute, child, local, rel_id
from knowledge.parse.tables import add_table
from knowledge.parse.wire import Order

_TITLES = {"title", "ctrTitle"}
# Dates, numbers and footers, the same on every slide.
_FURNITURE = {"dt", "ftr", "hdr", "sldNum", "sldImg"}


def read(order: Order, draft: Draft) -> None:
    with Package(order.path) as package:
        main = package.main_part()
        relations = package.relations(main)
        slides = child(package.xml(main), "sldIdLst")
        ids = [rel_id(element) for element in slides] if slides is not None else []
        if len(ids) > order.max_pages:
            raise Refused("too_many_pages")
        draft.page_count = len(ids)
        for page, identifier in enumerate(ids, 1):
            if identifier in relations:
                _Slide(package, relations[identifier][1], page, draft).read()


class _Slide:
    def __init__(self, package: Package, part: str, page: int, draft: Draft) -> None:
        self._package = package
        self._part = part
        self._page = page
        self._draft = draft

    def read(self) -> None:
        root = self._package.xml(self._part)
        if root is None or attribute(root, "show") in ("0", "false"):
            return
        shapes = list(_shapes(root))
        titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
        for shape in titles:
            text = " ".join(" ".join(line.split()) for line, _depth in _paragraphs(shape))
            self._draft.add("heading", text, page=self._page, level=1)
        for shape in shapes:
            if shape not in titles and _placeholder(shape) not in _FURNITURE:
                self._shape(shape)
        self._notes()

    def _shape(self, shape: etree._Element) -> None:
        if local(shape) == "graphicFrame":
            for table in shape.iter("{*}tbl"):
                add_table(
                    self._draft, [_cells(row) for row in table.iter("{*}tr")], page=self._page
                )
            for reference in shape.iter("{*}relIds"):
                self._diagram(attribute(reference, "dm") or "")
            return
        paragraphs = [(text, depth) for text, depth in _paragraphs(shape) if text.strip()]
        is_list = _placeholder(shape) is not None and len(paragraphs) > 1
        for text, depth in paragraphs:
            if is_list or depth:
                self._draft.add("list", f"{'  ' * depth}- {text.strip()}", page=self._page)
            else:
                self._draft.add("paragraph", text, page=self._page)

    def _diagram(self, identifier: str) -> None:
        """The texts of a SmartArt, which is kept in a part of its own."""
        target = self._package.relations(self._part).get(identifier)
        root = self._package.xml(target[1]) if target else None
        for body in root.iter("{*}t") if root is not None else ():
            if len(body):
                text = "".join(run.text or "" for run in body.iter("{*}t") if not len(run))
                self._draft.add(
                    "list", f"- {text.strip()}" if text.strip() else "", page=self._page
                )

    def _notes(self) -> None:
        root = self._package.related(self._part, "notesSlide")
        for shape in _shapes(root) if root is not None else ():
            if _placeholder(shape) not in _FURNITURE:
                text = "\n".join(line for line, _depth in _paragraphs(shape))
                self._draft.add("paragraph", text, page=self._page)


def _shapes(root: etree._Element) -> Iterator[etree._Element]:
    """Shapes in the order of the file, which is that of drawing; groups are opened."""
    for element in root.iter("{*}sp", "{*}graphicFrame", "{*}cxnSp"):
        if not any(local(above) == "Fallback" for above in element.iterancestors()):
            yield element


def _placeholder(shape: etree._Element) -> str | None:
    """What the layout means the shape to be; None for one that was drawn freely."""
    mark = next(shape.iter("{*}ph"), None)
    return None if mark is None else attribute(mark, "type") or "body"


def _paragraphs(shape: etree._Element) -> Iterator[tuple[str, int]]:
    for paragraph in shape.iter("{*}p"):
        depth = attribute(child(paragraph, "pPr"), "lvl") or "0"
        text = "".join(_pieces(paragraph))
        yield text, min(int(depth), 9) if depth.isdecimal() else 0


def _pieces(paragraph: etree._Element) -> Iterator[str]:
    for element in paragraph.iter("{*}t", "{*}br", "{*}tab"):
        yield (element.text or "") if local(element) == "t" else "\n"


def _cells(row: etree._Element) -> list[str]:
    """A cell that is merged into another one is empty in the file."""
    cells = (cell for cell in row if local(cell) == "tc")
    return ["\n".join(text for text, _depth in _paragraphs(cell)) for cell in cells]
