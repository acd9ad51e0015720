"""From a spec to the client that speaks its vendor's protocol: one table, cheap to ask per turn.

Clients hold no connection (those are pooled in `core.http`) and are kept per spec, so that asking
again costs a dictionary look-up. Client modules are loaded when first needed. Those of language
models bring the SDKs of their vendors along (OpenAI's with pydantic-ai 60 MB, Anthropic's 40 MB
more, a second each), so a process loads what its models in use need: `warm_up` ahead, and the first
question to a model of another vendor, both off the event loop.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import Any, cast

from django.utils.translation import gettext as _

from core.errors import ProviderError
from core.late import Late
from providers.interfaces import (
    Brain,
    ChatModel,
    EmbeddingModel,
    Recogniser,
    RerankModel,
    Speaker,
)
from providers.profiles import PROFILES, ChatProtocol, Kind, VendorProfile
from providers.types import (
    AsrSpec,
    BrainKind,
    BrainSpec,
    ChatPart,
    ChatRequest,
    EmbedderSpec,
    Endpoint,
    LlmSpec,
    RerankerSpec,
    VoiceSpec,
)

_KEPT_CLIENTS = 512

# Wire protocol and kind of model → module and factory(spec).
CLIENTS: dict[tuple[ChatProtocol, Kind], tuple[str, str]] = {
    ("openai_chat", "text"): ("providers.clients.openai_chat", "OpenAIChat"),
    ("anthropic_messages", "text"): ("providers.clients.anthropic_messages", "AnthropicMessages"),
    ("openai_chat", "embedding"): ("providers.clients.openai_embeddings", "OpenAIEmbeddings"),
    ("openai_chat", "rerank"): ("providers.clients.rerank", "HttpReranker"),
    ("openai_chat", "asr"): ("providers.clients.openai_transcriptions", "OpenAITranscriptions"),
    ("openai_chat", "voice"): ("providers.clients.openai_speech", "OpenAISpeech"),
    ("builtin", "text"): ("providers.builtin.demo", "from_spec"),
    ("builtin", "embedding"): ("providers.builtin.hashing", "from_spec"),
    ("builtin", "asr"): ("providers.builtin.sphinx", "from_spec"),
    ("builtin", "voice"): ("providers.builtin.espeak", "EspeakSpeaker"),
}

# The same of services that answer for an assistant.
BRAINS: dict[BrainKind, tuple[str, str]] = {
    "dify": ("providers.clients.dify", "Dify"),
    "fastgpt": ("providers.clients.fastgpt", "FastGpt"),
}
# What answers in processes of its own, which are started ahead.
_WORKERS: dict[Kind, str] = {
    "asr": "providers.builtin.sphinx",
    "voice": "providers.builtin.espeak",
}


def chat_model(spec: LlmSpec) -> ChatModel:
    """The client of a language model. Raises ProviderError where the vendor has none.

    What it takes to speak with the vendor is loaded before its first answer.
    """
    _profile("text", spec.endpoint.vendor)
    if not _sdk(spec.endpoint.vendor).is_loaded:
        return _NotLoaded(spec)
    return cast(ChatModel, _client("text", spec))


async def loaded_chat_model(spec: LlmSpec) -> ChatModel:
    """As `chat_model`, with everything loaded: for who takes the time of the answer."""
    _profile("text", spec.endpoint.vendor)
    await _sdk(spec.endpoint.vendor).get()
    return cast(ChatModel, _client("text", spec))


def recogniser(spec: AsrSpec) -> Recogniser:
    """The client of a recogniser. Raises ProviderError where the vendor has none."""
    return cast(Recogniser, _client("asr", spec))


def speaker(spec: VoiceSpec) -> Speaker:
    """The client of a voice. Raises ProviderError where the vendor has none."""
    return cast(Speaker, _client("voice", spec))


def embedding_model(spec: EmbedderSpec) -> EmbeddingModel:
    """The client of an embedding model. Raises ProviderError where the vendor has none."""
    return cast(EmbeddingModel, _client("embedding", spec))


def rerank_model(spec: RerankerSpec) -> RerankModel:
    """The client of a rerank model. Raises ProviderError where the vendor has none."""
    return cast(RerankModel, _client("rerank", spec))


@lru_cache(maxsize=_KEPT_CLIENTS)
def brain(spec: BrainSpec) -> Brain:
    """The client of a service that answers for an assistant."""
    module, name = BRAINS[spec.kind]
    return cast(Brain, getattr(importlib.import_module(module), name)(spec))


@lru_cache(maxsize=_KEPT_CLIENTS)
def _client(
    kind: Kind, spec: LlmSpec | AsrSpec | VoiceSpec | EmbedderSpec | RerankerSpec
) -> object:
    return _factory(kind, spec.endpoint)(spec)


def _factory(kind: Kind, endpoint: Endpoint) -> Callable[[Any], object]:
    module, name = CLIENTS[_profile(kind, endpoint.vendor).protocol, kind]
    factory: Callable[[Any], object] = getattr(importlib.import_module(module), name)
    return factory


def _profile(kind: Kind, vendor: str) -> VendorProfile:
    profile = PROFILES.get(vendor)
    if profile is None or kind not in profile.kinds:
        raise ProviderError(
            _("The vendor “%(name)s” offers no model of this kind.") % {"name": vendor},
            is_permanent=True,
        )
    return profile


@dataclasses.dataclass(frozen=True, slots=True)
class _NotLoaded:
    """A language model before its vendor's SDK is loaded."""

    spec: LlmSpec

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[ChatPart]]:
        """The answer, by the model that is loaded first."""
        model = await loaded_chat_model(self.spec)
        async with model.stream(request) as parts:
            yield parts


@lru_cache
def _sdk(vendor: str) -> Late[object]:
    """What the language models of a known vendor need."""
    return Late(partial(_load_sdk, vendor))


def _load_sdk(vendor: str) -> object:
    """Makes a client, which is never asked anything: the first one loads much of the SDK."""
    endpoint = Endpoint("warm-up", vendor, "http://127.0.0.1:9/v1", "none", "none")
    return _factory("text", endpoint)(LlmSpec(endpoint, "warm-up"))


def warm_up(models: Collection[tuple[Kind, str]], *, workers: bool = True) -> None:
    """Loads what models of these kinds and vendors need, and all clients that take little.

    Unless told otherwise, it also starts the processes of those that are built in. Blocks seconds:
    to be run in a thread.
    """
    small = [client for (_protocol, kind), client in CLIENTS.items() if kind != "text"]
    for module, _name in (*small, *BRAINS.values()):
        importlib.import_module(module)
    for kind, vendor in models:
        if kind == "text" and vendor in PROFILES and kind in PROFILES[vendor].kinds:
            _sdk(vendor).load()
    for kind, module in _WORKERS.items():
        if workers and (kind, "builtin") in models:
            importlib.import_module(module).WORKERS.warm_up()
