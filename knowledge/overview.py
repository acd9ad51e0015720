"""How a knowledge base is doing, counted in the query that lists it."""

from __future__ import annotations

from django.db import models
from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from knowledge.models import Document, DocumentStatus, KnowledgeBase, SpaceStatus, VectorSpace


class BaseState(models.TextChoices):
    """A base is indexing while any of it is under way, and in error where nothing of it is of use.

    A few documents that could not be read among others leave it active: they show it themselves.
    """

    ACTIVE = "active", _("Active")
    INDEXING = "indexing", _("Indexing")
    ERROR = "error", _("With errors")


def with_overview(rows: QuerySet[KnowledgeBase]) -> QuerySet[KnowledgeBase]:
    """Adds `doc_count`, `chunk_count`, `byte_count` and `state`, without a query per row."""
    documents = Document.objects.filter(knowledge_base=OuterRef("pk")).order_by()
    spaces = VectorSpace.objects.filter(knowledge_base=OuterRef("pk"))
    is_indexing = Exists(documents.filter(status__in=DocumentStatus.open())) | Exists(
        spaces.filter(_goes_on, status=SpaceStatus.BUILDING)
    )
    all_failed = Exists(documents.filter(status=DocumentStatus.FAILED)) & ~Exists(
        documents.filter(status=DocumentStatus.READY)
    )
    return rows.annotate(
        doc_count=_total(documents, Count("pk")),
        chunk_count=_total(documents, Sum("chunks_total")),
        byte_count=_total(documents, Sum("size")),
        state=Case(
            When(is_indexing, then=Value(BaseState.INDEXING)),
            When(all_failed | Exists(spaces.exclude(_goes_on)), then=Value(BaseState.ERROR)),
            default=Value(BaseState.ACTIVE),
        ),
    )


# An error with another attempt ahead has not ended the work.
_goes_on = Q(error_code="") | Q(next_attempt_at__isnull=False)


def _total(documents: QuerySet[Document], aggregate: Count | Sum) -> Coalesce:
    per_base = documents.values("knowledge_base").annotate(total=aggregate).values("total")
    return Coalesce(Subquery(per_base), 0, output_field=models.BigIntegerField())
