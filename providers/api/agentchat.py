"""`/llm` and `/agent/models` of the agentchat family: the same models under that family's names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import IsOperator, principal_of
from accounts.principals import Principal
from core.agentchat import IN_QUERY, IdField, answer, naming, owner_word, sent
from core.crypto import MASK
from core.errors import InvalidRequest
from core.models import OwnedQuerySet
from core.serializers import WireSerializer
from providers import actions
from providers.access import access_llm, require_editable, visible_llms
from providers.models import Llm, LlmType
from providers.profiles import PROFILES, Kind
from providers.validation import vendor_named

# The words of this family for what the platform's calls text, embedding and rerank.
TYPE_WORDS: dict[LlmType, str] = {
    LlmType.TEXT: "LLM",
    LlmType.EMBEDDING: "Embedding",
    LlmType.RERANK: "Reranker",
}
_TYPES = {word: type_ for type_, word in TYPE_WORDS.items()}
DEFAULT_PROVIDER = "OpenAI"
# Of whom nothing is known but the address: it is spoken to as most are.
_UNKNOWN_VENDOR = "openai_compatible"


# --- What is shown -----------------------------------------------------------------------------


class LlmShape(serializers.Serializer[Any]):
    """A model."""

    llm_id = serializers.CharField()
    llm_type = serializers.ChoiceField(list(_TYPES))
    name = serializers.CharField(help_text="As people call it; an agent's llm_id may say it.")
    model = serializers.CharField(help_text="As its vendor calls it.")
    base_url = serializers.CharField()
    api_key = serializers.CharField(help_text="A mask, or empty where there is no key.")
    provider = serializers.CharField()
    user_id = serializers.CharField(help_text="0: the system.")
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


class LlmsShape(serializers.Serializer[Any]):
    """Models by what they are for."""

    LLM = LlmShape(many=True)
    Embedding = LlmShape(many=True)
    Reranker = LlmShape(many=True)


class FoundLlmsShape(serializers.Serializer[Any]):
    LLM = LlmShape(many=True)


def llm_data(row: Llm) -> dict[str, Any]:
    """What `LlmShape` describes; the key never leaves."""
    profile = PROFILES.get(row.vendor)
    has_key = bool(row.api_key or (row.provider and row.provider.api_key))
    return {
        "llm_id": row.pk,
        "llm_type": TYPE_WORDS[LlmType(row.type)],
        "name": row.name,
        "model": row.model_name or row.name,
        "base_url": row.base_url or (profile.base_url if profile else ""),
        "api_key": MASK if has_key else "",
        "provider": profile.label if profile else row.vendor,
        "user_id": owner_word(row),
        "create_time": row.created_at.isoformat(),
        "update_time": row.updated_at.isoformat(),
    }


def _ordered(rows: OwnedQuerySet[Llm]) -> OwnedQuerySet[Llm]:
    system_first = F("owner").asc(nulls_first=True)
    return rows.select_related("provider").order_by(system_first, "created_at", "pk")


def _by_type(rows: Iterable[Llm]) -> dict[str, list[dict[str, Any]]]:
    listed: dict[str, list[dict[str, Any]]] = {word: [] for word in _TYPES}
    for row in rows:
        listed[TYPE_WORDS[LlmType(row.type)]].append(llm_data(row))
    return listed


# --- What is sent ------------------------------------------------------------------------------


class LlmFields(WireSerializer):
    """What may be said of every model."""

    api_key = serializers.CharField(
        max_length=1000,
        required=False,
        allow_blank=True,
        allow_null=True,
        help_text=_("Write-only. Nothing, or the mask sent back, keeps it."),
    )
    base_url = serializers.CharField(
        max_length=500, required=False, allow_blank=True, allow_null=True
    )


class LlmCreateBody(LlmFields):
    model = serializers.CharField(max_length=200)
    llm_type = serializers.ChoiceField(list(_TYPES), default=TYPE_WORDS[LlmType.TEXT])
    provider = serializers.CharField(
        max_length=100,
        default=DEFAULT_PROVIDER,
        help_text=_("A vendor's name; any other one with an address of its own."),
    )


class LlmUpdateBody(LlmFields):
    llm_id = IdField()
    model = serializers.CharField(max_length=200, required=False)
    llm_type = serializers.ChoiceField(list(_TYPES), required=False)
    provider = serializers.CharField(max_length=100, required=False)


class LlmIdBody(WireSerializer):
    llm_id = IdField()


class LlmSearchBody(WireSerializer):
    llm_name = serializers.CharField(
        max_length=200, required=False, default="", allow_blank=True, help_text="Empty: all."
    )


def values_of(fields: dict[str, Any], before: Llm | None = None) -> actions.LlmValues:
    """What was sent, as values of a new model or of the one before. Raises InvalidRequest."""
    values: actions.LlmValues = {}
    if "model" in fields:
        values["model_name"] = fields["model"]
        if before is None or before.name == before.model_name[:100]:
            values["name"] = fields["model"][:100]
    if "llm_type" in fields:
        values["type"] = _TYPES[fields["llm_type"]]
    if fields.get("api_key"):
        values["api_key"] = fields["api_key"]
    if fields.get("base_url") is not None:
        values["base_url"] = fields["base_url"]
    if "provider" in fields:
        kind = cast(Kind, values.get("type", before.type if before else LlmType.TEXT))
        base_url = values.get("base_url", before.base_url if before else "")
        values["vendor"] = _vendor(fields["provider"], kind, has_address=bool(base_url))
    return values


def _vendor(provider: str, kind: Kind, *, has_address: bool) -> str:
    """The vendor that is meant; one that nobody here knows needs an address of its own."""
    try:
        return vendor_named(provider, kind).slug
    except InvalidRequest:
        if has_address:
            return _UNKNOWN_VENDOR
        raise


@contextmanager
def _named_as_sent() -> Iterator[None]:
    """Errors about fields of the row, raised inside, name what the client sent."""
    names = {"vendor": "provider", "model_name": "model", "type": "llm_type"}
    try:
        yield
    except InvalidRequest as error:
        param = names.get(error.param or "", error.param)
        raise InvalidRequest(error.message, code=error.error_code, param=param) from None


# --- Views -------------------------------------------------------------------------------------


class LlmCreateView(APIView):
    """A model of the caller."""

    serializer_class = LlmCreateBody

    @extend_schema(responses=LlmShape)
    def post(self, request: Request) -> Response:
        fields = sent(request, LlmCreateBody)
        with _named_as_sent():
            row = actions.create_llm(principal_of(request), values_of(fields))
        return answer(llm_data(row))


def _own_llm(principal: Principal, llm_id: str) -> Llm:
    """The model that the principal may change. Raises NotFound, Forbidden."""
    with naming("llm_id"):
        row = access_llm(principal, llm_id)
    require_editable(principal, row)
    return row


class LlmUpdateView(APIView):
    """Changes what is sent of a model; without a key, or with its mask, the key is kept."""

    serializer_class = LlmUpdateBody

    @extend_schema(responses=LlmShape)
    def put(self, request: Request) -> Response:
        fields = sent(request, LlmUpdateBody)
        row = _own_llm(principal_of(request), fields["llm_id"])
        with _named_as_sent():
            row = actions.save_llm(row, values_of(fields, row))
        return answer(llm_data(row))


class LlmDeleteView(APIView):
    """Deletes a model; agents that named it go on with the default."""

    serializer_class = LlmIdBody

    @extend_schema(
        parameters=[OpenApiParameter("llm_id", str, required=True, description=IN_QUERY)],
        responses={200: None},
    )
    def delete(self, request: Request) -> Response:
        fields = sent(request, LlmIdBody)
        actions.delete_model(_own_llm(principal_of(request), fields["llm_id"]))
        return answer()


class LlmAllView(APIView):
    """Everybody's models, for operators."""

    permission_classes = (IsOperator,)

    @extend_schema(responses=LlmsShape)
    def get(self, request: Request) -> Response:
        return answer(_by_type(_ordered(Llm.objects.all())))


class LlmPersonalView(APIView):
    """The models of the caller."""

    @extend_schema(request=None, responses=LlmsShape)
    def post(self, request: Request) -> Response:
        rows = Llm.objects.filter(owner_id=principal_of(request).user_id)
        return answer(_by_type(_ordered(rows)))


class LlmVisibleView(APIView):
    """The models of the caller and the system's."""

    @extend_schema(request=None, responses=LlmsShape)
    def post(self, request: Request) -> Response:
        rows = Llm.objects.visible_to(principal_of(request).user_id, is_operator=False)
        return answer(_by_type(_ordered(rows)))


class LlmSearchView(APIView):
    """Language models with these characters in a name of theirs, in any case."""

    serializer_class = LlmSearchBody

    @extend_schema(responses=FoundLlmsShape)
    def post(self, request: Request) -> Response:
        name = sent(request, LlmSearchBody)["llm_name"]
        rows = visible_llms(principal_of(request)).filter(type=LlmType.TEXT)
        if name:
            in_name = Q(name__icontains=name) | Q(model_name__icontains=name)
            rows = rows.filter(in_name | Q(aliases__icontains=name))
        return answer({TYPE_WORDS[LlmType.TEXT]: [llm_data(row) for row in _ordered(rows)]})


class LlmSchemaView(APIView):
    """What models may be for."""

    @extend_schema(responses=serializers.ListSerializer(child=serializers.CharField()))
    def get(self, request: Request) -> Response:
        return answer(list(_TYPES))


class AgentModelsView(APIView):
    """The language models that an agent of the caller may think with."""

    @extend_schema(responses=LlmShape(many=True))
    def get(self, request: Request) -> Response:
        user_id = principal_of(request).user_id
        rows = Llm.objects.visible_to(user_id, is_operator=False).filter(
            type=LlmType.TEXT, is_enabled=True
        )
        return answer([llm_data(row) for row in _ordered(rows)])
