"""How each vendor is told to think, over real HTTP; and thoughts that must be given back."""

from __future__ import annotations

from typing import Any

import pytest

from providers import registry
from providers.fakes import FakeUpstream, Step
from providers.profiles import PROFILES, thinking_wire
from providers.types import (
    AssistantMessage,
    ChatEnd,
    ChatPart,
    ChatRequest,
    Endpoint,
    LlmSpec,
    TextPart,
    Thought,
    ThoughtPart,
    ToolCall,
    ToolCallPart,
    ToolMessage,
    ToolSchema,
    Usage,
    UserMessage,
)
from tests.upstream import SECRET

TOOL = ToolSchema("look", "Look it up", {"type": "object", "properties": {}})
QUESTION = UserMessage("Why?")
ENABLED, DISABLED = {"type": "enabled"}, {"type": "disabled"}
BUDGET = {"type": "enabled", "budget_tokens": 10_000}
ADAPTIVE = {"type": "adaptive", "display": "summarized"}
TEMPLATE = "chat_template_kwargs"

VENDORS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("dashscope", "qwen3-max", {"enable_thinking": True}, {"enable_thinking": False}),
    ("siliconflow", "Qwen/Qwen3-8B", {"enable_thinking": True}, {"enable_thinking": False}),
    ("deepseek", "deepseek-chat", {"thinking": ENABLED}, {"thinking": DISABLED}),
    ("openai", "gpt-5.1", {"reasoning_effort": "medium"}, {"reasoning_effort": "none"}),
    ("openai", "unheard-of", {"reasoning_effort": "medium"}, {"reasoning_effort": "none"}),
    ("ollama", "qwen3:8b", {"reasoning_effort": "medium"}, {"reasoning_effort": "none"}),
    ("ollama", "gpt-oss:20b", {"reasoning_effort": "medium"}, {"reasoning_effort": "low"}),
    (
        "vllm",
        "Qwen/Qwen3-8B",
        {TEMPLATE: {"enable_thinking": True, "thinking": True}},
        {TEMPLATE: {"enable_thinking": False, "thinking": False}},
    ),
    (
        "openai_compatible",
        "mystery-7b",
        {TEMPLATE: {"enable_thinking": True, "thinking": True}},
        {TEMPLATE: {"enable_thinking": False, "thinking": False}},
    ),
    ("anthropic", "claude-opus-4-5", {"thinking": BUDGET}, {"thinking": DISABLED}),
    ("anthropic", "claude-opus-4-6", {"thinking": ADAPTIVE}, {"thinking": DISABLED}),
]
WORDS = {"enable_thinking", "thinking", "reasoning_effort", TEMPLATE}


def spec_of(upstream: FakeUpstream, vendor: str, model: str, **fields: Any) -> LlmSpec:
    address = upstream.root_url if vendor == "anthropic" else upstream.base_url
    endpoint = Endpoint("test", vendor, address, SECRET, model)
    return LlmSpec(endpoint, "test", **{"supports_thinking": True, **fields})


async def ask(spec: LlmSpec, *messages: Any, thinking: bool | None) -> list[ChatPart]:
    request = ChatRequest(messages or (QUESTION,), tools=(TOOL,), thinking=thinking)
    async with registry.chat_model(spec).stream(request) as parts:
        return [part async for part in parts]


def body_of(upstream: FakeUpstream) -> dict[str, Any]:
    body: dict[str, Any] = upstream.stats.last()[-1]["body"]
    return body


@pytest.mark.parametrize(("vendor", "model", "on", "off"), VENDORS)
async def test_it_tells_each_vendor_in_its_own_words(
    upstream: FakeUpstream, vendor: str, model: str, on: dict[str, Any], off: dict[str, Any]
) -> None:
    spec = spec_of(upstream, vendor, model, temperature=0.3)
    for thinking, said in ((True, on), (False, off), (None, {})):
        await ask(spec, thinking=thinking)
        body = body_of(upstream)
        assert {word: body[word] for word in WORDS & body.keys()} == said
        # Models that think refuse it, or take no notice.
        assert ("temperature" in body) == (thinking is not True)


@pytest.mark.parametrize(
    ("host", "model", "on"),
    [
        ("https://open.bigmodel.cn/api/paas/v4", "glm-4.6", {"thinking": ENABLED}),
        ("https://api.moonshot.cn/v1", "kimi-k2.5", {"thinking": ENABLED}),
        ("https://api.moonshot.cn/v1", "kimi-k3", {"reasoning_effort": "high"}),
        ("https://ark.cn-beijing.volces.com/api/v3", "doubao-seed-1.6", {"thinking": ENABLED}),
        ("https://dashscope-intl.aliyuncs.com/v1", "glm-4.6", {"enable_thinking": True}),
        ("https://openrouter.ai/api/v1", "z-ai/glm-4.6", {"reasoning": {"enabled": True}}),
        ("https://notz.ai/v1", "mystery", {TEMPLATE: {"enable_thinking": True, "thinking": True}}),
    ],
)
def test_it_knows_vendors_without_a_profile_by_their_host(
    host: str, model: str, on: dict[str, Any]
) -> None:
    assert thinking_wire(Endpoint("", "openai_compatible", host, "", model)).on == on


def test_every_profile_says_it_of_every_model() -> None:
    for slug in PROFILES:
        assert thinking_wire(Endpoint("", slug, "", "", "any")) is not None


@pytest.mark.parametrize(
    ("longest", "said"),
    [
        (None, BUDGET),
        (4_000, {"type": "enabled", "budget_tokens": 2_976}),
        (2_048, {"type": "enabled", "budget_tokens": 1_024}),
        (2_047, DISABLED),
    ],
)
async def test_anthropics_thoughts_leave_room_for_the_answer(
    upstream: FakeUpstream, longest: int | None, said: dict[str, Any]
) -> None:
    spec = spec_of(upstream, "anthropic", "claude-opus-4-5", max_output_tokens=longest)
    await ask(spec, thinking=True)
    body = body_of(upstream)
    assert body["thinking"] == said
    assert longest is None or body["max_tokens"] == longest


async def test_it_keeps_to_the_rows_longest_answer(upstream: FakeUpstream) -> None:
    await ask(spec_of(upstream, "deepseek", "deepseek-chat", max_output_tokens=77), thinking=None)
    assert body_of(upstream)["max_tokens"] == 77


GIVES_BACK = [("anthropic", "claude-opus-4-5"), ("deepseek", "deepseek-chat")]


def answered(parts: list[ChatPart]) -> AssistantMessage:
    calls = tuple(part.call for part in parts if isinstance(part, ToolCallPart))
    thoughts = tuple(part.thought for part in parts if isinstance(part, ThoughtPart))
    return AssistantMessage("", calls, thoughts)


@pytest.mark.parametrize(("vendor", "model"), GIVES_BACK)
async def test_it_gives_thoughts_back_with_the_results_of_tools(
    upstream: FakeUpstream, vendor: str, model: str
) -> None:
    kind = upstream_kind(vendor)
    upstream.script(kind, Step(thinking="I look.", tool_calls=[{"name": "look", "id": "a"}]))
    spec = spec_of(upstream, vendor, model)
    first = answered(await ask(spec, thinking=True))
    assert [thought.text for thought in first.thoughts] == ["I look."]
    result = ToolMessage("a", "look", "seen")
    parts = await ask(spec, QUESTION, first, result, thinking=True)
    # Anthropic's would have refused a thought that is not as it was.
    assert isinstance(parts[-1], ChatEnd)
    (assistant,) = (m for m in body_of(upstream)["messages"] if m["role"] == "assistant")
    if vendor == "anthropic":
        assert assistant["content"][0]["thinking"] == "I look."
        assert assistant["content"][0]["signature"] == first.thoughts[0].signature != ""
    else:
        assert assistant["reasoning_content"] == "I look."


async def test_thoughts_go_to_no_vendor_that_does_not_want_them(upstream: FakeUpstream) -> None:
    upstream.script("chat", Step(thinking="I look.", tool_calls=[{"name": "look", "id": "a"}]))
    spec = spec_of(upstream, "openai_compatible", "mystery-7b")
    assert answered(await ask(spec, thinking=True)).thoughts == ()
    foreign = AssistantMessage("", (ToolCall("a", "look", "{}"),), (Thought("I look.", "x", "y"),))
    await ask(spec, QUESTION, foreign, ToolMessage("a", "look", "seen"), thinking=True)
    assert "I look." not in str(body_of(upstream))


async def test_a_turn_that_went_on_without_thoughts_ends_without_at_anthropic(
    upstream: FakeUpstream,
) -> None:
    spec = spec_of(upstream, "anthropic", "claude-opus-4-5")
    calls = AssistantMessage("", (ToolCall("a", "look", "{}"),))
    result = ToolMessage("a", "look", "seen")
    parts = await ask(spec, QUESTION, calls, result, thinking=True)
    assert isinstance(parts[-1], ChatEnd)
    assert body_of(upstream)["thinking"] == DISABLED
    # In the next turn it may think again.
    await ask(spec, QUESTION, calls, result, AssistantMessage("So."), QUESTION, thinking=True)
    assert body_of(upstream)["thinking"] == BUDGET


async def test_anthropic_is_not_shown_thoughts_where_it_shall_not_think(
    upstream: FakeUpstream,
) -> None:
    spec = spec_of(upstream, "anthropic", "claude-opus-4-5")
    thought = Thought("I look.", signature="of another")
    calls = AssistantMessage("", (ToolCall("a", "look", "{}"),), (thought,))
    parts = await ask(spec, QUESTION, calls, ToolMessage("a", "look", "seen"), thinking=False)
    assert isinstance(parts[-1], ChatEnd)
    assert "I look." not in str(body_of(upstream))


async def test_it_takes_the_last_of_counts_that_are_repeated(upstream: FakeUpstream) -> None:
    head = '"id":"c","object":"chat.completion.chunk","created":0,"model":"m"'
    raw = "".join(
        f'data: {{{head},"choices":[{{"index":0,"delta":{{"content":"a "}}}}],'
        f'"usage":{{"prompt_tokens":9,"completion_tokens":{made},"total_tokens":{9 + made}}}}}\n\n'
        for made in (1, 2, 3)
    )
    upstream.script("chat", Step(raw=raw + "data: [DONE]\n\n", content_type="text/event-stream"))
    parts = await ask(spec_of(upstream, "siliconflow", "Qwen/Qwen3-8B"), thinking=None)
    assert parts == [*[TextPart("a ")] * 3, ChatEnd("stop", Usage(9, 3))]


def upstream_kind(vendor: str) -> Any:
    return "messages" if vendor == "anthropic" else "chat"
