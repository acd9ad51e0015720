"""Vendors as data: which wire protocol each speaks, where it lives, and its quirks with a reason."""

from __future__ import annotations

import dataclasses
from typing import Literal

from django.utils.translation import gettext_lazy as _

ChatProtocol = Literal["openai_chat", "anthropic_messages", "builtin"]
Kind = Literal["text", "embedding", "rerank", "asr", "voice"]


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


PROFILES: dict[str, VendorProfile] = {
    profile.slug: profile
    for profile in (
        VendorProfile("openai", "OpenAI", "openai_chat", "https://api.openai.com/v1"),
        VendorProfile(
            "anthropic",
            "Anthropic",
            "anthropic_messages",
            "https://api.anthropic.com",
            kinds=frozenset({"text"}),
        ),
        VendorProfile(
            "dashscope",
            "DashScope",
            "openai_chat",
            "https://dashscope.aliyuncs.com/compatible-mode/v1",
        ),
        VendorProfile("siliconflow", "SiliconFlow", "openai_chat", "https://api.siliconflow.cn/v1"),
        VendorProfile(
            "deepseek",
            "DeepSeek",
            "openai_chat",
            "https://api.deepseek.com/v1",
            kinds=frozenset({"text"}),
        ),
        VendorProfile(
            "ollama",
            "Ollama",
            "openai_chat",
            "http://127.0.0.1:11434/v1",
            needs_key=False,
            kinds=frozenset({"text", "embedding"}),
        ),
        VendorProfile(
            "vllm", "vLLM", "openai_chat", "http://127.0.0.1:8001/v1", needs_key=False
        ),
        VendorProfile(
            "openai_compatible",
            "OpenAI-compatible",
            "openai_chat",
            needs_key=False,
            aliases=frozenset({"openai-compatible", "generic", "buffered", "custom", "other"}),
        ),
        VendorProfile("builtin", "Built-in (offline)", "builtin", needs_key=False),
    )
}
VENDOR_CHOICES = [(slug, _(profile.label)) for slug, profile in PROFILES.items()]
