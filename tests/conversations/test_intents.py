"""What calls of tools are for: asked of the model, told to who watches, kept from the tools."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest

from conversations import intents, turn
from conversations.encoders.tasks import TaskEncoder
from conversations.encoding import Turn, collect
from conversations.events import ToolCalled
from conversations.turn import TurnRequest, run_turn
from tests.conversations.scripted import ScriptedModel, assistant, call, calls, says, tool
from tooling.types import ToolSpec

OWN = {"type": "object", "properties": {"intent": {"type": "string"}}, "required": ["intent"]}


def model_that(monkeypatch: pytest.MonkeyPatch, *scripts: Any) -> ScriptedModel:
    model = ScriptedModel(scripts)
    monkeypatch.setattr(turn, "chat_model", lambda spec: model)
    return model


async def answer(*tools: ToolSpec, asks: bool = True) -> Turn:
    request = TurnRequest(turn=1, text="Go", history=(), variables={}, asks_intents=asks)
    async with aclosing(run_turn(request, assistant(tools=tools))) as events:
        return await collect(events)


def adds(intent: Any, expression: str = "1+1") -> Any:
    return call("calculator", {"intent": intent, "expression": expression})


@pytest.mark.parametrize("asks", [True, False])
async def test_the_model_is_asked_where_that_is_wanted(
    monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    model = model_that(monkeypatch, says("ok"))
    spec = tool()
    await answer(spec, asks=asks)
    (schema,) = model.requests[0].tools
    assert ("intent" in schema.parameters["properties"]) is asks
    assert schema.parameters["required"] == ["expression"]
    assert "intent" not in spec.parameters["properties"]


async def test_it_is_told_of_the_call_and_kept_from_the_tool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model_that(monkeypatch, calls(adds(" add\nthem ", "40+2")), says("ok"))
    strict = tool()
    strict.parameters["additionalProperties"] = False
    reply = await answer(strict)
    (called,) = reply.tool_calls
    assert (called.intent, called.arguments) == ("add them", {"expression": "40+2"})
    assert [result.output for result in reply.tool_results] == ["42"]


async def test_nobody_who_did_not_ask_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    model_that(monkeypatch, calls(adds("add")), says("ok"))
    (called,) = (await answer(tool(), asks=False)).tool_calls
    assert called.intent == ""


async def test_a_tool_may_have_an_argument_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_that(monkeypatch, calls(call("classify", {"intent": "buy"})), says("ok"))
    reply = await answer(tool("classify", parameters=OWN))
    assert model.requests[0].tools[0].parameters == OWN
    assert [(each.intent, each.arguments) for each in reply.tool_calls] == [("", {"intent": "buy"})]


async def test_other_words_for_it_make_no_other_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model_that(monkeypatch, *(calls(adds(f"try {n}")) for n in range(3)), says("ok"))
    reply = await answer(tool())
    assert len(reply.tool_calls) == 2
    assert [refusal.code for refusal in reply.refusals] == [429]


@pytest.mark.parametrize(
    ("said", "intent"),
    [("look", "look"), ("", ""), (None, ""), (5, ""), (["a"], ""), ("x" * 200, "x" * 100)],
)
def test_what_is_no_text_says_nothing(said: Any, intent: str) -> None:
    assert intents.parted({"intent": said, "a": 1}, {}) == ({"a": 1}, intent)


def test_schemas_of_every_form_take_it() -> None:
    for parameters in ({}, {"type": "object"}, {"type": "object", "properties": {}}):
        asked = intents.asking(parameters, "zh")
        assert list(asked["properties"]) == ["intent"]
        assert "目的" in json.dumps(asked, ensure_ascii=False)


@pytest.mark.parametrize("intent", ["", "Look for the file"])
def test_tasks_tell_of_it_before_the_tool_starts(intent: str) -> None:
    called = ToolCalled("call-1", "read_file", {}, "server", True, 1000, intent)
    told = list(TaskEncoder().encode(called))
    kinds = ["tool_preparing", *(["tool_intent"] if intent else []), "tool_start"]
    assert [event.type for event in told] == kinds
    assert told[0].data.get("intent", "") == intent
    if intent:
        assert told[1].data == {"id": "call-1", "name": "read_file", "intent": intent}
    assert "intent" not in told[-1].data["arguments"]
