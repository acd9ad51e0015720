"""The view behind signed links: no credential, and nothing that the client sent decides a path."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from django.core.files import File
from django.db.models.fields.files import FieldFile
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from core.db import in_db
from core.errors import NotFound
from knowledge.links import Target, verify
from knowledge.models import Document, Upload
from knowledge.names import shown_name
from knowledge.parse import FILE_TYPES

_PIECE_BYTES = 256 * 1024
_UNKNOWN = "application/octet-stream"
# A browser that showed one of these would run its scripts under our name.
_ACTIVE = frozenset({"text/html", "image/svg+xml", "application/xhtml+xml"})


@csrf_exempt  # so that other methods are answered with 405
@require_safe
async def download(request: HttpRequest, name: str) -> HttpResponseBase:
    """The file of a link, as something to be saved. 404 for forged links, 403 for expired ones."""
    try:
        target = verify(
            request.path_info,
            expires=request.GET.get("exp", ""),
            signature=request.GET.get("sig", ""),
        )
    except NotFound as error:
        return _refusal(error.message, 404)
    if target.is_expired:
        return _refusal(_("This link has expired."), 403)
    row = await in_db(_row_of, target)
    file = await asyncio.to_thread(_opened, row.file) if row else None
    if row is None or file is None:
        return _refusal(_("Not found."), 404)
    headers = _headers(row)
    if request.method == "HEAD":
        await asyncio.to_thread(file.close)
        return HttpResponse(headers=headers)
    return StreamingHttpResponse(_pieces_of(file), headers=headers)


def _row_of(target: Target) -> Document | Upload | None:
    rows = Upload.objects if target.kind == "upload" else Document.objects
    return rows.filter(pk=target.row_id).first()


def _opened(stored: FieldFile) -> File[bytes] | None:
    try:
        return stored.storage.open(stored.name, "rb") if stored.name else None
    except FileNotFoundError:
        return None


async def _pieces_of(file: File[bytes]) -> AsyncIterator[bytes]:
    """The file's bytes, each piece read in a thread; the file is closed however this ends."""
    try:
        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
            yield piece
    finally:
        file.close()


def _headers(row: Document | Upload) -> dict[str, str]:
    known = FILE_TYPES.get(row.file_type)
    media_type = known.media_type if known and known.media_type not in _ACTIVE else _UNKNOWN
    return {
        "Content-Type": media_type,
        "Content-Length": str(row.size),
        "Content-Disposition": content_disposition_header(True, shown_name(row.name)) or "",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-store",
    }


def _refusal(message: str, status: int) -> HttpResponse:
    return HttpResponse(f"{message}\n", status=status, content_type="text/plain; charset=utf-8")
