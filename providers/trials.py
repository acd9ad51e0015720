"""One call of a model, to see whether it works and what it says. Async; no database."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.utils.translation import gettext as _

from core.audio import duration_ms
from core.errors import ProviderError
from providers.interfaces import SAMPLE_RATE_HZ
from providers.registry import (
    embedding_model,
    loaded_chat_model,
    recogniser,
    rerank_model,
    speaker,
)
from providers.types import (
    AsrSpec,
    ChatEnd,
    ChatMessage,
    ChatRequest,
    EmbedderSpec,
    Endpoint,
    FinishReason,
    LlmSpec,
    RerankerSpec,
    SystemMessage,
    TextPart,
    Transcript,
    Usage,
    UserMessage,
    VoiceSpec,
)

# A person waits for these answers, in a request.
TIME_LIMIT_S = 60.0
_ONE_SECOND_BYTES = SAMPLE_RATE_HZ * 2
# Of a spoken preview: five minutes.
_MAX_SPEECH_BYTES = 300 * _ONE_SECOND_BYTES
_SAMPLE_SENTENCES = {
    "zh": ("cmn", "你好，今天天气很好。"),
    "en": ("en-us", "Hello, how are you today?"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What a language model answered."""

    text: str
    reason: FinishReason
    usage: Usage
    latency_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Heard:
    """What a recogniser understood."""

    transcript: Transcript
    latency_ms: int


@asynccontextmanager
async def _limited() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TIME_LIMIT_S):
            yield
    except TimeoutError:
        raise ProviderError(
            _("The model did not finish within %(seconds)d seconds.") % {"seconds": TIME_LIMIT_S},
            is_permanent=False,
        ) from None


def _since_ms(started: float) -> int:
    return round((time.monotonic() - started) * 1000)


async def ask(
    spec: LlmSpec,
    message: str,
    *,
    system_prompt: str = "",
    max_tokens: int | None = None,
    temperature: float | None = None,
) -> Reply:
    """The whole answer to one message. Raises ProviderError."""
    messages: tuple[ChatMessage, ...] = (UserMessage(message),)
    if system_prompt:
        messages = (SystemMessage(system_prompt), *messages)
    request = ChatRequest(messages, temperature=temperature, max_tokens=max_tokens)
    model = await loaded_chat_model(spec)
    started, texts = time.monotonic(), []
    end = ChatEnd("stop", Usage())
    async with _limited(), model.stream(request) as parts:
        async for part in parts:
            if isinstance(part, TextPart):
                texts.append(part.text)
            elif isinstance(part, ChatEnd):
                end = part
    return Reply("".join(texts), end.reason, end.usage, _since_ms(started))


async def transcribe(spec: AsrSpec, pcm: bytes) -> Heard:
    """What is said in the audio. Raises ProviderError."""
    started = time.monotonic()
    async with _limited(), recogniser(spec).listen() as utterance:
        for start in range(0, len(pcm), _ONE_SECOND_BYTES):
            utterance.feed(pcm[start : start + _ONE_SECOND_BYTES])
        transcript = await utterance.finish()
    return Heard(transcript, _since_ms(started))


@dataclasses.dataclass(frozen=True, slots=True)
class Spoken:
    """What a voice spoke, as PCM, and when its first sound came."""

    pcm: bytes
    first_ms: int


async def speak(spec: VoiceSpec, text: str) -> bytes:
    """The spoken text as PCM. Raises ProviderError, also when nothing was spoken."""
    return (await speak_timed(spec, text)).pcm


async def speak_timed(spec: VoiceSpec, text: str) -> Spoken:
    """The spoken text, and how long it took to begin. Raises ProviderError as `speak` does."""
    started, first_ms, pcm = time.monotonic(), 0, bytearray()
    async with _limited(), speaker(spec).speak(text) as pieces:
        async for piece in pieces:
            first_ms = first_ms or _since_ms(started)
            pcm += piece
            if len(pcm) > _MAX_SPEECH_BYTES:
                raise ProviderError(_("The voice does not stop speaking."), is_permanent=False)
    if not pcm:
        raise ProviderError(_("The voice answered without audio."), is_permanent=False)
    return Spoken(bytes(pcm), first_ms)


async def try_llm(spec: LlmSpec) -> str:
    """Asks a language model for a word; what it answered. Raises ProviderError."""
    reply = await ask(spec, "Reply with the single word: OK", max_tokens=16)
    return _("Answered: %(text)s") % {"text": reply.text.strip()[:200] or "…"}


async def try_embedder(spec: EmbedderSpec) -> str:
    """Embeds a word; how many dimensions came back. Raises ProviderError."""
    async with _limited():
        vectors = await embedding_model(spec).embed(["test"])
    return _("Vectors of %(count)d dimensions.") % {"count": vectors.shape[1]}


async def try_reranker(spec: RerankerSpec) -> str:
    """Lets a reranker judge two texts; what they scored. Raises ProviderError, also if wrongly."""
    async with _limited():
        other, fitting = await rerank_model(spec).rerank(
            "When does the library open?",
            ["A bicycle has two wheels.", "The library is open from nine in the morning."],
        )
    scores = {"fitting": f"{fitting:.3g}", "other": f"{other:.3g}"}
    if fitting <= other:
        text = _("It scored a text that does not answer %(other)s, one that does %(fitting)s.")
        raise ProviderError(text % scores, is_permanent=True)
    return _("Scored a text that answers %(fitting)s, one that does not %(other)s.") % scores


def _sample(language: str) -> tuple[str, str]:
    return _SAMPLE_SENTENCES["zh" if language.startswith("zh") else "en"]


def sample_sentence(language: str) -> str:
    """A short sentence to be spoken in the language; English where we have none."""
    return _sample(language)[1]


async def sample_speech(language: str) -> bytes:
    """That sentence, spoken by the offline voice. Raises ProviderError."""
    voice_key, sentence = _sample(language)
    offline = Endpoint(
        row_id="builtin", vendor="builtin", base_url="", api_key="", model_name="espeak-ng"
    )
    voice = VoiceSpec(endpoint=offline, name="", language=language, voice_key=voice_key)
    return await speak(voice, sentence)


async def try_asr(spec: AsrSpec) -> str:
    """Lets a recogniser hear a sentence of the offline voice. Raises ProviderError."""
    heard = await transcribe(spec, await sample_speech(spec.language))
    return _("Understood “%(text)s” from a synthetic voice.") % {
        "text": heard.transcript.text[:200]
    }


async def try_voice(spec: VoiceSpec) -> str:
    """Lets a voice speak a sentence; how long it took to say. Raises ProviderError."""
    pcm = await speak(spec, sample_sentence(spec.language))
    return _("Spoke for %(seconds).1f s.") % {"seconds": duration_ms(pcm) / 1000}
