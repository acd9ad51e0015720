"""PDF: the text of each page in reading order; pages of images only by OCR, where it is asked."""

from __future__ import annotations

import ctypes
import itertools
import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import pypdfium2
import pypdfium2.raw as pdfium

from knowledge.parse import layout
from knowledge.parse.draft import Draft, Refused
from knowledge.parse.layout import Line, Segment
from knowledge.parse.ocr import Ocr
from knowledge.parse.prose import PLAIN_FORMS
from knowledge.parse.wire import Order

# Fewer characters are a page number or a stamp on a scan.
_MIN_PAGE_TEXT = 16
_MAX_OBJECTS = 2000
# Text that was turned into curves takes at least so many.
_MIN_PATHS = 100
# Of the height of the type: a gap that no word space has.
_WIDE_GAP = 1.6
_LINE = re.compile(r"[^\r\n\ufffe\x02]+")
_TURN_SAMPLE = 50
_OCR_DPI = 200
_OCR_MAX_SIDE = 3500


def read(order: Order, draft: Draft) -> None:
    document = _opened(order.path)
    count = len(document)
    if count > order.max_pages:
        raise Refused("too_many_pages")
    draft.page_count = count
    pages = _read_pages(document, count, draft)
    sizes = layout.Sizes(itertools.chain.from_iterable(pages))
    ocr = Ocr() if order.with_ocr and draft.image_pages else None
    for number, lines in enumerate(layout.without_furniture(pages, sizes), 1):
        found = layout.blocks(lines, sizes)
        if ocr is not None and number in draft.image_pages:
            found = ocr.blocks(_image(document, number))
        for block in found:
            draft.add(block.kind, block.text, page=number, level=block.level)
    if ocr is not None:
        draft.image_pages = []


def _opened(path: str) -> pypdfium2.PdfDocument:
    try:
        return pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        secured = (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY)
        raise Refused("encrypted" if error.err_code in secured else "broken") from None


def _read_pages(document: pypdfium2.PdfDocument, count: int, draft: Draft) -> list[list[Line]]:
    """The lines of all pages. A page that is damaged has none; if all are, the document is."""
    pages: list[list[Line]] = []
    room = draft.room
    damaged = 0
    for number in range(1, count + 1):
        lines: list[Line] = []
        try:
            page = document[number - 1]
        except pypdfium2.PdfiumError as error:
            sys.stderr.write(f"page {number}: {error}\n")
            damaged += 1
        else:
            lines = list(_lines(page))
            size = sum(len(line.text) for line in lines)
            room -= size
            if size < _MIN_PAGE_TEXT and _has_pictures(page):
                draft.image_pages.append(number)
            page.close()
        if room < 0:
            raise Refused("too_much_text")
        pages.append(lines)
    if damaged == count:
        raise Refused("broken")
    return pages


def _lines(page: pypdfium2.PdfPage) -> Iterator[Line]:
    """The lines in the order of the file, each cut at its wide gaps."""
    text_page = page.get_textpage()
    text = _text_of(text_page)
    box = _Boxes(text_page, text)
    for match in _LINE.finditer(text):
        segments = list(_segments(text, match.start(), match.end(), box))
        if segments:
            # The hyphen at which a word was broken is a mark of its own.
            is_broken = text[match.end() : match.end() + 1] in ("\ufffe", "\x02")
            yield Line((*segments[:-1], _hyphenated(segments[-1]) if is_broken else segments[-1]))
    text_page.close()


def _hyphenated(segment: Segment) -> Segment:
    return Segment(segment.text + "-", segment.left, segment.right, segment.bottom, segment.top)


def _text_of(text_page: pypdfium2.PdfTextPage) -> str:
    """The text with one character for each of the page's, so that positions fit its boxes."""
    count = text_page.count_chars()
    text = str(text_page.get_text_range()) if count else ""
    if len(text) == count:
        return text
    codes = (pdfium.FPDFText_GetUnicode(text_page, at) for at in range(count))
    return "".join(chr(code) if code <= sys.maxunicode else "\x00" for code in codes)


def _segments(
    text: str, start: int, end: int, box: Callable[[int], Segment | None]
) -> Iterator[Segment]:
    at = start
    for space in (i for i in range(start + 1, end - 1) if text[i] == " "):
        before, after = box(space - 1), box(space + 1)
        if before is None or after is None or space < at:
            continue
        if after.left - before.right > _WIDE_GAP * max(before.size, after.size):
            yield from _segment(text, at, space, box)
            at = space + 1
    yield from _segment(text, at, end, box)


def _segment(
    text: str, start: int, end: int, box: Callable[[int], Segment | None]
) -> Iterator[Segment]:
    """The text from one place to another in a box from its first to its last character."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    first, last = (box(start), box(end - 1)) if start < end else (None, None)
    if first is None or last is None:
        return
    yield Segment(
        _plain(text[start:end]),
        min(first.left, last.left),
        max(first.right, last.right),
        min(first.bottom, last.bottom),
        max(first.top, last.top),
    )


def _plain(text: str) -> str:
    """Letters for ligatures, one character for two halves, nothing for what no font names."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
    return whole.replace("\x00", "").translate(PLAIN_FORMS)


class _Boxes:
    """The boxes of characters, turned so that most lines of the page run from left to right."""

    def __init__(self, text_page: pypdfium2.PdfTextPage, text: str) -> None:
        self._text_page = text_page
        starts = (match.start() for match in itertools.islice(_LINE.finditer(text), _TURN_SAMPLE))
        turns = Counter(self._quarter_turns(at) for at in starts)
        self._turns = turns.most_common(1)[0][0] if turns else 0
        self._rect = pdfium.FS_RECTF()
        self._pointer = ctypes.byref(self._rect)

    def __call__(self, at: int) -> Segment | None:
        if not pdfium.FPDFText_GetLooseCharBox(self._text_page, at, self._pointer):
            return None
        rect = self._rect
        match self._turns:
            case 1:
                box = rect.bottom, rect.top, -rect.right, -rect.left
            case 2:
                box = -rect.right, -rect.left, -rect.top, -rect.bottom
            case 3:
                box = -rect.top, -rect.bottom, rect.left, rect.right
            case _:
                box = rect.left, rect.right, rect.bottom, rect.top
        return Segment("", *box)

    def _quarter_turns(self, at: int) -> int:
        """How often a character is turned by 90 degrees, counter-clockwise."""
        angle: float = pdfium.FPDFText_GetCharAngle(self._text_page, at)
        return round(angle / (math.pi / 2)) % 4


def _has_pictures(page: pypdfium2.PdfPage) -> bool:
    """Whether there is something on a page without text that could show some."""
    paths = 0
    for thing in itertools.islice(page.get_objects(max_depth=3), _MAX_OBJECTS):
        if thing.type in (pdfium.FPDF_PAGEOBJ_IMAGE, pdfium.FPDF_PAGEOBJ_SHADING):
            return True
        paths += thing.type == pdfium.FPDF_PAGEOBJ_PATH
    return paths >= _MIN_PATHS


def _image(document: pypdfium2.PdfDocument, number: int) -> object:
    """The page as an array of pixels, of a size that can be recognised, whatever the page's is."""
    page = document[number - 1]
    scale = min(_OCR_DPI / 72, _OCR_MAX_SIDE / max(*page.get_size(), 1.0))
    return page.render(scale=scale, grayscale=False).to_numpy().copy()
