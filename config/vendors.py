"""Model vendors that the environment names at the start, written as rows once each."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from urllib.parse import urlsplit

from django.conf import settings

from config.env import is_explicit
from providers.models import Asr, AsrLanguage, Llm, LlmType, OutboundRule, Provider, Voice


@dataclasses.dataclass(frozen=True)
class Vendor:
    """An account at a vendor, and the models to begin with. An empty name means none."""

    slug: str
    name: str
    is_wanted: bool
    api_key: str = ""
    base_url: str = ""
    llm: str = ""
    embedder: str = ""
    dimensions: int | None = None
    recogniser: str = ""
    voice_model: str = ""
    voice: str = ""


def named_vendors() -> list[Vendor]:
    """The table of what the environment can name. Small, quick models: speech cannot wait."""
    return [
        Vendor(
            "openai",
            "OpenAI",
            is_wanted=bool(settings.OPENAI_API_KEY),
            api_key=settings.OPENAI_API_KEY,
            base_url=settings.OPENAI_BASE_URL,
            llm=settings.OPENAI_MODEL,
            embedder="" if settings.OPENAI_BASE_URL else "text-embedding-3-small",
            dimensions=1536,
            recogniser=_at_openai("OPENAI_ASR_MODEL"),
            voice_model=_at_openai("OPENAI_TTS_MODEL"),
            voice="alloy",
        ),
        Vendor(
            "anthropic",
            "Anthropic",
            is_wanted=bool(settings.ANTHROPIC_API_KEY),
            api_key=settings.ANTHROPIC_API_KEY,
            llm="claude-haiku-4-5",
        ),
        Vendor(
            "dashscope",
            "DashScope",
            is_wanted=bool(settings.DASHSCOPE_API_KEY),
            api_key=settings.DASHSCOPE_API_KEY,
            llm="qwen-plus",
            embedder="text-embedding-v4",
            dimensions=1024,
        ),
        Vendor(
            "ollama",
            "Ollama",
            is_wanted=bool(settings.OLLAMA_BASE_URL),
            base_url=with_version(settings.OLLAMA_BASE_URL),
            llm=settings.OLLAMA_MODEL,
        ),
    ]


def _at_openai(name: str) -> str:
    """A model that OpenAI has; another server that speaks its API may lack it."""
    is_there = is_explicit(name) or not settings.OPENAI_BASE_URL
    return str(getattr(settings, name)) if is_there else ""


def with_version(base_url: str) -> str:
    """Ollama's address as its OpenAI-shaped API needs it, ending in /v1."""
    plain = base_url.rstrip("/")
    return plain if not plain or plain.endswith("/v1") else f"{plain}/v1"


def add_named_vendors(known: frozenset[str]) -> list[Vendor]:
    """Adds what is named, not among the known and not there yet; what was added."""
    added = []
    for vendor in named_vendors():
        rows = Provider.objects.filter(vendor=vendor.slug, owner=None)
        if vendor.is_wanted and vendor.slug not in known and not rows.exists():
            _add(vendor)
            added.append(vendor)
    return added


def _add(vendor: Vendor) -> None:
    provider = Provider.objects.create(
        name=vendor.name, vendor=vendor.slug, base_url=vendor.base_url, api_key=vendor.api_key
    )
    common = {"provider": provider, "vendor": vendor.slug}
    if vendor.llm:
        Llm.objects.create(name=vendor.llm, model_name=vendor.llm, **common)
    if vendor.embedder:
        Llm.objects.create(
            name=vendor.embedder,
            model_name=vendor.embedder,
            type=LlmType.EMBEDDING,
            dimensions=vendor.dimensions,
            **common,
        )
    if vendor.recogniser:
        Asr.objects.create(
            name=vendor.recogniser,
            model_name=vendor.recogniser,
            language=AsrLanguage.MULTI,
            **common,
        )
    if vendor.voice_model:
        Voice.objects.create(
            name=f"{vendor.name} {vendor.voice}",
            model=vendor.voice_model,
            voice_key=vendor.voice,
            language="multi",
            **common,
        )
    _allow(vendor)


def _allow(vendor: Vendor) -> None:
    """An operator who names a private address means it to be reached."""
    parts = urlsplit(vendor.base_url)
    if not parts.hostname:
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    for address in _private_addresses(parts.hostname, port):
        OutboundRule.objects.get_or_create(
            network=address, port=port, defaults={"note": vendor.name}
        )


def _private_addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    addresses = {str(entry[4][0]).split("%")[0] for entry in found}
    return sorted(text for text in addresses if not ipaddress.ip_address(text).is_global)
