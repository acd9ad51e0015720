"""What can be done with models: save them, test them, try them."""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypedDict, TypeVar, cast

from django.db import transaction
from django.db.models import ProtectedError, RestrictedError
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.principals import Principal
from core.crypto import MASK, is_masked
from core.errors import AppError, Conflict, InvalidRequest
from core.loops import wait_for
from providers import trials
from providers.models import Asr, Llm, LlmType, ModelRow, Provider, Voice
from providers.profiles import Kind
from providers.specs import (
    asr_spec,
    destination_of,
    embedder_spec,
    llm_spec,
    reranker_spec,
    voice_spec,
)
from providers.types import AsrSpec, LlmSpec, VoiceSpec
from providers.validation import (
    checked_url,
    require_allowed,
    require_endpoint,
    require_key_of_host,
    vendor_named,
)

R = TypeVar("R", bound=ModelRow)
S = TypeVar("S", LlmSpec, AsrSpec, VoiceSpec)


class ModelValues(TypedDict, total=False):
    """Fields of any model as they were sent; what is missing stays as it is."""

    name: str
    vendor: str
    base_url: str
    api_key: str
    is_enabled: bool


class LlmValues(ModelValues, total=False):
    type: str
    model_name: str
    temperature: float | None
    context_length: int | None
    max_output_tokens: int | None
    supports_thinking: bool
    accepts_images: bool
    description: str
    aliases: list[str]
    dimensions: int | None


class AsrValues(ModelValues, total=False):
    language: str
    model_name: str
    hotwords: list[str]
    enable_punctuation: bool
    enable_normalization: bool


class VoiceValues(ModelValues, total=False):
    gender: str
    language: str
    description: str
    model: str
    voice_key: str
    speed: float
    gain: float
    pitch: float


def create_llm(principal: Principal, values: LlmValues) -> Llm:
    """A language, embedding or rerank model of the principal. Raises InvalidRequest."""
    return save_llm(Llm(owner_id=principal.user_id), values)


def save_llm(row: Llm, values: LlmValues) -> Llm:
    """The row with the values set and stored. Raises InvalidRequest naming the field."""
    return _save(row, values, kind=cast(Kind, values.get("type", row.type)))


def create_asr(principal: Principal, values: AsrValues) -> Asr:
    """A recogniser of the principal. Raises InvalidRequest."""
    return save_asr(Asr(owner_id=principal.user_id), values)


def save_asr(row: Asr, values: AsrValues) -> Asr:
    """The row with the values set and stored. Raises InvalidRequest naming the field."""
    return _save(row, values, kind="asr")


def create_voice(principal: Principal, values: VoiceValues) -> Voice:
    """A voice of the principal. Raises InvalidRequest."""
    return save_voice(Voice(owner_id=principal.user_id), values)


def save_voice(row: Voice, values: VoiceValues) -> Voice:
    """The row with the values set and stored. Raises InvalidRequest naming the field."""
    return _save(row, values, kind="voice")


def _save(row: R, values: ModelValues, *, kind: Kind) -> R:
    before = Saved.of(row)
    for field, value in values.items():
        if field == "api_key" and is_masked(str(value)):
            continue
        setattr(row, field, value)
    profile = vendor_named(row.vendor, kind)
    row.vendor = profile.slug
    row.base_url = checked_url(row.base_url, param="base_url")
    if row.provider_id is None:
        require_endpoint(profile, base_url=row.base_url, api_key=row.api_key)
    check_changes(row, before, is_key_sent=not is_masked(values.get("api_key", MASK)))
    with name_kept_free(row, before):
        if row._state.adding:
            row.save()
        else:
            # What a test notes on the row meanwhile is kept.
            row.save(update_fields=[*values, "vendor", "base_url", "updated_at"])
    return row


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """What a row says that is stored, or nothing yet, as far as a change of it needs a check."""

    base_url: str
    address: str
    key: str = dataclasses.field(repr=False)
    named: tuple[object, ...] | None

    @classmethod
    def of(cls, row: ModelRow | Provider) -> Saved:
        if row._state.adding:
            return cls("", "", "", None)
        address, key = destination_of(row)
        return cls(row.base_url, address, key, _named(row) if isinstance(row, Llm) else None)


def check_changes(row: ModelRow | Provider, before: Saved, *, is_key_sent: bool) -> None:
    """Raises InvalidRequest where a row that is about to be stored would send what it must not.

    To where nothing may be sent, or a key that is kept to another host than it was entered for.
    """
    if row.base_url != before.base_url:
        require_allowed(row.base_url, param="base_url")
    address, key = destination_of(row)
    if before.key and key == before.key and not is_key_sent:
        require_key_of_host(before=before.address, after=address, param="api_key")


@contextmanager
def name_kept_free(row: ModelRow | Provider, before: Saved) -> Iterator[None]:
    """Keeps the name of a language model free for it, to be stored inside. Raises Conflict.

    Clients choose models by their names: of one owner, two that are enabled must not share one.
    Those that do already stay as they are, until they are named, enabled or given away.
    """
    if not isinstance(row, Llm) or not row.is_enabled or _named(row) == before.named:
        yield
        return
    with transaction.atomic():
        # Two requests of one user must not both find the name free.
        if row.owner_id is not None:
            User.objects.select_for_update(no_key=True).get(pk=row.owner_id)
        same = Llm.objects.filter(
            owner_id=row.owner_id, type=row.type, name=row.name, is_enabled=True
        )
        if same.exclude(pk=row.pk).exists():
            text = _("There is an enabled model of this name already; choose another name.")
            raise Conflict(text, code="MODEL_NAME_TAKEN", param="name")
        yield


def _named(row: Llm) -> tuple[object, ...]:
    """What a model is chosen by."""
    return row.owner_id, row.type, row.name, row.is_enabled


def delete_model(row: ModelRow) -> None:
    """Deletes the model; assistants that named it fall back to the default. Raises Conflict."""
    try:
        row.delete()
    except (ProtectedError, RestrictedError):
        raise Conflict(_("A knowledge base was made with this model.")) from None


@dataclasses.dataclass(frozen=True, slots=True)
class CheckResult:
    """What a test found. `message` is for people."""

    is_ok: bool
    latency_ms: int
    message: str


def check_model(row: ModelRow, *, is_stored: bool = True) -> CheckResult:
    """Calls the model once and, unless told otherwise, notes on its row what came of it."""
    started = time.monotonic()
    try:
        message, is_ok = wait_for(_trial(row)), True
    except AppError as error:
        message, is_ok = str(error.message), False
    result = CheckResult(is_ok, round((time.monotonic() - started) * 1000), message)
    if is_stored:
        row.note_check(is_ok=result.is_ok, message=result.message)
    return result


def _trial(row: ModelRow) -> Awaitable[str]:
    match row:
        case Asr():
            return trials.try_asr(asr_spec(row))
        case Voice():
            return trials.try_voice(voice_spec(row))
        case Llm(type=LlmType.TEXT):
            return trials.try_llm(llm_spec(row))
        case Llm(type=LlmType.EMBEDDING):
            return trials.try_embedder(embedder_spec(row))
        case Llm(type=LlmType.RERANK):
            return trials.try_reranker(reranker_spec(row))
    raise TypeError(f"no trial for {row!r}")


def _with_key(spec: S, api_key: str) -> S:
    """The spec with another key for this one call; none given, or the mask: the stored one."""
    if not api_key or is_masked(api_key):
        return spec
    return dataclasses.replace(spec, endpoint=dataclasses.replace(spec.endpoint, api_key=api_key))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A message for a language model, with what the caller wants otherwise than the row says."""

    message: str
    system_prompt: str = ""
    max_tokens: int
    temperature: float | None = None
    api_key: str = ""


def ask_llm(row: Llm, question: Question) -> trials.Reply:
    """The model's answer. Raises ProviderError; InvalidRequest for a model that cannot talk."""
    if row.type != LlmType.TEXT:
        raise InvalidRequest(_("Only text models can chat."), param="type")
    spec = _with_key(llm_spec(row), question.api_key)
    return wait_for(
        trials.ask(
            spec,
            question.message,
            system_prompt=question.system_prompt,
            max_tokens=question.max_tokens,
            temperature=spec.temperature if question.temperature is None else question.temperature,
        )
    )


def transcribe(row: Asr, pcm: bytes, *, language: str = "", api_key: str = "") -> trials.Heard:
    """What the recogniser understands of the audio. Raises ProviderError."""
    spec = _with_key(asr_spec(row), api_key)
    if language:
        spec = dataclasses.replace(spec, language=language)
    return wait_for(trials.transcribe(spec, pcm))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """A text to be spoken; speed, gain and pitch replace the voice's own where they are given."""

    text: str
    speed: float | None = None
    gain: float | None = None
    pitch: float | None = None
    api_key: str = ""


def speak(row: Voice, speech: Speech) -> bytes:
    """The text in the voice, as PCM. Raises ProviderError."""
    spec = _with_key(voice_spec(row), speech.api_key)
    spec = dataclasses.replace(
        spec,
        speed=spec.speed if speech.speed is None else speech.speed,
        gain=spec.gain if speech.gain is None else speech.gain,
        pitch=spec.pitch if speech.pitch is None else speech.pitch,
    )
    return wait_for(trials.speak(spec, speech.text))


def note_broken(llm_id: str, message: str) -> None:
    """Shows on a model's row that it cannot be used as it is set up, as a failed test does."""
    row = Llm.objects.filter(pk=llm_id).only("pk").first()
    if row is not None:
        row.note_check(is_ok=False, message=message)


def note_answered(answered: Mapping[str, datetime.datetime]) -> None:
    """Takes back from models that answered since what a failed test, or a request, had shown.

    `answered`: when each was last asked with success, by id. Writes nothing where nothing is shown.
    """
    rows = Llm.objects.filter(pk__in=answered, last_check_ok=False)
    for row in rows.only("pk", "last_checked_at"):
        if row.last_checked_at is None or row.last_checked_at < answered[row.pk]:
            row.note_check(is_ok=True, message=_("It answered a request."))
