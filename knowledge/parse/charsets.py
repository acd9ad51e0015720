"""Bytes to text, for files that do not say how they are written.

The order is fixed: a byte order mark, UTF-16 that shows by its NULs, UTF-8, GB18030, Windows-1252.
"""

from __future__ import annotations

import codecs
import re

from knowledge.parse.draft import Refused

# UTF-32 first: its mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 2**20
_HIGH_RUN = re.compile(rb"[\x80-\xff]+")
_CONTROL = re.compile(rb"[\x01-\x06\x0e-\x1a\x1c-\x1f]")
# Of the characters outside ASCII: a download that broke off, or an editor's single slip.
_MAX_DAMAGED = 0.01
# Bytes of which shares say nothing yet.
_FEW = 64


def decode(data: bytes, declared: str | None = None) -> str:
    """The text of a file. `declared` is the charset the file itself names, believed if it fits.

    Raises Refused("not_text") for what is binary.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode(name, "replace")
    sample = data[:_SAMPLE]
    wide = _wide_charset(sample)
    if wide:
        read = data.decode(wide, "replace")
        if read.count("\ufffd") * 20 > len(read):
            raise Refused("not_text")
        return read
    controls = len(_CONTROL.findall(sample))
    # Text has NULs by accident at most.
    if controls * 20 > len(sample) or (controls + sample.count(0)) * 3 > len(sample) > _FEW:
        raise Refused("not_text")
    for name in _candidates(sample, declared):
        text = _decoded(data, name)
        if text is not None:
            return text
    return data.decode("cp1252", "replace")


def _candidates(sample: bytes, declared: str | None) -> list[str]:
    names = ["utf-8"]
    if declared and _is_known(declared):
        # Pages in GBK call themselves GB2312, its subset.
        is_chinese = declared.lower().replace("_", "").startswith(("gb", "x-gb"))
        names.append("gb18030" if is_chinese else declared)
    if not _is_single_byte(sample):
        names.append("gb18030")
    return names


def _is_known(name: str) -> bool:
    """Whether it is a charset; Python also has codecs that are none (hex, zip)."""
    try:
        return isinstance(b"a".decode(name, "ignore"), str)
    except (LookupError, ValueError):
        return False


def _decoded(data: bytes, name: str) -> str | None:
    try:
        return data.decode(name)
    except ValueError:
        text = data.decode(name, "replace")
    foreign = len(text) - sum(map(text.count, map(chr, range(128))))
    return text if text.count("\ufffd") <= _MAX_DAMAGED * foreign else None


def _wide_charset(sample: bytes) -> str | None:
    """UTF-16 without a mark: text of any script has spaces, line ends or digits, half of them 0."""
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if max(even, odd) * 50 < len(sample) or min(even, odd) * 3 > max(even, odd):
        return None
    if sample.isascii() and max(even, odd) * 3 < len(sample):
        # Of wide characters, those of ASCII bring a NUL each, and others bytes beyond it.
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _is_single_byte(sample: bytes) -> bool:
    """Whether high bytes stand alone between ASCII, as accented letters do.

    GB18030 takes nearly any such text for Chinese of rare characters.
    """
    lengths = [len(run) for run in _HIGH_RUN.findall(sample)]
    return 2 * lengths.count(1) > len(lengths)
