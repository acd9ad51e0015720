"""Which knowledge bases, documents and uploads somebody may see and change."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import Forbidden, NotFound
from core.models import OwnedQuerySet
from knowledge.models import Document, KnowledgeBase, Upload

KNOWLEDGE_BASE_NOT_FOUND = "KNOWLEDGE_BASE_NOT_FOUND"
DOCUMENT_NOT_FOUND = "DOCUMENT_NOT_FOUND"
UPLOAD_NOT_FOUND = "UPLOAD_NOT_FOUND"


def base_not_found() -> NotFound:
    return NotFound(_("Knowledge base not found."), code=KNOWLEDGE_BASE_NOT_FOUND)


def document_not_found() -> NotFound:
    return NotFound(_("Document not found."), code=DOCUMENT_NOT_FOUND)


def upload_not_found() -> NotFound:
    return NotFound(_("There is no such upload, or its link has expired."), code=UPLOAD_NOT_FOUND)


# --- Bases -------------------------------------------------------------------------------------


def visible_knowledge_bases(principal: Principal) -> OwnedQuerySet[KnowledgeBase]:
    """Own knowledge bases and the system's; operators see all."""
    return KnowledgeBase.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def access_knowledge_base(principal: Principal, base_id: str) -> KnowledgeBase:
    """The base, if it may be seen. Raises NotFound alike for unknown and foreign ids."""
    row = visible_knowledge_bases(principal).with_id(base_id)
    if row is None:
        raise base_not_found()
    return row


def access_knowledge_bases(principal: Principal, base_ids: Sequence[str]) -> list[KnowledgeBase]:
    """All of these bases, each once, in their order. Raises NotFound if one may not be seen."""
    wanted = list(dict.fromkeys(base_ids))
    possible = [base_id for base_id in wanted if "\0" not in base_id]
    found = visible_knowledge_bases(principal).in_bulk(possible)
    if len(found) < len(wanted):
        raise base_not_found()
    return [found[base_id] for base_id in wanted]


def require_editable(principal: Principal, row: KnowledgeBase) -> None:
    """Raises Forbidden where a visible base may not be changed: the system's, by a user."""
    if not principal.is_operator and row.owner_id != principal.user_id:
        raise Forbidden(_("System knowledge bases can be changed by operators only."))


def access_own_base(principal: Principal, base_id: str) -> KnowledgeBase:
    """The base, if it may be changed. Raises NotFound, and Forbidden for the system's."""
    row = access_knowledge_base(principal, base_id)
    require_editable(principal, row)
    return row


# --- Documents ---------------------------------------------------------------------------------


def visible_documents(principal: Principal) -> QuerySet[Document]:
    """The documents of all visible bases, each with its base."""
    documents = Document.objects.select_related("knowledge_base")
    if principal.is_operator:
        return documents
    return documents.filter(knowledge_base__in=visible_knowledge_bases(principal))


def access_document(principal: Principal, base_id: str, document_id: str) -> Document:
    """The document of that base, if it may be seen. Raises NotFound for the base or for it."""
    base = access_knowledge_base(principal, base_id)
    row = _with_id(Document.objects.filter(knowledge_base=base), document_id)
    row.knowledge_base = base
    return row


def access_own_document(principal: Principal, base_id: str, document_id: str) -> Document:
    """The document of that base, if it may be changed. Raises NotFound and Forbidden."""
    row = access_document(principal, base_id, document_id)
    require_editable(principal, row.knowledge_base)
    return row


def access_file(principal: Principal, document_id: str) -> Document:
    """The document, whichever base it is in, if it may be seen. Raises NotFound."""
    return _with_id(visible_documents(principal), document_id)


def access_own_file(principal: Principal, document_id: str) -> Document:
    """The document, whichever base it is in, if it may be changed. Raises NotFound, Forbidden."""
    row = access_file(principal, document_id)
    require_editable(principal, row.knowledge_base)
    return row


def _with_id(rows: QuerySet[Document], document_id: str) -> Document:
    row = None if "\0" in document_id else rows.filter(pk=document_id).first()
    if row is None:
        raise document_not_found()
    return row


# --- Uploads -----------------------------------------------------------------------------------


def access_upload(principal: Principal, upload_id: str) -> Upload:
    """The upload, if the principal sent it; operators may see all. Raises NotFound."""
    uploads = Upload.objects.all()
    if not principal.is_operator:
        uploads = uploads.filter(owner_id=principal.user_id)
    row = None if "\0" in upload_id else uploads.filter(pk=upload_id).first()
    if row is None:
        raise upload_not_found()
    return row
