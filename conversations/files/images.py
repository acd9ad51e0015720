"""What an image is by its first bytes, and how large it says it is. Nothing is ever decoded here.

Pure: a picture of a few bytes that unfolds to gigabytes costs nobody anything before the vendor
that looks at it, and none is sent there whose header promises too much.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType

from django.utils.translation import gettext as _

from core.errors import InvalidRequest, PayloadTooLarge

MAX_IMAGE_BYTES = 10 * 2**20
MAX_PIXELS = 64_000_000

Size = tuple[int, int]
# Markers of JPEG that begin a frame; the others in their range mean tables.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xDA)})


def media_type_of(data: bytes) -> str | None:
    """The type of an image that models see, by its signature; None for all else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def checked(data: bytes) -> str:
    """The media type of an image that may be sent to a model.

    Raises InvalidRequest for what is none or is broken, PayloadTooLarge for too many bytes or
    pixels.
    """
    media_type = media_type_of(data)
    if media_type is None:
        raise InvalidRequest(_("This is no image in PNG, JPEG, GIF or WebP."), code="NOT_AN_IMAGE")
    if len(data) > MAX_IMAGE_BYTES:
        text = _("An image may have %(limit)d MB.") % {"limit": MAX_IMAGE_BYTES // 2**20}
        raise PayloadTooLarge(text, code="IMAGE_TOO_LARGE")
    try:
        width, height = _SIZES[media_type](data)
    except (struct.error, IndexError, ValueError):
        width = height = 0
    if width < 1 or height < 1:
        raise InvalidRequest(_("The image is damaged."), code="NOT_AN_IMAGE")
    if width * height > MAX_PIXELS:
        raise PayloadTooLarge(_("The image has too many pixels."), code="IMAGE_TOO_LARGE")
    return media_type


def _png(data: bytes) -> Size:
    if data[12:16] != b"IHDR":
        raise ValueError("no header")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _gif(data: bytes) -> Size:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _jpeg(data: bytes) -> Size:
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker")
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        else:
            (length,) = struct.unpack_from(">H", data, at + 2)
            if length < 2:
                raise ValueError("no segment")
            at += 2 + length


def _webp(data: bytes) -> Size:
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        return width, 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise ValueError("no frame")


_SIZES: Mapping[str, Callable[[bytes], Size]] = MappingProxyType(
    {"image/png": _png, "image/jpeg": _jpeg, "image/gif": _gif, "image/webp": _webp}
)
