"""Clients of language models are loaded when their vendor is first asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from providers import registry
from providers.fakes import FakeUpstream
from providers.profiles import PROFILES, Kind
from providers.types import ChatRequest, LlmSpec, TextPart, UserMessage
from tests.bounded import in_time
from tests.upstream import llm_spec


@pytest.fixture
def nothing_loaded() -> None:
    registry._sdk.cache_clear()


async def answer(spec: LlmSpec) -> str:
    request = ChatRequest((UserMessage("Hello"),))
    async with registry.chat_model(spec).stream(request) as parts:
        return "".join([part.text async for part in parts if isinstance(part, TextPart)])


@pytest.mark.usefixtures("nothing_loaded")
@pytest.mark.parametrize("vendor", ["openai_compatible", "deepseek", "anthropic"])
async def test_the_first_question_is_answered_like_the_second(
    vendor: str, upstream: FakeUpstream
) -> None:
    spec = llm_spec(upstream.base_url, vendor=vendor)
    first = await answer(spec)
    assert first
    assert registry._sdk(vendor).is_loaded
    assert await answer(spec) == first


@pytest.mark.usefixtures("nothing_loaded")
async def test_it_is_loaded_off_the_loop_and_once_for_all_who_ask(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []
    load: Callable[[str], object] = registry._load_sdk

    def noted(vendor: str) -> object:
        threads.append(threading.get_ident())
        return load(vendor)

    monkeypatch.setattr(registry, "_load_sdk", noted)
    spec = llm_spec(upstream.base_url)
    await asyncio.gather(*(answer(spec) for _ in range(3)))
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


@pytest.mark.usefixtures("nothing_loaded")
def test_warming_up_loads_the_language_models_that_it_is_told() -> None:
    # A row of a vendor that is no more, and one that has no such models, are passed over.
    told: set[tuple[Kind, str]] = {
        ("text", "deepseek"),
        ("text", "cohere"),
        ("text", "nobody"),
        ("asr", "openai"),
    }
    registry.warm_up(told, workers=False)
    loaded = {vendor for vendor in PROFILES if registry._sdk(vendor).is_loaded}
    assert loaded == {"deepseek"}
    assert registry.chat_model(llm_spec("http://127.0.0.1:1/v1", vendor="deepseek")) is (
        registry._client("text", llm_spec("http://127.0.0.1:1/v1", vendor="deepseek"))
    )


def test_without_models_of_vendors_no_sdk_is_loaded() -> None:
    code = """
import sys, django
django.setup()
from providers import registry
from providers.profiles import PROFILES
kinds = {(kind, vendor) for vendor, each in PROFILES.items() for kind in each.kinds}
registry.warm_up({each for each in kinds if each[0] != "text"}, workers=False)
registry.warm_up({("text", "builtin")}, workers=False)
print([name for name in ("openai", "anthropic", "pydantic_ai") if name in sys.modules])
registry.warm_up({("text", "openai_compatible")}, workers=False)
print([name for name in ("openai", "anthropic", "pydantic_ai") if name in sys.modules])
"""
    assert in_time(code).splitlines() == ["[]", "['openai', 'pydantic_ai']"]
