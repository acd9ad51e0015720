"""`/knowledge`, `/knowledge_file` and `/upload` of the agentchat family."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils import translation
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from accounts.permissions import principal_of
from core.agentchat import IN_QUERY, IdField, answer, naming, owner_word, sent
from core.serializers import WireSerializer
from core.viewsets import positive_query
from knowledge import actions
from knowledge.access import (
    access_file,
    access_knowledge_base,
    access_knowledge_bases,
    access_own_base,
    access_own_file,
    visible_knowledge_bases,
)
from knowledge.api.searching import found, score_of
from knowledge.api.serializers import MAX_QUERY, MAX_RESULTS
from knowledge.api.words import AGENTCHAT_WORDS, agentchat_word
from knowledge.links import access_linked_upload, signed_url
from knowledge.models import Document, DocumentStatus, KnowledgeBase
from knowledge.overview import with_overview
from knowledge.types import Hit, SearchRequest
from knowledge.unique_names import reserved_name
from knowledge.wording import in_readers_language

MAX_BASES = 50
MAX_LISTED = 1000
# In every language: clients compare it.
NOTHING_FOUND = "No relevant documents found."
DEFAULT_MIN_SCORE = 0.2
# Words may be all that query and chunk have in common: a number, a name, whatever a small
# embedding model does not understand.
_ENOUGH_WORDS = 0.25


class IdsField(serializers.ListField):
    """One id, or a list of them."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=IdField(), min_length=1, max_length=MAX_BASES, **kwargs)

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value([data] if isinstance(data, str) else data)


# --- Bases -------------------------------------------------------------------------------------


def base_data(row: KnowledgeBase, overview: Any) -> dict[str, Any]:
    """What `KnowledgeShape` describes; `overview` is the row as `with_overview` fetched it."""
    return {
        "id": row.pk,
        "name": row.name,
        "description": row.description,
        "user_id": owner_word(row),
        "count": overview.doc_count,
        "file_size": human_size(overview.byte_count),
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


def human_size(size: int) -> str:
    """`1.2KB`: the same in every language, without a space."""
    with translation.override("en"):
        return filesizeformat(size).replace("\u00a0", "").replace("bytes", "B").replace("byte", "B")


class KnowledgeShape(serializers.Serializer[Any]):
    """A knowledge base."""

    id = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    user_id = serializers.CharField(help_text="0: the system.")
    count = serializers.IntegerField(help_text="Files.")
    file_size = serializers.CharField(help_text="Of all files, e.g. 1.2KB.")
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


class KnowledgeCreateBody(WireSerializer):
    knowledge_name = serializers.CharField(min_length=2, max_length=50)
    knowledge_desc = serializers.CharField(
        max_length=500, required=False, allow_blank=True, allow_null=True
    )


class KnowledgeUpdateBody(WireSerializer):
    knowledge_id = IdField()
    knowledge_name = serializers.CharField(min_length=2, max_length=50, required=False)
    knowledge_desc = serializers.CharField(
        max_length=500, required=False, allow_blank=True, allow_null=True
    )


class KnowledgeIdBody(WireSerializer):
    knowledge_id = IdField()


def _overview_of(request: Request, row: KnowledgeBase) -> dict[str, Any]:
    fetched = with_overview(visible_knowledge_bases(principal_of(request))).get(pk=row.pk)
    return base_data(fetched, fetched)


class KnowledgeCreateView(APIView):
    serializer_class = KnowledgeCreateBody

    @extend_schema(responses=KnowledgeShape)
    def post(self, request: Request) -> Response:
        fields = sent(request, KnowledgeCreateBody)
        owner_id, name = principal_of(request).user_id, fields["knowledge_name"]
        with reserved_name(owner_id, name):
            row = actions.create_base(
                owner_id, {"name": name, "description": fields.get("knowledge_desc") or ""}
            )
        return answer(_overview_of(request, row))


_PAGE = [OpenApiParameter("page", int), OpenApiParameter("limit", int)]


def _page_of(request: Request) -> slice:
    page = positive_query(request, ("page",), 1)
    size = min(positive_query(request, ("limit", "page_size"), MAX_LISTED), MAX_LISTED)
    return slice((page - 1) * size, page * size)


class KnowledgeSelectView(APIView):
    """Own bases and the system's, newest first."""

    @extend_schema(parameters=_PAGE, responses=KnowledgeShape(many=True))
    def get(self, request: Request) -> Response:
        rows = with_overview(visible_knowledge_bases(principal_of(request)))
        listed = rows.order_by("-created_at", "pk")[_page_of(request)]
        return answer([base_data(row, row) for row in listed])


class KnowledgeUpdateView(APIView):
    serializer_class = KnowledgeUpdateBody

    @extend_schema(responses={200: None})
    def put(self, request: Request) -> Response:
        fields = sent(request, KnowledgeUpdateBody)
        with naming("knowledge_id"):
            row = access_own_base(principal_of(request), fields["knowledge_id"])
        values: actions.BaseValues = {}
        if "knowledge_name" in fields:
            values["name"] = fields["knowledge_name"]
        if "knowledge_desc" in fields:
            values["description"] = fields["knowledge_desc"] or ""
        name = values.get("name", row.name)
        # Others may have the present name too: the other family of the API does not mind.
        is_new = name != row.name
        with reserved_name(row.owner_id, name, by=row) if is_new else nullcontext():
            actions.update_base(row, values)
        return answer()


class KnowledgeDeleteView(APIView):
    """Deletes a base with its files, also while an assistant uses it."""

    serializer_class = KnowledgeIdBody

    @extend_schema(
        parameters=[OpenApiParameter("knowledge_id", str, required=True, description=IN_QUERY)],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        fields = sent(request, KnowledgeIdBody)
        with naming("knowledge_id"):
            row = access_own_base(principal_of(request), fields["knowledge_id"])
        actions.delete_base(row, force=True)
        return answer()


# --- Retrieval ---------------------------------------------------------------------------------


class RetrievalBody(WireSerializer):
    query = serializers.CharField(max_length=MAX_QUERY)
    knowledge_id = IdsField(help_text="The id of a base, or a list of ids.")
    top_k = serializers.IntegerField(min_value=1, max_value=MAX_RESULTS, default=5)
    min_score = serializers.FloatField(
        min_value=-1, max_value=1, required=False, allow_null=True, help_text="0.2 if not given."
    )
    with_sources = serializers.BooleanField(default=False)


_STRING: dict[str, Any] = {"type": "string"}
_SOURCE = {
    "chunk_id": _STRING,
    "content": _STRING,
    "score": {"type": "number"},
    "file_id": _STRING,
    "file_name": _STRING,
    "knowledge_id": _STRING,
}
# A text, or with `with_sources` also where it is from: no serializer can say so.
_RETRIEVED = {
    "oneOf": [
        _STRING,
        {
            "type": "object",
            "properties": {
                "content": _STRING,
                "chunks": {"type": "array", "items": {"type": "object", "properties": _SOURCE}},
            },
            "required": ["content", "chunks"],
        },
    ]
}


def source_data(hit: Hit) -> dict[str, Any]:
    """A chunk that was found, as `_SOURCE` describes it."""
    return {
        "chunk_id": str(hit.chunk_id),
        "content": hit.content,
        "score": score_of(hit),
        "file_id": hit.document_id,
        "file_name": hit.document_name,
        "knowledge_id": hit.knowledge_base_id,
    }


class RetrievalView(APIView):
    """What the bases hold about a question: one text, and where it is from if asked for."""

    serializer_class = RetrievalBody

    @extend_schema(responses={(200, "application/json"): _RETRIEVED})
    def post(self, request: Request) -> Response:
        fields = sent(request, RetrievalBody)
        with naming("knowledge_id"):
            bases = access_knowledge_bases(principal_of(request), fields["knowledge_id"])
        min_score = fields.get("min_score")
        outcome = found(
            SearchRequest(
                query=fields["query"],
                knowledge_base_ids=tuple(base.pk for base in bases),
                limit=fields["top_k"],
                min_score=DEFAULT_MIN_SCORE if min_score is None else min_score,
                keeps_keyword_share=_ENOUGH_WORDS if min_score is None else None,
            )
        )
        content = "\n".join(hit.content for hit in outcome.hits) or NOTHING_FOUND
        if not fields["with_sources"]:
            return answer(content)
        return answer({"content": content, "chunks": [source_data(hit) for hit in outcome.hits]})


# --- Files -------------------------------------------------------------------------------------


class FileShape(serializers.Serializer[Any]):
    """A file of a base."""

    id = serializers.CharField()
    file_name = serializers.CharField()
    knowledge_id = serializers.CharField()
    status = serializers.ChoiceField(AGENTCHAT_WORDS)
    user_id = serializers.CharField(help_text="0: the system.")
    oss_url = serializers.CharField(help_text="A signed link, which expires.")
    file_size = serializers.IntegerField(help_text="Bytes.")
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


def file_data(request: Request, base: KnowledgeBase, row: Document) -> dict[str, Any]:
    """What `FileShape` describes."""
    return {
        "id": row.pk,
        "file_name": row.name,
        "knowledge_id": base.pk,
        "status": agentchat_word(DocumentStatus(row.status)),
        "user_id": owner_word(base),
        "oss_url": signed_url(request._request, row),
        "file_size": row.size,
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


class FileCreateBody(WireSerializer):
    knowledge_id = IdField()
    file_url = serializers.CharField(max_length=4096, help_text="A link that /upload gave.")


class FileCreatedShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    status = serializers.ChoiceField(AGENTCHAT_WORDS)


class FileCreateView(APIView):
    """Puts a file that was sent to /upload into a base; the workers then read it."""

    serializer_class = FileCreateBody

    @extend_schema(responses=FileCreatedShape)
    def post(self, request: Request) -> Response:
        fields, principal = sent(request, FileCreateBody), principal_of(request)
        with naming("knowledge_id"):
            base = access_own_base(principal, fields["knowledge_id"])
        with naming("file_url"):
            upload = access_linked_upload(principal, fields["file_url"])
        row = actions.add_upload(base, upload)
        return answer({"id": row.pk, "status": agentchat_word(DocumentStatus(row.status))})


class FileSelectView(APIView):
    """The files of a base, newest first."""

    @extend_schema(
        parameters=[OpenApiParameter("knowledge_id", str, required=True), *_PAGE],
        responses=FileShape(many=True),
    )
    def get(self, request: Request) -> Response:
        fields = sent(request, KnowledgeIdBody)
        with naming("knowledge_id"):
            base = access_knowledge_base(principal_of(request), fields["knowledge_id"])
        rows = Document.objects.filter(knowledge_base=base).order_by("-created_at", "pk")
        return answer([file_data(request, base, row) for row in rows[_page_of(request)]])


class FileIdBody(WireSerializer):
    knowledge_file_id = IdField()


class FileStatusShape(serializers.Serializer[Any]):
    status = serializers.ChoiceField(AGENTCHAT_WORDS)
    stage = serializers.CharField()
    progress = serializers.FloatField(help_text="0 to 1.")
    error_message = serializers.CharField()
    chunk_count = serializers.IntegerField()


class FileStatusView(APIView):
    """How far the workers are with a file."""

    @extend_schema(
        parameters=[OpenApiParameter("knowledge_file_id", str, required=True)],
        responses=FileStatusShape,
    )
    def get(self, request: Request) -> Response:
        fields = sent(request, FileIdBody)
        with naming("knowledge_file_id"):
            row = access_file(principal_of(request), fields["knowledge_file_id"])
        return answer(
            {
                "status": agentchat_word(DocumentStatus(row.status)),
                "stage": row.status,
                "progress": row.progress,
                "error_message": in_readers_language(row.error_message),
                "chunk_count": row.chunks_total,
            }
        )


class FileDeleteView(APIView):
    """Removes a file from its base, with all that was made of it."""

    serializer_class = FileIdBody

    @extend_schema(
        parameters=[
            OpenApiParameter("knowledge_file_id", str, required=True, description=IN_QUERY)
        ],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        fields = sent(request, FileIdBody)
        with naming("knowledge_file_id"):
            row = access_own_file(principal_of(request), fields["knowledge_file_id"])
        actions.delete_document(row)
        return answer()


class UploadBody(WireSerializer):
    file = serializers.FileField(allow_empty_file=True, help_text="At most 50 MB.")


class UploadView(APIView):
    """Keeps a file of the caller; its link is for download and for `file_url` of later requests."""

    serializer_class = UploadBody

    @extend_schema(request={"multipart/form-data": UploadBody}, responses=OpenApiTypes.URI)
    def post(self, request: Request) -> Response:
        body = UploadBody(data=request.data)
        body.is_valid(raise_exception=True)
        owner = User.objects.get(pk=principal_of(request).user_id)
        upload = actions.store_upload(owner, body.validated_data["file"])
        return answer(signed_url(request._request, upload))
