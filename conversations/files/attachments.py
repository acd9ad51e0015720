"""What comes along with a message: documents as their text, images as they are.

A document is read once, when it is sent, and its text is kept with the message. An image stays
where it is and is fetched for every call of a model; one that is gone by then is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from django.utils.translation import gettext as _

from accounts.principals import Principal
from conversations.files import images, reading
from conversations.files.folder import UserFolder
from conversations.turn import SentDocument
from conversations.types import AttachmentRow
from core.db import in_db
from core.errors import AppError, InvalidRequest, NotFound, PayloadTooLarge
from knowledge.access import upload_not_found
from knowledge.links import access_linked_upload
from knowledge.models import Upload
from knowledge.storage import local_path
from providers.tokens import estimate_tokens
from providers.types import ImagePart

logger = logging.getLogger(__name__)

MAX_IMAGES = 10
# Of all images of a message: what vendors take in one request, before it is encoded.
MAX_IMAGES_BYTES = 20 * 2**20
MAX_TEXT_TOKENS = 20_000
_CHARS_OF_A_TOKEN = 4
_UPLOAD, _FILE = "upload:", "file:"
# Clients may name the folder as the contract calls it.
_FOLDER_NAME = "user_upload/"


# --- Documents and images behind a link --------------------------------------------------------


async def read_link(principal: Principal, url: str) -> AttachmentRow:
    """What a link of ours to an upload of the principal's own leads to, read.

    Raises NotFound alike for forged, expired, foreign and any other addresses; InvalidRequest that
    names `file_url`, PayloadTooLarge and Unavailable for what cannot be read.
    """
    upload = await in_db(_own_upload, principal, url)
    try:
        return await reading.off_the_loop(lambda check: _read(upload, check))
    except InvalidRequest as error:
        raise InvalidRequest(error.message, code=error.error_code, param="file_url") from None


def _own_upload(principal: Principal, url: str) -> Upload:
    upload = access_linked_upload(principal, url)
    if upload.owner_id != principal.user_id:
        # Operators may see it; but it would be kept as if it were theirs.
        raise upload_not_found()
    return upload


def _read(upload: Upload, check: Callable[[], None]) -> AttachmentRow:
    source = f"{_UPLOAD}{upload.pk}"
    try:
        with local_path(upload.file) as path:
            data = _beginning(path)
            if images.media_type_of(data):
                return _image(upload.name, source, images.checked(data))
            text = reading.text_of(path, upload.file_type, check)
    except FileNotFoundError:
        raise upload_not_found() from None
    return AttachmentRow(
        kind="text",
        name=upload.name,
        source=source,
        media_type="text/plain",
        text=shortened(text, tokens=MAX_TEXT_TOKENS),
    )


def _beginning(path: Path) -> bytes:
    """All of what may be an image, and a little more of what is too large for one."""
    with path.open("rb") as file:
        return file.read(images.MAX_IMAGE_BYTES + 1)


def _image(name: str, source: str, media_type: str) -> AttachmentRow:
    return AttachmentRow(kind="image", name=name, source=source, media_type=media_type, text="")


def shortened(text: str, *, tokens: int) -> str:
    """The beginning of a text that has about so many tokens, with a mark where it was cut."""
    start = text[: tokens * _CHARS_OF_A_TOKEN]
    if len(start) == len(text) and estimate_tokens(text) <= tokens:
        return text
    fits, too_many = 0, len(start) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if estimate_tokens(start[:middle]) <= tokens:
            fits = middle
        else:
            too_many = middle
    return f"{start[:fits]}\n[cut: the first {fits} of {len(text)} characters are shown]"


# --- Images in the user's folder ---------------------------------------------------------------


def image_rows(folder: UserFolder, paths: Iterable[str]) -> tuple[AttachmentRow, ...]:
    """The images of one message, each once, all checked.

    Raises InvalidRequest, NotFound and PayloadTooLarge.
    """
    checked = list(dict.fromkeys(folder.checked(path) for path in paths))
    if len(checked) > MAX_IMAGES:
        text = _("At most %(limit)d images can be sent at once.") % {"limit": MAX_IMAGES}
        raise InvalidRequest(text, code="TOO_MANY_IMAGES")
    rows, size = [], 0
    for path in checked:
        name, data = _image_file(folder, path)
        rows.append(_image(name.rpartition("/")[2], f"{_FILE}{name}", images.checked(data)))
        size += len(data)
    if size > MAX_IMAGES_BYTES:
        text = _("The images of a message may have %(limit)d MB in all.")
        limit = {"limit": MAX_IMAGES_BYTES // 2**20}
        raise PayloadTooLarge(text % limit, code="IMAGE_TOO_LARGE")
    return tuple(rows)


def _image_file(folder: UserFolder, path: str) -> tuple[str, bytes]:
    """The path under which the image is in the folder, and its content."""
    try:
        return path, _content(folder, path)
    except NotFound:
        inner = path.removeprefix(_FOLDER_NAME)
        if inner == path:
            raise
        return inner, _content(folder, inner)


def _content(folder: UserFolder, path: str) -> bytes:
    with folder.open_read(path).file as file:
        return file.read(images.MAX_IMAGE_BYTES + 1)


def path_of(row: AttachmentRow) -> str:
    """Where an image is in the user's folder; "" for what was sent otherwise."""
    source = row["source"]
    return source.removeprefix(_FILE) if source.startswith(_FILE) else ""


def upload_id_of(row: AttachmentRow) -> str:
    """The upload that was sent; "" for what is in the user's folder."""
    source = row["source"]
    return source.removeprefix(_UPLOAD) if source.startswith(_UPLOAD) else ""


# --- For the model -----------------------------------------------------------------------------


def documents_of(rows: Sequence[AttachmentRow]) -> tuple[SentDocument, ...]:
    """The texts among what was sent."""
    return tuple(SentDocument(row["name"], row["text"]) for row in rows if row["kind"] == "text")


def images_of(rows: Sequence[AttachmentRow], *, owner_id: int | None) -> tuple[ImagePart, ...]:
    """The images among what was sent, as they are now: those of the owner that are still there.

    Reads rows and files; what is missing is left out, and the log says so.
    """
    sources = [row["source"] for row in rows if row["kind"] == "image"]
    if owner_id is None or not sources:
        return ()
    found = (_found(source, owner_id) for source in sources[:MAX_IMAGES])
    return tuple(part for part in found if part is not None)


def _found(source: str, owner_id: int) -> ImagePart | None:
    try:
        data = _stored(source, owner_id)
        return ImagePart(data, images.checked(data))
    except (AppError, FileNotFoundError) as error:
        logger.info("The image %s of user %s is left out: %s", source, owner_id, error)
        return None


def _stored(source: str, owner_id: int) -> bytes:
    if source.startswith(_FILE):
        return _content(UserFolder.of(owner_id), source.removeprefix(_FILE))
    upload_id = source.removeprefix(_UPLOAD)
    upload = Upload.objects.filter(pk=upload_id, owner_id=owner_id).first()
    if upload is None:
        raise upload_not_found()
    with local_path(upload.file) as path:
        return _beginning(path)
