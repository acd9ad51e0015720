"""Vendors as data: which wire protocol each speaks, where it lives, its quirks with reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from providers.types import Endpoint

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
class ThinkingWire:
    """What the body of a request says so that the model thinks, or does not.

    Without an `on`, pydantic-ai knows by the model's name. `takes_back` is set where thoughts must,
    or may to the answer's good, be sent back with the results of the calls that followed from them.
    """

    on: Mapping[str, Any] | None = None
    off: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    takes_back: bool = False


_BY_NAME = ThinkingWire()
_SWITCH = ThinkingWire({"enable_thinking": True}, {"enable_thinking": False})
# DeepSeek, GLM and Kimi refuse results of tools without the thoughts that led to the calls.
_TYPE = ThinkingWire(
    {"thinking": {"type": "enabled"}}, {"thinking": {"type": "disabled"}}, takes_back=True
)
_EFFORT = ThinkingWire({"reasoning_effort": "medium"}, {"reasoning_effort": "none"})
# These can only be told to think little.
_SOME_EFFORT = ThinkingWire({"reasoning_effort": "medium"}, {"reasoning_effort": "low"})
# Templates call it by either name and take no notice of the other.
_TEMPLATE_ON = {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}
_TEMPLATE_OFF = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
_TEMPLATE = ThinkingWire(_TEMPLATE_ON, _TEMPLATE_OFF)
_KIMI: Mapping[str, ThinkingWire] = {
    # It always thinks, and takes no "medium".
    "kimi-k3": ThinkingWire({"reasoning_effort": "high"}, {"reasoning_effort": "low"}, True),
    "": _TYPE,
}
# Of vendors without a profile, by the end of their host.
_THINKING_BY_HOST: dict[str, Mapping[str, ThinkingWire]] = {
    "bigmodel.cn": {"": _TYPE},
    "z.ai": {"": _TYPE},
    "moonshot.cn": _KIMI,
    "moonshot.ai": _KIMI,
    "volces.com": {"": _TYPE},
    "aliyuncs.com": {"": _SWITCH},
    "siliconflow.cn": {"": _SWITCH},
    "deepseek.com": {"": _TYPE},
    "openai.com": {"": _BY_NAME},
    "openrouter.ai": {
        "": ThinkingWire({"reasoning": {"enabled": True}}, {"reasoning": {"enabled": False}})
    },
}
# Of a server that nobody knows: it may be a gateway to the model's maker, or run the model itself.
_THINKING_BY_MODEL: Mapping[str, ThinkingWire] = {
    "gpt-oss": _SOME_EFFORT,
    "gpt-": _BY_NAME,
    "deepseek": ThinkingWire(
        {"thinking": {"type": "enabled"}, **_TEMPLATE_ON},
        {"thinking": {"type": "disabled"}, **_TEMPLATE_OFF},
        takes_back=True,
    ),
    "glm": ThinkingWire(
        {"thinking": {"type": "enabled"}, **_TEMPLATE_ON},
        {"thinking": {"type": "disabled"}, **_TEMPLATE_OFF},
        takes_back=True,
    ),
    "kimi": _TYPE,
    "doubao": _TYPE,
    "qwen": ThinkingWire(
        {"enable_thinking": True, **_TEMPLATE_ON}, {"enable_thinking": False, **_TEMPLATE_OFF}
    ),
    "": _TEMPLATE,
}


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
    # How they are told to think. By a part of the model's name, the first that fits.
    thinking: Mapping[str, ThinkingWire] = dataclasses.field(
        default_factory=lambda: _THINKING_BY_MODEL
    )

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
            thinking={"": _BY_NAME},
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
            # Within a turn it refuses calls whose signed thoughts are gone.
            thinking={"": ThinkingWire(takes_back=True)},
        ),
        VendorProfile(
            "dashscope",
            "DashScope",
            "openai_chat",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
            chat_provider="pydantic_ai.providers.alibaba:AlibabaProvider",
            thinking={"": _SWITCH},
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
            thinking={"": _SWITCH},
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
            thinking={"": _TYPE},
        ),
        VendorProfile(
            "ollama",
            "Ollama",
            "openai_chat",
            "http://127.0.0.1:11434/v1",
            needs_key=False,
            kinds=frozenset({"text", "embedding"}),
            chat_provider="pydantic_ai.providers.ollama:OllamaProvider",
            # On the path that OpenAI's clients use, it knows no `think`.
            thinking={"gpt-oss": _SOME_EFFORT, "": _EFFORT},
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
            thinking={"gpt-oss": _SOME_EFFORT, "": _TEMPLATE},
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


def thinking_wire(endpoint: Endpoint) -> ThinkingWire:
    """How the model at this endpoint is told to think."""
    by_model = PROFILES[endpoint.vendor].thinking
    if by_model is _THINKING_BY_MODEL:
        host = urlsplit(endpoint.base_url).hostname or ""
        known = (each for each in _THINKING_BY_HOST if f".{host}".endswith(f".{each}"))
        by_model = _THINKING_BY_HOST.get(next(known, ""), by_model)
    name = endpoint.model_name.lower()
    return next(wire for part, wire in by_model.items() if part in name)
