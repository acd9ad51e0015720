"""`/knowledge-bases` of the platform family: bases, their documents, and searching them."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from django.db.models import Prefetch, Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import principal_of
from accounts.principals import Principal
from core.errors import NotFound
from core.serializers import wire_names
from core.viewsets import PlatformPagination, PlatformViewSet, flag_query, success
from knowledge import actions
from knowledge.access import (
    DOCUMENT_NOT_FOUND,
    KNOWLEDGE_BASE_NOT_FOUND,
    access_knowledge_base,
    access_own_base,
    access_own_document,
    base_not_found,
    document_not_found,
    require_editable,
    visible_knowledge_bases,
)
from knowledge.api.filters import DocumentFilters, KnowledgeBaseFilters
from knowledge.api.searching import found, hit_data, reranker_named
from knowledge.api.serializers import (
    MAX_STAGES,
    TEXT_TYPES,
    DocumentSerializer,
    FileFormSerializer,
    KnowledgeBaseDetailSerializer,
    KnowledgeBaseSerializer,
    ResultsSerializer,
    SearchSerializer,
    TextFormSerializer,
    VectorSpaceSerializer,
)
from knowledge.models import Document, KnowledgeBase, StageRun
from knowledge.overview import with_overview
from knowledge.types import SearchRequest
from providers.access import visible_llms
from providers.models import LlmType

_WRITING = frozenset({"PUT", "PATCH", "DELETE"})


class ShownDocuments(PlatformPagination):
    """How many documents a base shows with itself."""

    default_size = PlatformPagination.max_size


@extend_schema_view(
    retrieve=extend_schema(
        parameters=[OpenApiParameter("page", int), OpenApiParameter("page_size", int)],
        responses=KnowledgeBaseDetailSerializer,
    ),
    create=extend_schema(responses={201: KnowledgeBaseDetailSerializer}),
    update=extend_schema(responses=KnowledgeBaseDetailSerializer),
    partial_update=extend_schema(responses=KnowledgeBaseDetailSerializer),
    destroy=extend_schema(parameters=[OpenApiParameter("force", bool)]),
)
class KnowledgeBaseViewSet(PlatformViewSet[KnowledgeBase]):
    """Knowledge bases: own ones and the system's."""

    serializer_class = KnowledgeBaseSerializer
    filterset_class = KnowledgeBaseFilters
    not_found_code: ClassVar = KNOWLEDGE_BASE_NOT_FOUND
    queryset = KnowledgeBase.objects.none()

    @property
    def principal(self) -> Principal:
        return principal_of(self.request)

    def get_queryset(self) -> QuerySet[KnowledgeBase]:
        rows = with_overview(visible_knowledge_bases(self.principal))
        return rows.order_by("-created_at", "pk")

    def get_object(self) -> KnowledgeBase:
        row = super().get_object()
        if self.request.method in _WRITING:
            require_editable(self.principal, row)
        return row

    def not_found(self) -> NotFound:
        return base_not_found()

    def create_row(self, serializer: serializers.BaseSerializer[KnowledgeBase]) -> KnowledgeBase:
        with wire_names(serializer):
            row = actions.create_base(self.principal.user_id, self._values(serializer))
        return self._as_it_is(row)

    def update_row(self, serializer: serializers.BaseSerializer[KnowledgeBase]) -> KnowledgeBase:
        assert serializer.instance is not None
        with wire_names(serializer):
            row = actions.update_base(serializer.instance, self._values(serializer))
        return self._as_it_is(row)

    def _as_it_is(self, row: KnowledgeBase) -> KnowledgeBase:
        """With its overview. Raises NotFound where somebody has deleted it meanwhile."""
        found = self.get_queryset().filter(pk=row.pk).first()
        if found is None:
            raise base_not_found()
        return found

    def _values(self, serializer: serializers.BaseSerializer[KnowledgeBase]) -> actions.BaseValues:
        values: actions.BaseValues = serializer.validated_data
        if "embedder_id" in values:
            values["embedder_id"] = self._embedder_id(values["embedder_id"])
        return values

    def _embedder_id(self, text: str | None) -> str | None:
        """The id of the embedding model of that id or name; the text itself if there is none."""
        if not text:
            return None
        models = visible_llms(self.principal).filter(
            Q(pk=text) | Q(name=text) | Q(model_name=text), type=LlmType.EMBEDDING
        )
        ids = list(models.order_by("created_at", "pk").values_list("pk", flat=True))
        return text if text in ids or not ids else ids[0]

    def render(self, row: KnowledgeBase) -> Any:
        """The row with a page of its documents."""
        shown = ShownDocuments().paginate_queryset(documents_of(row), self.request)
        context = self.get_serializer_context()
        # The one in use first, which the alphabet happens to give.
        spaces = row.spaces.order_by("status", "pk")
        return {
            **KnowledgeBaseSerializer(row, context=context).data,
            "vectorSpaces": VectorSpaceSerializer(spaces, many=True).data,
            "documents": DocumentSerializer(shown, many=True, context=context).data,
        }

    def delete_row(self, row: KnowledgeBase) -> None:
        force = flag_query(self.request, "force")
        actions.delete_base(row, force=force, by=self.principal)

    @extend_schema(request=SearchSerializer, responses=ResultsSerializer)
    def search(self, request: Request, pk: str) -> Response:
        """The chunks of this base that fit the query best, with why and how fast."""
        base = access_knowledge_base(self.principal, pk)
        body = SearchSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        sent = body.validated_data
        outcome = found(
            SearchRequest(
                query=sent["query"],
                knowledge_base_ids=(base.pk,),
                limit=sent["n_results"],
                min_score=sent["min_score"],
                keeps_keyword_share=sent["keeps_keyword_share"],
                reranker=reranker_named(
                    self.principal, sent["rerank_model_id"], param="rerank_model_id"
                ),
                neighbours=sent["neighbours"],
                token_budget=sent["token_budget"],
            )
        )
        return success(
            {
                "query": sent["query"],
                "results": [hit_data(hit) for hit in outcome.hits],
                "timings": dataclasses.asdict(outcome.timings),
                "notes": [dataclasses.asdict(note) for note in outcome.notes],
            }
        )


def documents_of(base: KnowledgeBase) -> QuerySet[Document]:
    """A base's documents, newest first, with the stages that they went through last."""
    runs = StageRun.objects.order_by("-started_at", "-pk")[:MAX_STAGES]
    stages = Prefetch("stage_runs", runs, to_attr="latest_runs")
    rows = Document.objects.filter(knowledge_base=base).prefetch_related(stages)
    return rows.order_by("-created_at", "pk")


class DocumentViewSet(PlatformViewSet[Document]):
    """The documents of one base."""

    serializer_class = DocumentSerializer
    filterset_class = DocumentFilters
    not_found_code: ClassVar = DOCUMENT_NOT_FOUND
    queryset = Document.objects.none()

    @property
    def principal(self) -> Principal:
        return principal_of(self.request)

    def get_queryset(self) -> QuerySet[Document]:
        return documents_of(access_knowledge_base(self.principal, self.kwargs["base_id"]))

    def not_found(self) -> NotFound:
        return document_not_found()

    @extend_schema(
        request={
            "multipart/form-data": FileFormSerializer,
            "application/json": TextFormSerializer,
        },
        responses={201: DocumentSerializer},
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Stores a file, or a text, which the workers then read; its answer shows how far it is."""
        base = access_own_base(self.principal, self.kwargs["base_id"])
        if (request.content_type or "").startswith("multipart/"):
            row = add_file(base, request)
        else:
            row = add_text(base, request)
        return success(self._rendered(row), status=201)

    def delete_row(self, row: Document) -> None:
        require_editable(self.principal, row.knowledge_base)
        actions.delete_document(row)

    @extend_schema(request=None, responses=DocumentSerializer)
    def reindex(self, request: Request, base_id: str, pk: str) -> Response:
        """Has the document read again, from its file."""
        row = access_own_document(self.principal, base_id, pk)
        return success(self._rendered(actions.reindex_document(row)))

    @extend_schema(request=None, responses=DocumentSerializer)
    def cancel(self, request: Request, base_id: str, pk: str) -> Response:
        """Stops the reading of the document."""
        row = access_own_document(self.principal, base_id, pk)
        return success(self._rendered(actions.cancel_document(row)))

    def _rendered(self, row: Document) -> Any:
        """As it is by now. Raises NotFound where somebody has deleted it meanwhile."""
        found = self.get_queryset().filter(pk=row.pk).first()
        if found is None:
            raise document_not_found()
        return self.render(found)


def add_file(base: KnowledgeBase, request: Request) -> Document:
    """The file of a form as a document of the base."""
    body = FileFormSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    file = body.validated_data["file"]
    return actions.add_document(base, file, name=body.validated_data.get("name") or file.name)


def add_text(base: KnowledgeBase, request: Request) -> Document:
    """The text of a body as a document of the base."""
    body = TextFormSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    name, content = body.validated_data["name"], body.validated_data["content"]
    ending = name.rpartition(".")[2].lower()
    file_type = body.validated_data.get("file_type") or (ending if ending in TEXT_TYPES else "txt")
    with wire_names(body):
        return actions.add_text(base, name=name, content=content, file_type=file_type)
