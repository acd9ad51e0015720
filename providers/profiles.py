"""Vendors as data: which wire protocol each speaks, where it lives, its quirks with reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

ChatProtocol = Literal["openai_chat", "anthropic_messages", "builtin"]
Kind = Literal["text", "embedding", "rerank", "asr", "voice"]
RerankShape = Literal["documents", "texts", "nested"]


@dataclasses.dataclass(frozen=True)
class RerankWire:
    """How one rerank request is spelt; `providers.clients.rerank` draws the shapes."""

    shape: RerankShape = "documents"
    path: str = "/rerank"
    # The end of the base URL that another one takes the place of, before the path.
    base: tuple[str, str] = ("", "")
    # How the number of wanted results is called.
    count_field: str = "top_n"
    extra: Mapping[str, bool] = dataclasses.field(default_factory=dict)
    # Most texts of one request, and most characters of its texts and, once per text, the query.
    batch: int = 100
    max_chars: int = 100_000


@dataclasses.dataclass(frozen=True)
class VendorProfile:
    """How to talk to one vendor. `base_url` is used where a row names none."""

    slug: str
    label: str
    protocol: ChatProtocol
    base_url: str = ""
    needs_key: bool = True
    kinds: frozenset[Kind] = frozenset({"text", "embedding", "rerank", "asr", "voice"})
    # Other names under which clients send this vendor (compared in lower case).
    aliases: frozenset[str] = frozenset()

    # The pydantic-ai provider that knows how the vendor's models spell thinking and tool schemas.
    chat_provider: str = "pydantic_ai.providers.openai_compatible:OpenAICompatibleProvider"

    # Paths below the base URL.
    embeddings_path: str = "/embeddings"
    transcriptions_path: str = "/audio/transcriptions"
    speech_path: str = "/audio/speech"

    # Most texts, and most characters of all texts, that one embedding request may carry.
    embedding_batch: int = 64
    embedding_chars: int = 100_000
    # How the number of dimensions that the row asks for is called; "" where it may not be named.
    dimensions_field: str = "dimensions"
    # Whether the request may say that numbers are wanted, which some need and some refuse.
    takes_encoding: bool = True

    # By a part of the model's name, the first that fits; "" fits every name.
    rerank: Mapping[str, RerankWire] = dataclasses.field(default_factory=lambda: {"": RerankWire()})

    # Models (by a part of their name) that answer `verbose_json`, which has confidence in it.
    verbose_asr_models: frozenset[str] = frozenset({"whisper"})
    # Whether a prompt, in which hotwords travel, is understood.
    takes_asr_prompt: bool = True

    # The rate of `response_format: pcm`, and what else a speech request must say.
    speech_rate_hz: int = 24_000
    speech_extra: Mapping[str, str | int | bool] = dataclasses.field(default_factory=dict)

    # What a row that names no model or voice means.
    default_asr_model: str = "whisper-1"
    default_speech_model: str = "tts-1"
    default_voice: str = "alloy"


PROFILES: dict[str, VendorProfile] = {
    profile.slug: profile
    for profile in (
        VendorProfile(
            "openai",
            "OpenAI",
            "openai_chat",
            "https://api.openai.com/v1",
            # It has no rerank models.
            kinds=frozenset({"text", "embedding", "asr", "voice"}),
            chat_provider="pydantic_ai.providers.openai:OpenAIProvider",
            # It takes 2,048 texts and 300,000 tokens; smaller answers lose less when one breaks.
            embedding_batch=256,
        ),
        VendorProfile(
            "anthropic",
            "Anthropic",
            "anthropic_messages",
            "https://api.anthropic.com",
            kinds=frozenset({"text"}),
            chat_provider="pydantic_ai.providers.anthropic:AnthropicProvider",
        ),
        VendorProfile(
            "dashscope",
            "DashScope",
            "openai_chat",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            chat_provider="pydantic_ai.providers.alibaba:AlibabaProvider",
            # Its text-embedding-v3 and v4 refuse more than ten texts at once.
            embedding_batch=10,
            rerank={
                # Beside the chat API, not below it; 500 texts and 120,000 tokens.
                "qwen3-rerank": RerankWire(
                    path="/reranks", base=("/compatible-mode/v1", "/compatible-api/v1")
                ),
                # Its other rerankers speak DashScope's own protocol only; 30,000 tokens.
                "": RerankWire(
                    "nested",
                    path="/services/rerank/text-rerank/text-rerank",
                    base=("/compatible-mode/v1", "/api/v1"),
                    extra={"return_documents": False},
                    max_chars=24_000,
                ),
            },
        ),
        VendorProfile(
            "siliconflow",
            "SiliconFlow",
            "openai_chat",
            "https://api.siliconflow.cn/v1",
            # It refuses more than 32 texts at once.
            embedding_batch=32,
            # Only its Qwen3 embedders know the field; the others refuse it.
            dimensions_field="",
            # Its endpoint knows `file` and `model` only.
            verbose_asr_models=frozenset(),
            takes_asr_prompt=False,
            # Its PCM comes at 44 100 Hz unless a rate is named; ours saves the conversion.
            speech_rate_hz=16_000,
            speech_extra={"sample_rate": 16_000, "stream": True},
            default_asr_model="FunAudioLLM/SenseVoiceSmall",
            default_speech_model="FunAudioLLM/CosyVoice2-0.5B",
            default_voice="FunAudioLLM/CosyVoice2-0.5B:alex",
        ),
        VendorProfile(
            "deepseek",
            "DeepSeek",
            "openai_chat",
            "https://api.deepseek.com/v1",
            kinds=frozenset({"text"}),
            chat_provider="pydantic_ai.providers.deepseek:DeepSeekProvider",
        ),
        VendorProfile(
            "ollama",
            "Ollama",
            "openai_chat",
            "http://127.0.0.1:11434/v1",
            needs_key=False,
            kinds=frozenset({"text", "embedding"}),
            chat_provider="pydantic_ai.providers.ollama:OllamaProvider",
            # Its models have one size each and some versions refuse the field.
            dimensions_field="",
        ),
        VendorProfile(
            "vllm",
            "vLLM",
            "openai_chat",
            "http://127.0.0.1:8001/v1",
            needs_key=False,
            chat_provider="pydantic_ai.providers.vllm:VLLMProvider",
            # It refuses the field for models that were not trained for it.
            dimensions_field="",
        ),
        VendorProfile(
            "tei",
            "Text Embeddings Inference",
            "openai_chat",
            "http://127.0.0.1:8080",
            needs_key=False,
            kinds=frozenset({"embedding", "rerank"}),
            embeddings_path="/v1/embeddings",
            # A server refuses more than 32 texts at once unless it was started otherwise.
            embedding_batch=32,
            # Its models have one size each.
            dimensions_field="",
            # Unless asked to shorten, it refuses what its model cannot take as a whole.
            rerank={"": RerankWire("texts", extra={"truncate": True}, batch=32)},
        ),
        VendorProfile(
            "jina",
            "Jina AI",
            "openai_chat",
            "https://api.jina.ai/v1",
            kinds=frozenset({"embedding", "rerank"}),
            # It refuses fields that it does not know.
            takes_encoding=False,
            # Its first models return the texts too unless told otherwise.
            rerank={"": RerankWire(extra={"return_documents": False})},
        ),
        VendorProfile(
            "cohere",
            "Cohere",
            "openai_chat",
            "https://api.cohere.com/v2",
            # Its embedding API is none of those we speak.
            kinds=frozenset({"rerank"}),
        ),
        VendorProfile(
            "voyage",
            "Voyage AI",
            "openai_chat",
            "https://api.voyageai.com/v1",
            kinds=frozenset({"embedding", "rerank"}),
            dimensions_field="output_dimension",
            # It knows no encoding but base64, and gives numbers where none is named.
            takes_encoding=False,
            rerank={"": RerankWire(count_field="top_k")},
        ),
        VendorProfile(
            "openai_compatible",
            gettext_noop("OpenAI-compatible"),
            "openai_chat",
            needs_key=False,
            aliases=frozenset({"openai-compatible", "generic", "buffered", "custom", "other"}),
        ),
        VendorProfile(
            "builtin",
            gettext_noop("Built-in (offline)"),
            "builtin",
            needs_key=False,
            # A search by words and vectors knows all that an offline reranker would.
            kinds=frozenset({"text", "embedding", "asr", "voice"}),
        ),
    )
}
VENDOR_CHOICES = [(slug, _(profile.label)) for slug, profile in PROFILES.items()]
