"""From a spec to the client that speaks its vendor's protocol: one table, cheap to ask per turn.

Clients hold no connection (those are pooled in `core.http`) and are kept per spec, so that asking
again costs a dictionary look-up. Client modules are loaded when first needed: the vendors' SDKs
take seconds. `warm_up()` loads them ahead, off the event loop.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

from django.utils.translation import gettext as _

from core.errors import ProviderError
from providers.interfaces import (
    Brain,
    ChatModel,
    EmbeddingModel,
    Recogniser,
    RerankModel,
    Speaker,
)
from providers.profiles import PROFILES, ChatProtocol, Kind
from providers.types import (
    AsrSpec,
    BrainKind,
    BrainSpec,
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


def chat_model(spec: LlmSpec) -> ChatModel:
    """The client of a language model. Raises ProviderError where the vendor has none."""
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
    profile = PROFILES.get(endpoint.vendor)
    if profile is None or kind not in profile.kinds:
        raise ProviderError(
            _("The vendor “%(name)s” offers no model of this kind.") % {"name": endpoint.vendor},
            is_permanent=True,
        )
    module, name = CLIENTS[profile.protocol, kind]
    factory: Callable[[Any], object] = getattr(importlib.import_module(module), name)
    return factory


def warm_up(*, builtin: bool = True) -> None:
    """Loads every client and, unless told otherwise, starts the built-in workers. Blocks seconds.

    To be run once per process, in a thread, when it starts to serve.
    """
    for module, _name in (*CLIENTS.values(), *BRAINS.values()):
        importlib.import_module(module)
    if builtin:
        for module in ("providers.builtin.espeak", "providers.builtin.sphinx"):
            importlib.import_module(module).WORKERS.warm_up()
