"""From rows to specs: a model with its provider's values filled in, and the defaults of a user."""

from __future__ import annotations

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When

from providers.models import Asr, AsrLanguage, Llm, LlmType, ModelRow, Provider, Voice
from providers.profiles import PROFILES, Kind
from providers.types import AsrSpec, EmbedderSpec, Endpoint, LlmSpec, RerankerSpec, VoiceSpec

MIN_SPEED, MAX_SPEED = 0.5, 2.0
_USABLE = Q(is_enabled=True) & (Q(provider=None) | Q(provider__is_enabled=True))
_KINDS: dict[LlmType, Kind] = {
    LlmType.TEXT: "text",
    LlmType.EMBEDDING: "embedding",
    LlmType.RERANK: "rerank",
}


def _endpoint(row: ModelRow, model_name: str) -> Endpoint:
    provider = row.provider
    base_url, api_key = row.base_url, row.api_key
    if provider is not None:
        # The provider's key goes to an address of the row only where both have one owner:
        # otherwise whoever may edit the row could send somebody else's key anywhere.
        if not api_key and (not base_url or provider.owner_id == row.owner_id):
            api_key = provider.api_key
        base_url = base_url or provider.base_url
    profile = PROFILES.get(row.vendor)
    return Endpoint(
        row_id=row.pk,
        vendor=row.vendor,
        base_url=base_url or (profile.base_url if profile else ""),
        api_key=api_key,
        model_name=model_name,
    )


def destination_of(row: ModelRow | Provider) -> tuple[str, str]:
    """The address that requests go to, empty for what runs here, and the key sent with them."""
    if isinstance(row, Provider):
        profile = PROFILES.get(row.vendor)
        return row.base_url or (profile.base_url if profile else ""), row.api_key
    endpoint = _endpoint(row, "")
    return endpoint.base_url, endpoint.api_key


def llm_spec(row: Llm) -> LlmSpec:
    """A language model, ready to be asked."""
    return LlmSpec(
        endpoint=_endpoint(row, row.model_name),
        name=row.name,
        temperature=row.temperature,
        context_length=row.context_length,
        max_output_tokens=row.max_output_tokens,
        supports_thinking=row.supports_thinking,
        accepts_images=row.accepts_images,
    )


def asr_spec(row: Asr, *, hotwords: tuple[str, ...] = ()) -> AsrSpec:
    """A recogniser, ready to listen; `hotwords` are expected besides its own."""
    return AsrSpec(
        endpoint=_endpoint(row, row.model_name),
        name=row.name,
        language=row.language,
        hotwords=tuple(dict.fromkeys((*row.hotwords, *hotwords))),
        enable_punctuation=row.enable_punctuation,
        enable_normalization=row.enable_normalization,
    )


def voice_spec(row: Voice, *, speed: float | None = None) -> VoiceSpec:
    """A voice, ready to speak. `speed` multiplies the voice's own, within 0.5 to 2."""
    factor = 1.0 if speed is None else speed
    return VoiceSpec(
        endpoint=_endpoint(row, row.model),
        name=row.name,
        language=row.language,
        voice_key=row.voice_key,
        speed=min(MAX_SPEED, max(MIN_SPEED, row.speed * factor)),
        gain=row.gain,
        pitch=row.pitch,
    )


def embedder_spec(row: Llm) -> EmbedderSpec:
    """An embedding model, ready to be asked."""
    return EmbedderSpec(
        endpoint=_endpoint(row, row.model_name), name=row.name, dimensions=row.dimensions
    )


def reranker_spec(row: Llm) -> RerankerSpec:
    """A rerank model, ready to be asked."""
    return RerankerSpec(endpoint=_endpoint(row, row.model_name), name=row.name)


def is_usable(row: ModelRow | None) -> bool:
    """Whether the row and its provider are both enabled."""
    return row is not None and row.is_enabled and (row.provider is None or row.provider.is_enabled)


def _rank(condition: Q) -> Case:
    return Case(When(condition, then=Value(0)), default=Value(1), output_field=IntegerField())


def _preference(owner_id: int | None, language: str | None = None) -> tuple[Case | str, ...]:
    """Not those whose last test failed, own rows first, real vendors first, the exact language."""
    own = [] if owner_id is None else [_rank(Q(owner_id=owner_id))]
    exact = [] if language is None else [_rank(Q(language=language))]
    works = _rank(~Q(last_check_ok=False))
    return (works, *own, _rank(~Q(vendor="builtin")), *exact, "created_at", "pk")


def _usable_by(owner_id: int | None) -> Q:
    visible = Q(owner=None) if owner_id is None else Q(owner=None) | Q(owner_id=owner_id)
    return visible & _USABLE


def in_use() -> set[tuple[Kind, str]]:
    """Kind and vendor of every model that somebody can use."""
    llms = Llm.objects.filter(_USABLE).order_by().values_list("type", "vendor").distinct()
    heard = Asr.objects.filter(_USABLE).order_by().values_list("vendor", flat=True).distinct()
    spoken = Voice.objects.filter(_USABLE).order_by().values_list("vendor", flat=True).distinct()
    return {
        *((_KINDS[LlmType(type_)], vendor) for type_, vendor in llms),
        *(("asr", vendor) for vendor in heard),
        *(("voice", vendor) for vendor in spoken),
    }


def _llms(owner_id: int | None, type_: LlmType) -> QuerySet[Llm]:
    return (
        Llm.objects.filter(_usable_by(owner_id), type=type_)
        .select_related("provider")
        .order_by(*_preference(owner_id))
    )


def usable_llms(owner_id: int | None) -> QuerySet[Llm]:
    """The language models that somebody can use; the default is the first."""
    return _llms(owner_id, LlmType.TEXT)


def default_llm(owner_id: int | None) -> Llm | None:
    """The language model of somebody who chose none; None for the system's own assistants."""
    return _llms(owner_id, LlmType.TEXT).first()


def default_embedder(owner_id: int | None) -> Llm | None:
    """The embedding model of somebody who chose none."""
    return _llms(owner_id, LlmType.EMBEDDING).first()


def default_asr(owner_id: int | None, language: str) -> Asr | None:
    """A recogniser that understands the language (zh or en), or None where there is none."""
    return (
        Asr.objects.filter(_usable_by(owner_id), language__in=(language, AsrLanguage.MULTI))
        .select_related("provider")
        .order_by(*_preference(owner_id, language))
        .first()
    )


def default_voice(owner_id: int | None, language: str) -> Voice | None:
    """A voice that speaks the language (zh or en; regions such as en-GB count), or None."""
    speaks_it = Q(language__iexact=language) | Q(language__istartswith=f"{language}-")
    return (
        Voice.objects.filter(_usable_by(owner_id) & (speaks_it | Q(language__iexact="multi")))
        .select_related("provider")
        .order_by(*_preference(owner_id, language))
        .first()
    )
