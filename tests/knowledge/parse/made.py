"""Documents as people make them, and as attackers do."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import docx
import openpyxl
import pptx
from reportlab.lib import pdfencrypt
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_CONTENT_TYPES = (
    '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)


def word(fill: Callable[[Any], None]) -> bytes:
    """A docx that python-docx writes."""
    return _saved(docx.Document(), fill)


def slides(fill: Callable[[Any], None]) -> bytes:
    """A pptx that python-pptx writes."""
    return _saved(pptx.Presentation(), fill)


def sheets(fill: Callable[[Any], None]) -> bytes:
    """An xlsx that openpyxl writes."""
    return _saved(openpyxl.Workbook(), fill)


def _saved(document: Any, fill: Callable[[Any], None]) -> bytes:
    fill(document)
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def pdf(fill: Callable[[Canvas], None], *, password: str | None = None) -> bytes:
    """A PDF that reportlab writes; the font "STSong-Light" is Chinese and not embedded."""
    if "STSong-Light" not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    buffer = io.BytesIO()
    lock = None if password is None else pdfencrypt.StandardEncryption(password, strength=128)
    canvas = Canvas(buffer, encrypt=lock)
    fill(canvas)
    canvas.save()
    return buffer.getvalue()


def lines(canvas: Canvas, texts: list[str], *, left: float = 72, top: float = 700) -> None:
    """Lines of text below each other, 14 points apart."""
    for number, text in enumerate(texts):
        canvas.drawString(left, top - 14 * number, text)


def word_xml(body: str, *, prologue: str = "", parts: Mapping[str, str] | None = None) -> bytes:
    """A docx of this XML, which may be anything; `parts` are further ones beside the document."""
    kinds = {name: name.removesuffix(".xml") for name in parts or {}}
    return package(
        {
            "[Content_Types].xml": _CONTENT_TYPES,
            "_rels/.rels": relations({"officeDocument": "word/document.xml"}),
            "word/_rels/document.xml.rels": relations({kind: name for name, kind in kinds.items()}),
            "word/document.xml": f"{prologue}<w:document {_W}><w:body>{body}</w:body></w:document>",
            **{f"word/{name}": content for name, content in (parts or {}).items()},
        }
    )


def relations(targets: Mapping[str, str]) -> str:
    """A part that says where others are, by kind."""
    base = "http://schemas.openxmlformats.org"
    inner = "".join(
        f'<Relationship Id="r{number}" Type="{base}/officeDocument/2006/relationships/{kind}"'
        f' Target="{target}"/>'
        for number, (kind, target) in enumerate(targets.items())
    )
    return f'<Relationships xmlns="{base}/package/2006/relationships">{inner}</Relationships>'


def package(parts: Mapping[str, str | bytes], *, level: int = 6) -> bytes:
    """A zip of these parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def changed(archive: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    """The same zip with other contents."""
    with zipfile.ZipFile(io.BytesIO(archive)) as old:
        return package({name: change(name, old.read(name)) for name in old.namelist()})
