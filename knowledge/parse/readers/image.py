"""Pictures of text, by OCR; of a file with several, each is a page."""

from __future__ import annotations

from collections.abc import Iterator

import numpy
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from knowledge.parse.draft import Draft, Refused
from knowledge.parse.ocr import Ocr
from knowledge.parse.wire import Order

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
_MAX_PIXELS = 100_000_000
_MAX_SIDE = 3500


def read(order: Order, draft: Draft) -> None:
    # Ours comes first, with a reason; Pillow's own limit would only warn.
    Image.MAX_IMAGE_PIXELS = None
    ocr = Ocr()
    draft.page_count = 0
    for number, picture in enumerate(_pictures(order), 1):
        draft.page_count = number
        pixels = numpy.asarray(picture)[:, :, ::-1]
        for block in ocr.blocks(numpy.ascontiguousarray(pixels)):
            draft.add(block.kind, block.text, page=number, level=block.level)


def _pictures(order: Order) -> Iterator[Image.Image]:
    """Upright, in colour, no larger than a recogniser needs."""
    try:
        file = Image.open(order.path, formats=_FORMATS)
    except UnidentifiedImageError:
        raise Refused("broken") from None
    with file:
        if getattr(file, "n_frames", 1) > order.max_pages:
            raise Refused("too_many_pages")
        for frame in ImageSequence.Iterator(file):
            if frame.width * frame.height > _MAX_PIXELS:
                raise Refused("image_too_large")
            frame.draft("RGB", (_MAX_SIDE, _MAX_SIDE))
            picture = ImageOps.exif_transpose(frame)
            picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
            yield _on_white(picture)


def _on_white(picture: Image.Image) -> Image.Image:
    """What is transparent was meant to stand on paper."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    paper = Image.new("RGBA", picture.size, "white")
    paper.alpha_composite(picture.convert("RGBA"))
    return paper.convert("RGB")
