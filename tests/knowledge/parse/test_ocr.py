"""Images and scans, where OCR is installed (requirements-ocr.txt), and where it is not."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from knowledge.parse import ocr_is_installed, runner
from tests.knowledge.parse import made
from tests.knowledge.parse.conftest import Read, Refuse, told

TEXTS = ("The warranty lasts 24 months.", "Call 5550199 for service.")


@pytest.fixture
def ocr() -> None:
    if ocr_is_installed():
        return
    if os.environ.get("CI"):
        pytest.fail("OCR is missing, and in CI its tests always run")
    pytest.skip("no OCR: pip install -r requirements-ocr.txt")


def picture(
    texts: Sequence[str] = TEXTS, *, paper: tuple[int, ...] = (255, 255, 255)
) -> Image.Image:
    """Black lines of text on paper of a colour, which may be transparent."""
    size = (900, 60 + 80 * len(texts))
    image = Image.new("RGB" if len(paper) == 3 else "RGBA", size, paper)
    font = ImageFont.load_default(32)
    for number, text in enumerate(texts):
        ImageDraw.Draw(image).text((40, 40 + 80 * number), text, font=font, fill="black")
    return image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_it_asks_for_ocr_where_a_file_is_an_image(
    read: Read, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(picture(), "PNG")
    monkeypatch.setattr(runner, "ocr_is_installed", lambda: True)
    parsed = read(data, "png")
    assert (parsed.text, parsed.page_count, parsed.image_pages) == ("", 1, (1,))
    monkeypatch.setattr(runner, "ocr_is_installed", lambda: False)
    failed = refuse(data, "png", with_ocr=True)
    assert (failed.code, failed.is_permanent) == ("ocr_missing", True)


@pytest.mark.usefixtures("ocr")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_it_reads_images(kind: str, read: Read) -> None:
    parsed = read(saved(picture(), kind), kind.lower(), with_ocr=True)
    assert "24 months" in parsed.text
    assert "5550199" in parsed.text
    assert (parsed.page_count, parsed.image_pages) == (1, ())


@pytest.mark.usefixtures("ocr")
def test_it_reads_every_page_of_a_fax_and_what_is_transparent(read: Read) -> None:
    pages = [picture(["First page"]), picture(["Second page"])]
    fax = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    parsed = read(fax, "tiff", with_ocr=True)
    assert [block.page for block in parsed.blocks] == [1, 2]
    clear = picture(["Transparent"], paper=(0, 0, 0, 0))
    assert "Transparent" in read(saved(clear, "PNG"), "png", with_ocr=True).text


@pytest.mark.usefixtures("ocr")
def test_it_reads_scanned_pages_between_pages_of_text(read: Read) -> None:
    def fill(canvas: Canvas) -> None:
        canvas.drawString(72, 700, "A page of text before.")
        canvas.showPage()
        canvas.drawImage(ImageReader(picture()), 50, 400, 500, 122)
        canvas.showPage()

    data = made.pdf(fill)
    assert read(data, "pdf").image_pages == (2,)
    parsed = read(data, "pdf", with_ocr=True)
    assert parsed.image_pages == ()
    assert told(parsed, page=1) == [("paragraph", "A page of text before.")]
    assert "24 months" in str(told(parsed, page=2))


@pytest.mark.usefixtures("ocr")
def test_it_says_that_an_image_shows_no_text(refuse: Refuse) -> None:
    assert refuse(saved(picture(()), "PNG"), "png", with_ocr=True).code == "no_text"


@pytest.mark.usefixtures("ocr")
def test_it_refuses_images_that_are_broken_huge_or_something_else(refuse: Refuse) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    assert refuse(huge, "png", with_ocr=True).code == "too_large"
    assert refuse(b"\x89PNG\r\n\x1a\nrubbish", "png", with_ocr=True).code == "broken"
    assert refuse(saved(picture(), "PNG")[:300], "png", with_ocr=True).code == "broken"
    assert refuse(b"%!PS-Adobe-3.0 EPSF-3.0\n", "png", with_ocr=True).code == "broken"


@pytest.mark.usefixtures("ocr")
def test_it_reads_a_scan_on_a_page_of_any_size(read: Read) -> None:
    def fill(canvas: Canvas) -> None:
        canvas.setPageSize((14_000, 4_000))
        canvas.drawImage(ImageReader(picture()), 0, 0, 14_000, 3_400)

    assert "24 months" in read(made.pdf(fill), "pdf", with_ocr=True).text
