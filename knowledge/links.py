"""Signed links to stored files, which expire: whoever holds one may download the file until then.

A link is `{base}/files/{YYYYMMDD}/{ending}/{stem}_{10 hex}.{ending}?exp=…&sig=…`. The path is for
people; what is served is decided by the signature alone, which covers the row, path and expiry.
"""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Literal
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from django.conf import settings
from django.core.signing import BadSignature, Signer
from django.http import HttpRequest
from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import NotFound
from knowledge.access import access_upload, upload_not_found
from knowledge.models import Document, Upload
from knowledge.names import shown_name, stem_of

ROOT = "/files/"
_MAX_STEM = 80
_MAX_URL = 4096
_NOT_IN_A_PATH = re.compile(r"[^\w.\-]+")

Kind = Literal["document", "upload"]
_LETTERS: dict[Kind, str] = {"document": "d", "upload": "u"}
_KINDS: dict[str, Kind] = {letter: kind for kind, letter in _LETTERS.items()}


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """The row whose file a link names."""

    kind: Kind
    row_id: str
    is_expired: bool


def signed_url(base: HttpRequest | str, row: Upload | Document) -> str:
    """A link to the row's file that lasts FILE_LINK_HOURS, under the base's scheme and host."""
    target = f"{_LETTERS['upload' if isinstance(row, Upload) else 'document']}{row.pk}"
    path = _path(row)
    expires = str(int(time.time()) + settings.FILE_LINK_HOURS * 3600)
    signature = _signer().signature(_signed(target, path, expires))
    location = f"{quote(path)}?{urlencode({'exp': expires, 'sig': f'{target}.{signature}'})}"
    if isinstance(base, HttpRequest):
        return base.build_absolute_uri(location)
    return base.rstrip("/") + location


def verify(path: str, *, expires: str, signature: str) -> Target:
    """What a link's path (decoded), `exp` and `sig` stand for. Raises NotFound for a forged one."""
    target, _dot, proof = signature.partition(".")
    kind = _KINDS.get(target[:1])
    if kind is None or not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
        raise _forged()
    try:
        _signer().unsign(f"{_signed(target, path, expires)}:{proof}")
    except BadSignature:
        raise _forged() from None
    return Target(kind, target[1:], is_expired=int(expires) < time.time())


def access_linked_upload(principal: Principal, url: str) -> Upload:
    """The upload that a link of ours names, if the principal sent it.

    Raises the same NotFound for forged, expired, foreign and any other addresses. The host is not
    looked at: nothing is fetched from it, and a server has several.
    """
    if len(url) > _MAX_URL:
        raise upload_not_found()
    try:
        parts = urlsplit(url)
        query = parse_qs(parts.query, max_num_fields=10)
    except ValueError:
        raise upload_not_found() from None
    try:
        target = verify(
            unquote(parts.path),
            expires=query.get("exp", [""])[0],
            signature=query.get("sig", [""])[0],
        )
    except NotFound:
        raise upload_not_found() from None
    if target.kind != "upload" or target.is_expired:
        raise upload_not_found()
    return access_upload(principal, target.row_id)


def _path(row: Upload | Document) -> str:
    stem = _NOT_IN_A_PATH.sub("_", stem_of(shown_name(row.name)))[:_MAX_STEM].strip("._-")
    name = f"{stem or 'file'}_{row.pk[:10]}.{row.file_type}"
    return f"{ROOT}{row.created_at:%Y%m%d}/{row.file_type}/{name}"


def _signer() -> Signer:
    return Signer(salt="knowledge.links")


def _signed(target: str, path: str, expires: str) -> str:
    return f"{target}\n{path}\n{expires}"


def _forged() -> NotFound:
    return NotFound(_("Not found."))
