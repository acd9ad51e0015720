"""The built-in tools as data and as rows."""

from __future__ import annotations

from typing import Any

import pytest

from tooling.catalogue import BUILTIN_TOOLS, normalise_tool_id, sync_builtin_tools
from tooling.models import Category, Tool

CLIENT_TOOLS = {
    "turn_on_camera",
    "turn_off_camera",
    "increase_volume",
    "decrease_volume",
    "voice_msg_prompt",
    "text_msg_prompt",
    "voice_choice_prompt",
    "text_choice_prompt",
}


def test_it_knows_fifteen_tools_with_the_published_six_first() -> None:
    assert len(BUILTIN_TOOLS) == 15
    assert list(BUILTIN_TOOLS)[:6] == [
        "search",
        "calculator",
        "weather",
        "translate",
        "knowledge",
        "code_interpreter",
    ]
    by_category = {tool.id for tool in BUILTIN_TOOLS.values() if tool.category == Category.SYSTEM}
    assert by_category == CLIENT_TOOLS


def _descriptions(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["description"]] if isinstance(value.get("description"), str) else []
        return own + [text for item in value.values() for text in _descriptions(item)]
    if isinstance(value, list):
        return [text for item in value for text in _descriptions(item)]
    return []


@pytest.mark.parametrize("tool", BUILTIN_TOOLS.values(), ids=lambda tool: tool.id)
def test_it_describes_every_tool_in_both_languages(tool: Any) -> None:
    for language, is_chinese in (("en", False), ("zh", True)):
        parameters = tool.parameters(language)
        assert parameters["type"] == "object"
        assert set(parameters["required"]) <= set(parameters["properties"])
        texts = [tool.name.get(language), tool.description.get(language)]
        for text in texts + _descriptions(parameters):
            assert any("一" <= character <= "鿿" for character in text) is is_chinese, text


def test_it_waits_only_for_choices() -> None:
    waiting = {tool.id for tool in BUILTIN_TOOLS.values() if tool.wait_for_response}
    assert waiting == {"voice_choice_prompt", "text_choice_prompt"}


def test_it_understands_the_earlier_name_of_a_tool() -> None:
    assert normalise_tool_id("voice_message_prompt") == "voice_msg_prompt"
    assert normalise_tool_id("calculator") == "calculator"


@pytest.mark.django_db
def test_it_writes_the_rows_again_without_enabling_what_was_disabled() -> None:
    sync_builtin_tools()
    Tool.objects.filter(pk="search").update(is_enabled=False, description="old")
    sync_builtin_tools()
    search = Tool.objects.get(pk="search")
    assert (search.is_enabled, search.is_system) == (False, True)
    assert search.description == "Search the internet for current information"
    assert Tool.objects.count() == 15
