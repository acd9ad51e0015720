"""What can be done with knowledge bases, their documents and uploads.

Everything is stored first and handed to the workers after the commit. Where the broker is away the
rows wait, and the sweeper hands them over later.
"""

from __future__ import annotations

import contextlib
from typing import Any, TypedDict

from django.core.files import File
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from accounts.models import User
from accounts.principals import Principal
from core.errors import Conflict, InvalidRequest, NotFound, UnsupportedMediaType
from core.models import OwnedQuerySet, OwnedRow
from knowledge import chunks, locks, spaces, tasks
from knowledge.access import base_not_found, document_not_found, upload_not_found
from knowledge.attempts import NO_EMBEDDER
from knowledge.models import (
    MAX_CHUNK_SIZE,
    MIN_CHUNK_SIZE,
    Document,
    DocumentStatus,
    KnowledgeBase,
    Stage,
    Upload,
    VectorSpace,
    document_path,
    upload_path,
)
from knowledge.names import shown_name
from knowledge.parse import file_type_of
from knowledge.storage import checked_size, remove_after_commit, sha256_of, store
from providers.models import Llm, LlmType

# Why an attempt ended that no worker ended.
RESTARTED, CANCELLED = "restarted", "cancelled"
# Of what uses a base that is to be deleted; the rest is counted.
MAX_NAMED = 5


class BaseValues(TypedDict, total=False):
    """Fields of a knowledge base as they were sent; what is missing stays as it is."""

    name: str
    description: str
    embedder_id: str | None
    chunk_size: int
    chunk_overlap: int


class DuplicateDocument(Conflict):
    """The base has a document of the very same bytes already; `document_id` names it."""

    code = "DUPLICATE_DOCUMENT"

    def __init__(self, first: Document) -> None:
        text = _("The base already holds this file, as “%(name)s”.")
        super().__init__(text % {"name": first.name}, details={"document_id": [first.pk]})
        self.document_id = first.pk


# --- Bases -------------------------------------------------------------------------------------


def create_base(owner_id: int | None, values: BaseValues) -> KnowledgeBase:
    """A new base of the user, or of the system (None). Raises InvalidRequest."""
    base = KnowledgeBase(owner_id=owner_id)
    _set_values(base, values)
    base.save()
    return base


@transaction.atomic
def update_base(base: KnowledgeBase, values: BaseValues) -> KnowledgeBase:
    """Changes the base. Another embedding model gets its vectors built beside the present ones.

    Other sizes of chunks hold for documents that are read from now on. Raises InvalidRequest, and
    NotFound where somebody has just deleted the base.
    """
    _set_values(base, values)
    if not locks.hold_base(base.pk):
        raise base_not_found()
    base.save(update_fields=[*values, "updated_at"])
    rebuild_vectors(base)
    return base


def rebuild_vectors(base: KnowledgeBase) -> VectorSpace | None:
    """Starts building the vectors that the base wants and lacks, also again after a failure.

    None where there is nothing to build. Call it after every change of `base.embedder`.
    """
    space = spaces.reconcile(base.pk)
    if space is not None:
        VectorSpace.objects.filter(pk=space.pk).update(attempt=0, next_attempt_at=None)
        tasks.wake_after_commit(tasks.build_space, space.pk)
    # Documents are locked before spaces, hence after the commit.
    transaction.on_commit(lambda: _embed_what_could_not_be(base))
    return space


def _embed_what_could_not_be(base: KnowledgeBase) -> None:
    """Documents that failed because there was no model to embed them get another chance."""
    for document in Document.objects.filter(
        knowledge_base=base.pk, status=DocumentStatus.FAILED, error_code=NO_EMBEDDER
    ):
        with contextlib.suppress(NotFound):
            retry_document(document)


@transaction.atomic
def delete_base(base: KnowledgeBase, *, force: bool, by: Principal | None = None) -> None:
    """Deletes the base with everything in it, also while workers are busy with it.

    Raises Conflict where an assistant uses it, unless forced; its message names what may be seen
    `by` whoever deletes, and counts the rest.
    """
    used_by = [] if force else _users_of(base, by)
    if used_by:
        text = _("“%(name)s” is used by %(users)s.")
        raise Conflict(
            text % {"name": base.name, "users": ", ".join(used_by)}, code="KNOWLEDGE_BASE_IN_USE"
        )
    locks.lock_base(base.pk)
    documents = list(
        Document.objects.filter(knowledge_base=base).order_by("pk").select_for_update()
    )
    space_ids = chunks.delete_of_base(base.pk)
    base.delete()
    for document in documents:
        remove_after_commit(document.file)
    for space_id in space_ids:
        tasks.wake_after_commit(tasks.drop_index, space_id)


@transaction.atomic
def delete_all_of(user: User) -> None:
    """Deletes the user's bases and uploads with their files, before the account goes."""
    for base in KnowledgeBase.objects.filter(owner=user).order_by("pk"):
        delete_base(base, force=True)
    uploads = Upload.objects.filter(owner=user)
    for upload in uploads:
        remove_after_commit(upload.file)
    uploads.delete()


def _set_values(base: KnowledgeBase, values: BaseValues) -> None:
    for field, value in values.items():
        setattr(base, field, value)
    details: dict[str, list[str]] = {}
    if not base.name.strip():
        details["name"] = [_("A name is needed.")]
    if not MIN_CHUNK_SIZE <= base.chunk_size <= MAX_CHUNK_SIZE:
        text = _("Between %(least)d and %(most)d characters are possible.")
        details["chunk_size"] = [text % {"least": MIN_CHUNK_SIZE, "most": MAX_CHUNK_SIZE}]
    if not 0 <= base.chunk_overlap < base.chunk_size:
        details["chunk_overlap"] = [_("The overlap must be smaller than the chunk size.")]
    if values.get("embedder_id") and not _may_embed(base, str(values["embedder_id"])):
        details["embedder_id"] = [_("Unknown embedding model.")]
    if details:
        field, messages = next(iter(details.items()))
        raise InvalidRequest(messages[0], param=field, details=details)


def _may_embed(base: KnowledgeBase, embedder_id: str) -> bool:
    """Whether it is an embedding model of the base's owner or of the system."""
    if "\0" in embedder_id:
        return False
    visible = Q(owner=None) | Q(owner_id=base.owner_id) if base.owner_id else Q(owner=None)
    return Llm.objects.filter(visible, pk=embedder_id, type=LlmType.EMBEDDING).exists()


def _users_of(base: KnowledgeBase, principal: Principal | None) -> list[str]:
    """What refers to the base from above this app: some by name, if they may be seen."""
    users: list[str] = []
    for relation in KnowledgeBase._meta.related_objects:
        model: Any = relation.related_model
        if model._meta.app_label == KnowledgeBase._meta.app_label:
            continue
        rows = model._default_manager.filter(**{relation.field.name: base.pk}).distinct()
        named = _visible(rows, principal)[:MAX_NAMED]
        users += [f"“{row}”" for row in named]
        if others := rows.count() - len(named):
            text = ngettext("%(count)d other", "%(count)d others", others)
            users.append(text % {"count": others})
    return users


def _visible(rows: OwnedQuerySet[OwnedRow], principal: Principal | None) -> OwnedQuerySet[OwnedRow]:
    if principal is None:
        return rows.none()
    return rows.visible_to(principal.user_id, is_operator=principal.is_operator)


# --- Documents ---------------------------------------------------------------------------------


def add_document(
    base: KnowledgeBase, upload: File[Any], *, name: str, file_type: str | None = None
) -> Document:
    """Stores a file as a document of the base and has it read.

    Its type is that of the file's own name, or else of `name`, under which it is shown. It takes
    the place of a document of the same bytes that failed or was cancelled: under another name they
    may be read. Raises UnsupportedMediaType, PayloadTooLarge, DuplicateDocument, NotFound,
    Unavailable.
    """
    document = Document(
        knowledge_base=base,
        name=shown_name(name),
        file_type=_file_type(file_type, upload.name or "", name),
        size=checked_size(upload),
        sha256=sha256_of(upload),
    )
    document.file.name = document_path(document, name)
    try:
        with transaction.atomic():
            _make_way(document)
            # The row first: a duplicate is refused before anything is written.
            document.save(force_insert=True)
            store(document.file, upload)
            tasks.wake_document_after_commit(document)
    except IntegrityError:
        raise _refusal_of(document) from None
    return document


def add_text(base: KnowledgeBase, *, name: str, content: str, file_type: str = "txt") -> Document:
    """Stores a text as a document of the base. Raises as `add_document` does."""
    file = ContentFile(content.encode(errors="replace"))
    return add_document(base, file, name=name, file_type=file_type)


def add_upload(base: KnowledgeBase, upload: Upload) -> Document:
    """Makes a document of a file that was sent ahead. Raises as `add_document` does."""
    try:
        with upload.file.storage.open(upload.file.name or "") as file:
            return add_document(base, file, name=upload.name, file_type=upload.file_type)
    except FileNotFoundError:
        raise upload_not_found() from None


def _file_type(given: str | None, *names: str) -> str:
    """The type that was given, else that of the first name that has a readable one."""
    if given:
        return file_type_of(f".{given.lstrip('.')}")
    *others, last = names
    for name in others:
        with contextlib.suppress(UnsupportedMediaType):
            return file_type_of(name)
    return file_type_of(last)


def _make_way(document: Document) -> None:
    """Deletes the document of the same bytes that was not read to its end, if there is one."""
    unread = (DocumentStatus.FAILED, DocumentStatus.CANCELLED)
    same = Document.objects.filter(
        knowledge_base=document.knowledge_base_id, sha256=document.sha256, status__in=unread
    )
    locks.hold_base(document.knowledge_base_id)
    for row in same.select_for_update():
        delete_document(row)


def _refusal_of(document: Document) -> Conflict | NotFound:
    """Why the database did not take the document."""
    base_id = document.knowledge_base_id
    same = Document.objects.filter(knowledge_base=base_id, sha256=document.sha256).first()
    if same is not None:
        return DuplicateDocument(same)
    if KnowledgeBase.objects.filter(pk=base_id).exists():
        # The one that was in the way has just been deleted.
        return Conflict(_("The file was being changed by somebody else; try again."))
    return base_not_found()


def reindex_document(document: Document) -> Document:
    """Reads the document again from the beginning, whatever was being done with it.

    Until its new chunks are stored the present ones are found. Raises NotFound.
    """
    return _restart(document, DocumentStatus.UPLOADED)


def retry_document(document: Document) -> Document:
    """Lets a document that failed or was cancelled go on: where embedding failed, with that."""
    last_run = document.stage_runs.order_by("-pk").first()
    match document.status:
        case DocumentStatus.FAILED:
            lacks_vectors = last_run is not None and last_run.stage == Stage.EMBEDDING
        case DocumentStatus.CANCELLED:
            lacks_vectors = document.error_code == CANCELLED
        case _:
            lacks_vectors = False
    goes_on = lacks_vectors and document.chunks.exists()
    return _restart(document, DocumentStatus.EMBEDDING if goes_on else DocumentStatus.UPLOADED)


@transaction.atomic
def _restart(document: Document, status: DocumentStatus) -> Document:
    row = _locked(document)
    _end_stage(row, RESTARTED, gettext_noop("The document was started anew."))
    _change(
        row,
        status=status,
        claim=None,
        lease_until=None,
        attempt=0,
        next_attempt_at=None,
        error_code="",
        error_message="",
    )
    tasks.wake_document_after_commit(row)
    return row


@transaction.atomic
def cancel_document(document: Document) -> Document:
    """Ends the work on the document; nothing happens where there is none. Raises NotFound.

    What a first reading had stored so far is removed; a document that was ready before keeps what
    is found of it.
    """
    locks.hold_base(document.knowledge_base_id)
    row = _locked(document)
    if row.status not in DocumentStatus.open():
        return row
    _end_stage(row, CANCELLED, gettext_noop("Cancelled."))
    is_first = row.processed_at is None
    if is_first:
        chunks.delete_of_document(row.pk, row.knowledge_base_id)
        values: dict[str, Any] = {"chunks_total": 0, "chunks_embedded": 0}
    elif row.status == DocumentStatus.EMBEDDING:
        text = gettext_noop(
            "Cancelled before all of it was embedded: some is found by its words only."
        )
        values = {"error_code": CANCELLED, "error_message": text}
    else:
        values = {}
    _change(
        row,
        status=DocumentStatus.CANCELLED,
        claim=None,
        lease_until=None,
        next_attempt_at=None,
        **values,
    )
    return row


@transaction.atomic
def delete_document(document: Document) -> None:
    """Deletes the document and what is found of it, also while a worker is busy with it.

    Raises NotFound.
    """
    locks.hold_base(document.knowledge_base_id)
    row = _locked(document)
    chunks.delete_of_document(row.pk, row.knowledge_base_id)
    row.delete()
    remove_after_commit(row.file)


def _locked(document: Document) -> Document:
    row = Document.objects.select_for_update().filter(pk=document.pk).first()
    if row is None:
        raise document_not_found()
    return row


def _change(row: Document, **values: Any) -> None:
    for field, value in values.items():
        setattr(row, field, value)
    row.save(update_fields=[*values, "updated_at"])


def _end_stage(row: Document, code: str, message: str) -> None:
    row.stage_runs.filter(ended_at=None).update(
        ended_at=Now(), error_code=code, error_message=message
    )


# --- Uploads -----------------------------------------------------------------------------------


@transaction.atomic
def store_upload(owner: User, file: File[Any]) -> Upload:
    """Keeps a file for a later request, for UPLOAD_KEEP_DAYS.

    Raises UnsupportedMediaType, PayloadTooLarge, Unavailable.
    """
    name = file.name or ""
    upload = Upload(
        owner=owner,
        name=shown_name(name),
        file_type=file_type_of(name),
        size=checked_size(file),
    )
    upload.file.name = upload_path(upload, name)
    upload.save(force_insert=True)
    store(upload.file, file)
    return upload
