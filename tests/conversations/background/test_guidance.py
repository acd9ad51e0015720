"""What prompts and personalizations mean; no database."""

from __future__ import annotations

from typing import Any

import pytest

from conversations.background import guidance
from conversations.types import PersonalizationRow
from tests.conversations.scripted import device_tool, tool
from tooling.types import HttpTarget, McpEndpoint, McpTarget

EMPTY: dict[str, Any] = {
    "enabled": True,
    "self_identify": "",
    "user_name": "",
    "profession": "",
    "tone": "",
    "considerations": [],
    "thinking_interval": None,
    "disabled_tool_categories": [],
    "default_run_mode": None,
    "auto_generate_title": True,
    "tool_intent_enabled": True,
    "default_model": None,
}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, {}),
        ({"unknown": 1, "__class__": "x"}, {}),
        ({"enabled": False}, {"enabled": False}),
        ({"enabled": "false"}, {"enabled": False}),
        ({"enabled": []}, {}),
        ({"enabled": None}, {}),
        ({"tone": "幽默"}, {"tone": "幽默"}),
        ({"tone": "x" * 21}, {"tone": "x" * 20}),
        ({"tone": " two\n words "}, {"tone": "two words"}),
        ({"tone": 5}, {}),
        ({"self_identify": {"a": 1}, "user_name": None, "profession": ["a"]}, {}),
        ({"considerations": "no list"}, {}),
        ({"considerations": ["a", "", " ", 5, "a", "b"]}, {"considerations": ["a", "b"]}),
        ({"considerations": ["x" * 51]}, {"considerations": ["x" * 50]}),
        (
            {"considerations": [str(n) for n in range(11)]},
            {"considerations": [str(n) for n in range(10)]},
        ),
        ({"thinking_interval": 5}, {"thinking_interval": 5}),
        ({"thinking_interval": 0}, {"thinking_interval": 1}),
        ({"thinking_interval": 51}, {"thinking_interval": 50}),
        ({"thinking_interval": True}, {}),
        ({"thinking_interval": "5"}, {}),
        ({"default_run_mode": "deep"}, {"default_run_mode": "deep"}),
        ({"default_run_mode": "slow"}, {}),
        ({"default_run_mode": ["deep"]}, {}),
        ({"default_model": "gpt-4"}, {"default_model": "gpt-4"}),
        ({"default_model": ""}, {}),
        ({"auto_generate_title": 0}, {"auto_generate_title": False}),
        ({"disabled_tool_categories": ["network"]}, {"disabled_tool_categories": ["network"]}),
    ],
)
def test_it_keeps_what_the_contract_names_within_its_bounds(
    sent: dict[str, Any], kept: dict[str, Any]
) -> None:
    assert guidance.sanitised(sent) == {**EMPTY, **kept}


def test_what_is_kept_is_sanitised_already() -> None:
    once = guidance.sanitised(
        {"tone": " x " * 20, "considerations": ["  a  " * 30], "thinking_interval": 99}
    )
    assert guidance.sanitised(once) == once


@pytest.mark.parametrize(
    ("prompt", "content", "language", "text"),
    [
        ("", None, "en", ""),
        (" Be short. ", None, "en", "Be short."),
        ("", {}, "en", ""),
        (
            "Be short.",
            {"user_name": "Ann", "tone": "诗意"},
            "en",
            "Be short.\n\nHow the user wants to be treated:\n"
            "- The user is called: Ann\n- The tone of your answers: 诗意",
        ),
        (
            "",
            {"self_identify": "小助", "profession": "医生", "considerations": ["说中文", "简短"]},
            "zh-hans",
            "用户希望你这样对待他：\n- 你的自称：小助\n- 用户的职业：医生\n"
            "- 始终注意：说中文\n- 始终注意：简短",
        ),
        ("Be short.", {"enabled": False, "tone": "诗意"}, "en", "Be short."),
    ],
)
def test_instructions_say_what_the_user_wishes(
    prompt: str, content: dict[str, Any] | None, language: str, text: str
) -> None:
    row = None if content is None else guidance.sanitised(content)
    assert guidance.instructions(prompt, row, language) == text


@pytest.mark.parametrize("trick", ["{value}", "{0}", "{__class__}", "%(value)s", "{{system_time}}"])
def test_nothing_that_a_user_writes_is_a_placeholder(trick: str) -> None:
    row = guidance.sanitised({"tone": trick, "user_name": trick})
    text = guidance.instructions(trick, row, "en")
    assert text.startswith(f"{trick}\n\n")
    assert f"- The user is called: {trick}\n- The tone of your answers: {trick}" in text


def test_a_personalization_that_is_off_changes_nothing() -> None:
    row = guidance.sanitised(
        {
            "enabled": False,
            "default_run_mode": "deep",
            "thinking_interval": 3,
            "auto_generate_title": False,
            "disabled_tool_categories": ["network"],
        }
    )
    assert guidance.run_mode(None, thinks=None, kept=None, personalization=row) == "fast"
    assert guidance.thinking_interval("thinking", row) is None
    assert guidance.wants_title(row)
    assert not guidance.wants_intents(row)
    assert not guidance.disabled_categories(row)


@pytest.mark.parametrize(
    ("content", "is_wanted"), [(None, False), ({}, True), ({"tool_intent_enabled": False}, False)]
)
def test_who_has_a_personalization_reads_what_calls_are_for_unless_it_says_no(
    content: dict[str, Any] | None, is_wanted: bool
) -> None:
    row = None if content is None else guidance.sanitised(content)
    assert guidance.wants_intents(row) is is_wanted


@pytest.mark.parametrize(("mode", "interval"), [("fast", None), ("thinking", 3), ("deep", None)])
def test_only_who_thinks_at_times_thinks_again(mode: Any, interval: int | None) -> None:
    assert guidance.thinking_interval(mode, PersonalizationRow(thinking_interval=3)) == interval


_MCP = McpTarget(McpEndpoint("1", "server", "streamable_http"), "tool")


@pytest.mark.parametrize(
    ("category", "left"),
    [
        ("query", ["mcp", "camera"]),
        ("system", ["calculator", "search", "code_interpreter", "http", "mcp"]),
        ("network", ["calculator", "code_interpreter", "camera"]),
        ("mcp", ["calculator", "search", "code_interpreter", "http", "camera"]),
        ("code", ["calculator", "search", "http", "mcp", "camera"]),
        ("files", ["calculator", "search", "code_interpreter", "http", "mcp", "camera"]),
        ("unknown", ["calculator", "search", "code_interpreter", "http", "mcp", "camera"]),
    ],
)
def test_a_disabled_category_takes_its_tools_away(category: str, left: list[str]) -> None:
    tools = [
        tool("calculator"),
        tool("search"),
        tool("code_interpreter"),
        tool("http", target=HttpTarget("GET", "https://example.org")),
        tool("mcp", target=_MCP),
        device_tool("camera", waits=False),
    ]
    kept = guidance.without_categories(tools, frozenset({category}))
    assert [each.id for each in kept] == left


def test_categories_of_the_agents_own_tools() -> None:
    writing = {"write_file", "append_file"}
    assert guidance.disabled_agent_tools(frozenset({"file_edit"})) == writing
    assert guidance.disabled_agent_tools(frozenset({"todo"})) == {"update_todo"}
    assert guidance.disabled_agent_tools(frozenset({"files", "todo"})) == {
        *writing, "list_files", "read_file", "search_files", "update_todo",
    }  # fmt: skip
    assert not guidance.disabled_agent_tools(frozenset({"network"}))
