from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from assistants.runtime import AssistantRuntime
from conversations import toolbox, turn
from conversations.encoding import Turn, collect
from conversations.events import (
    TextDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from conversations.toolbox import ClientToolResult
from conversations.turn import MAX_MODEL_CALLS, OPENING_CUES, TurnRequest, run_turn
from core.errors import ProviderError
from providers.results import framed, unframed
from providers.types import (
    AssistantMessage,
    ChatEnd,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolMessage,
    Usage,
    UserMessage,
)
from tests.conversations.scripted import (
    ScriptedModel,
    assistant,
    call,
    calls,
    device_tool,
    says,
    tool,
)
from tooling.types import ToolContext, ToolResult, ToolSpec

Script = Callable[..., ScriptedModel]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    def play(*scripts: Any, **options: Any) -> ScriptedModel:
        model = ScriptedModel(scripts, **options)
        monkeypatch.setattr(turn, "chat_model", lambda spec: model)
        return model

    return play


def asked(text: str = "hello", **fields: Any) -> TurnRequest:
    return TurnRequest(**{"turn": 1, "text": text, "history": (), "variables": {}, **fields})


async def answer(request: TurnRequest, runtime: AssistantRuntime, **options: Any) -> Turn:
    async with aclosing(run_turn(request, runtime, **options)) as events:
        return await collect(events)


async def events_of(
    request: TurnRequest, runtime: AssistantRuntime, **options: Any
) -> list[TurnEvent]:
    async with aclosing(run_turn(request, runtime, **options)) as events:
        return [event async for event in events]


class Device:
    """A caller's device that answers every call alike, or never."""

    def __init__(self, result: ClientToolResult | None = None) -> None:
        self.result = result
        self.asked: list[ToolCalled] = []
        self.was_cancelled = False

    async def call(self, called: ToolCalled) -> ClientToolResult:
        self.asked.append(called)
        if self.result is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.was_cancelled = True
                raise
        assert self.result is not None
        return self.result


# --- Answers -------------------------------------------------------------------------------------


async def test_it_streams_the_answer(script: Script) -> None:
    script([ThinkingPart("hm"), TextPart("Hel"), TextPart("lo"), ChatEnd("stop", Usage(5, 2))])
    events = await events_of(asked(turn=3), assistant())
    assert events[0] == TurnStarted(3)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hel", "lo"]
    assert events[-1] == TurnFinished("stop", Usage(5, 2))


async def test_it_sends_prompt_history_and_question(script: Script) -> None:
    model = script(says("ok"))
    history = (UserMessage("before"), AssistantMessage("answered"))
    request = asked("now", history=history, variables={"who": "Ann"})
    await answer(request, assistant(prompt="You serve {{who}}, not {{ nobody }}. {x} %s"))
    assert model.requests[0].messages == (
        SystemMessage("You serve Ann, not {{ nobody }}. {x} %s"),
        *history,
        UserMessage("now"),
    )
    assert model.requests[0].tools == ()


async def test_it_prefers_the_calls_own_prompt(script: Script) -> None:
    model = script(says("ok"))
    await answer(asked(system_override="Be {{mood}}", variables={"mood": "brief"}), assistant())
    assert model.requests[0].messages[0] == SystemMessage("Be brief")


async def test_it_opens_the_conversation_when_nothing_was_said(script: Script) -> None:
    model = script(says("Hello!"))
    reply = await answer(asked(""), assistant(language="zh"))
    assert reply.text == "Hello!"
    assert model.requests[0].messages == (UserMessage(OPENING_CUES["zh"]),)


async def test_it_never_sends_a_conversation_that_the_assistant_begins(script: Script) -> None:
    model = script(says("ok"))
    await answer(asked("hi", history=(AssistantMessage("Welcome!"),)), assistant())
    assert model.requests[0].messages == (
        UserMessage(OPENING_CUES["en"]),
        AssistantMessage("Welcome!"),
        UserMessage("hi"),
    )


async def test_it_keeps_the_history_within_the_models_context(script: Script) -> None:
    model = script(says("ok"))
    history = [
        message
        for number in range(50)
        for message in (UserMessage(f"{number} " + "x" * 400), AssistantMessage("y" * 400))
    ]
    runtime = assistant()
    assert runtime.llm is not None
    spec = type(runtime.llm)(runtime.llm.endpoint, "small", context_length=1000)
    await answer(asked(history=tuple(history)), assistant(llm=spec))
    sent = model.requests[0].messages
    assert sent[-3:] == (history[-2], history[-1], UserMessage("hello"))
    assert len(sent) == 7


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_it_says_why_the_answer_ended(script: Script, reason: Any) -> None:
    script([TextPart("some"), ChatEnd(reason, Usage(1, 1))])
    assert (await answer(asked(), assistant())).reason == reason


# --- Failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "limit"), [(TextPart, turn.MAX_ANSWER_CHARS), (ThinkingPart, turn.MAX_THINKING_CHARS)]
)
async def test_it_stops_an_answer_without_end(script: Script, part: Any, limit: int) -> None:
    piece = "a " * 5_000
    fits = [part(piece)] * (limit // len(piece))
    end = [TextPart("!"), ChatEnd("stop", Usage(5, 2))]
    model = script([TextPart("A"), *fits[1:], *end], [TextPart("A"), *fits, *fits, *end])
    events = await events_of(asked(), assistant())
    assert events[-1] == TurnFinished("stop", Usage(5, 2))
    events = await events_of(asked(), assistant())
    assert isinstance(events[-1], TurnFinished)
    assert events[-1].reason == "length"
    assert events[-1].usage.output_tokens > 0
    # Beside the deltas: the beginning and the end of the turn and of the call, and the first "A".
    assert len(events) <= len(fits) + 6
    assert model.closed == model.opened == 2


async def test_it_fails_clearly_without_a_model(script: Script) -> None:
    events = await events_of(asked(), assistant(llm=None))
    assert events == [
        TurnStarted(1),
        TurnFailed(
            "llm.not_configured",
            "No language model is configured for this assistant.",
            is_retryable=False,
            usage=Usage(),
        ),
    ]


@pytest.mark.parametrize("is_permanent", [True, False])
async def test_it_keeps_what_was_said_before_the_vendor_failed(
    script: Script, is_permanent: bool
) -> None:
    error = ProviderError("The vendor is down.", is_permanent=is_permanent)
    model = script([TextPart("Half an"), error])
    reply = await answer(asked(), assistant())
    assert reply.text == "Half an"
    assert reply.reason is None
    assert reply.error == TurnFailed("llm.failed", "The vendor is down.", not is_permanent, Usage())
    assert model.closed == model.opened == 1


async def test_it_fails_when_the_stream_breaks_off(script: Script) -> None:
    script([TextPart("Half")])
    reply = await answer(asked(), assistant())
    assert reply.error is not None
    assert (reply.error.code, reply.error.is_retryable) == ("llm.failed", True)


async def test_it_does_not_pass_silence_off_as_an_answer(script: Script) -> None:
    script([ThinkingPart("…"), ChatEnd("stop", Usage(1, 1))])
    reply = await answer(asked(), assistant())
    assert reply.error is not None
    assert (reply.error.code, reply.error.usage) == ("llm.empty_answer", Usage(1, 1))


async def test_it_counts_the_calls_before_a_failure(script: Script) -> None:
    error = ProviderError("down", is_permanent=False)
    script(calls(call("calculator", {"expression": "1"})), [error])
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert reply.usage == Usage(10, 2)
    assert reply.tool_results[0].output == "1"


# --- Tools ---------------------------------------------------------------------------------------


async def test_it_runs_a_tool_and_answers_with_its_result(script: Script) -> None:
    model = script(
        calls(call("calculator", {"expression": "6*7"}, "c1"), text="Let me see."), says("42.")
    )
    events = await events_of(asked("6*7?"), assistant(tools=(tool(),)))
    assert [type(event).__name__ for event in events] == [
        *("TurnStarted", "ModelAsked", "TextDelta", "ModelAnswered", "ToolCalled", "ToolReturned"),
        *("ModelAsked", "TextDelta", "ModelAnswered", "TurnFinished"),
    ]
    called, returned = events[4:6]
    assert isinstance(called, ToolCalled)
    assert isinstance(returned, ToolReturned)
    assert (called.arguments, called.executor, called.wait_for_response) == (
        {"expression": "6*7"},
        "server",
        True,
    )
    assert (returned.call_id, returned.output, returned.code) == ("c1", "42", 200)
    assert events[7] == TextDelta("\n42.")
    assert events[-1] == TurnFinished("stop", Usage(20, 4))
    second = model.requests[1]
    assert second.tool_choice == "auto"
    assert isinstance(second.messages[-2], AssistantMessage)
    assert second.messages[-2].text == "Let me see."
    assert second.messages[-1] == ToolMessage("c1", "calculator", framed("42"))
    assert [schema.name for schema in second.tools] == ["calculator"]


async def test_it_merges_defaults_under_the_arguments(script: Script) -> None:
    script(calls(call("calculator", {}), call("calculator", {"expression": "2"})), says("ok"))
    spec = tool(defaults={"expression": "1"})
    reply = await answer(asked(), assistant(tools=(spec,)))
    assert [result.output for result in reply.tool_results] == ["1", "2"]


@pytest.mark.parametrize(
    ("part", "code", "told"),
    [
        (call("rm", {}), 404, "There is no tool 'rm'. Tools: calculator."),
        (call("calculator", "{oops"), 400, "not a JSON object"),
        (call("calculator", "[1]"), 400, "list instead of an object"),
        (call("calculator", "[" * 20_000), 400, "nested too deeply"),
        (call("calculator", "[" * 500 + "]" * 500), 400, "nested too deeply"),
        (call("calculator", {}), 400, "arguments: 'expression' is a required property"),
        (call("calculator", {"expression": 5}), 400, "arguments.expression: 5 is not of type"),
    ],
)
async def test_it_tells_the_model_what_is_wrong_with_a_call(
    script: Script, part: Any, code: int, told: str
) -> None:
    model = script(calls(part), says("sorry"))
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert reply.tool_calls == ()
    assert [refusal.code for refusal in reply.refusals] == [code]
    result = model.requests[1].messages[-1]
    assert isinstance(result, ToolMessage)
    assert result.is_error
    assert told in result.text
    # What goes back to the vendor is always an object, which they insist on.
    asking = model.requests[1].messages[-2]
    assert isinstance(asking, AssistantMessage)
    assert isinstance(json.loads(asking.tool_calls[0].arguments), dict)
    assert reply.text == "sorry"


async def test_it_runs_calls_side_by_side_and_keeps_their_order(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_run, running = asyncio.Event(), set[str]()
    first_may_end = asyncio.Event()

    async def slow(spec: ToolSpec, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        running.add(arguments["expression"])
        if len(running) == 2:
            both_run.set()
        await both_run.wait()
        if arguments["expression"] == "a":
            await first_may_end.wait()
        return ToolResult(arguments["expression"])

    monkeypatch.setattr(toolbox, "run_tool", slow)
    model = script(
        calls(call("calculator", {"expression": "a"}), call("calculator", {"expression": "b"})),
        says("done"),
    )
    finished: list[str] = []
    async with aclosing(run_turn(asked(), assistant(tools=(tool(),)))) as events:
        async for event in events:
            if isinstance(event, ToolReturned):
                finished.append(event.output)
                first_may_end.set()
    assert finished == ["b", "a"]
    results = [m.text for m in model.requests[1].messages if isinstance(m, ToolMessage)]
    assert results == [framed("a"), framed("b")]


async def test_it_gives_repeated_call_ids_their_own(script: Script) -> None:
    one = call("calculator", {"expression": "1"}, "same")
    two = call("calculator", {"expression": "2"}, "same")
    model = script(
        calls(one, two), calls(call("calculator", {"expression": "3"}, "same")), says("k")
    )
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert len({called.call_id for called in reply.tool_calls}) == 3
    assert [result.output for result in reply.tool_results] == ["1", "2", "3"]
    results = [m for m in model.requests[2].messages if isinstance(m, ToolMessage)]
    assert [(m.call_id, m.text) for m in results] == [
        (called.call_id, framed(text)) for called, text in zip(reply.tool_calls, "123", strict=True)
    ]


async def test_it_stops_a_tool_that_takes_too_long(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: Any) -> ToolResult:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(toolbox, "run_tool", never)
    script(calls(call("calculator", {"expression": "1"})), says("It took too long."))
    reply = await answer(asked(), assistant(tools=(tool(timeout_ms=20),)))
    assert (reply.tool_results[0].code, reply.text) == (504, "It took too long.")
    assert "0.02 s" in reply.tool_results[0].message


async def test_it_goes_on_after_a_tool_that_crashes(
    script: Script, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def crash(*_: Any) -> ToolResult:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(toolbox, "run_tool", crash)
    model = script(calls(call("calculator", {"expression": "1"})), says("It failed."))
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert (reply.tool_results[0].code, reply.text) == (500, "It failed.")
    assert "secret detail" not in str(model.requests[1])
    assert "secret detail" in caplog.text


async def test_it_cuts_long_results(script: Script) -> None:
    device = Device(ClientToolResult("x" * 20_000))
    model = script(calls(call("read", {})), says("ok"))
    runtime = assistant(tools=(device_tool("read", waits=True),))
    reply = await answer(asked(), runtime, client_tools=device)
    assert len(reply.tool_results[0].output) == 8000
    result = model.requests[1].messages[-1]
    assert isinstance(result, ToolMessage)
    assert unframed(result.text).endswith("of 20000 bytes are shown]")


# --- Limits --------------------------------------------------------------------------------------


async def test_it_refuses_the_third_identical_call_in_a_row_and_closes(script: Script) -> None:
    again = calls(call("calculator", {"expression": "1"}))
    model = script(again, again, again, says("It is 1."))
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert [result.code for result in (*reply.tool_results, *reply.refusals)] == [200, 200, 429]
    assert [request.tool_choice for request in model.requests] == ["auto", "auto", "auto", "none"]
    assert model.requests[-1].tools
    assert (reply.text, reply.reason) == ("It is 1.", "tool_limit")


async def test_it_allows_the_same_call_again_after_another(script: Script) -> None:
    one = calls(call("calculator", {"expression": "1"}))
    other = calls(call("calculator", {"expression": "2"}))
    script(one, one, other, one, says("ok"))
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert (len(reply.tool_results), reply.refusals, reply.reason) == (4, (), "stop")


async def test_it_refuses_the_fourth_identical_call_also_when_others_come_between(
    script: Script,
) -> None:
    steps = [calls(call("calculator", {"expression": each})) for each in "1212121"]
    model = script(*steps, says("It is 1."))
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert (len(reply.tool_results), len(reply.refusals)) == (6, 1)
    assert [request.tool_choice for request in model.requests] == [*["auto"] * 7, "none"]
    assert (reply.text, reply.reason) == ("It is 1.", "tool_limit")


@pytest.mark.parametrize("part", [call("rm", {}), call("calculator", "{oops")])
async def test_it_closes_where_a_refused_call_is_repeated(script: Script, part: Any) -> None:
    model = script(*[calls(part)] * 3, says("I cannot."))
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert reply.refusals[-1].code == 429
    assert model.requests[-1].tool_choice == "none"
    assert (len(model.requests), reply.text) == (4, "I cannot.")


async def test_it_ends_after_ten_model_calls_with_a_closing_answer(script: Script) -> None:
    steps = [calls(call("calculator", {"expression": str(n)})) for n in range(MAX_MODEL_CALLS - 1)]
    model = script(*steps, says("That is all."))
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert len(model.requests) == MAX_MODEL_CALLS == 10
    assert [request.tool_choice for request in model.requests] == [*["auto"] * 9, "none"]
    assert model.requests[-1].tools
    assert (reply.text, reply.reason) == ("That is all.", "tool_limit")
    assert reply.usage == Usage(100, 20)


async def test_it_runs_no_tool_that_the_closing_answer_asks_for(script: Script) -> None:
    steps = [calls(call("calculator", {"expression": str(n)})) for n in range(MAX_MODEL_CALLS)]
    model = script(*steps)
    reply = await answer(asked(), assistant(tools=(tool(),)))
    assert len(model.requests) == MAX_MODEL_CALLS
    assert len(reply.tool_results) == MAX_MODEL_CALLS - 1
    assert reply.error is not None
    assert reply.error.code == "llm.empty_answer"


# --- The caller's device -------------------------------------------------------------------------


async def test_it_waits_for_the_device_where_the_tool_says_so(script: Script) -> None:
    device = Device(ClientToolResult('{"selected_id": "b"}'))
    model = script(calls(call("choose", {})), says("You chose b."))
    runtime = assistant(tools=(device_tool("choose", waits=True),))
    reply = await answer(asked(), runtime, client_tools=device)
    assert [called.executor for called in device.asked] == ["client"]
    assert reply.tool_results[0].output == '{"selected_id": "b"}'
    assert isinstance(model.requests[1].messages[-1], ToolMessage)
    assert model.requests[1].messages[-1].text == framed('{"selected_id": "b"}')


async def test_it_does_not_wait_where_the_tool_does_not(script: Script) -> None:
    device = Device(None)
    script(calls(call("camera", {})), says("It is on."))
    runtime = assistant(tools=(device_tool("camera", waits=False),))
    reply = await answer(asked(), runtime, client_tools=device)
    assert device.asked == []
    assert (reply.tool_results[0].code, reply.tool_results[0].message) == (200, "accepted")
    assert reply.tool_calls[0].wait_for_response is False


async def test_it_goes_on_when_the_device_does_not_answer(script: Script) -> None:
    device = Device(None)
    script(calls(call("choose", {})), says("Then not."))
    runtime = assistant(tools=(device_tool("choose", waits=True, timeout_ms=20),))
    reply = await answer(asked(), runtime, client_tools=device)
    assert (reply.tool_results[0].code, reply.text) == (504, "Then not.")
    assert device.was_cancelled


async def test_it_offers_no_device_tools_without_a_device(script: Script) -> None:
    model = script(calls(call("camera", {})), says("I cannot."))
    runtime = assistant(tools=(device_tool("camera", waits=False), tool()))
    reply = await answer(asked(), runtime)
    assert [schema.name for schema in model.requests[0].tools] == ["calculator"]
    assert [refusal.code for refusal in reply.refusals] == [404]


async def test_it_accepts_silence_after_a_tool(script: Script) -> None:
    device = Device(None)
    script(calls(call("show", {})), [ChatEnd("stop", Usage(1, 1))])
    runtime = assistant(tools=(device_tool("show", waits=False),))
    reply = await answer(asked(), runtime, client_tools=device)
    assert (reply.error, reply.reason, reply.text) == (None, "stop", "")


# --- Closing -------------------------------------------------------------------------------------


async def test_it_closes_the_models_stream_when_closed(script: Script) -> None:
    model = script(says("one", "two"), hangs_at_end=True)
    async with aclosing(run_turn(asked(), assistant())) as events:
        async for event in events:
            if event == TextDelta("one"):
                break
        assert (model.opened, model.closed) == (1, 0)
    assert (model.opened, model.closed) == (1, 1)


async def test_it_closes_the_models_stream_when_its_task_is_cancelled(script: Script) -> None:
    model = script(says("one"), hangs_at_end=True)
    has_begun = asyncio.Event()

    async def listen() -> None:
        async with aclosing(run_turn(asked(), assistant())) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    has_begun.set()

    listening = asyncio.create_task(listen())
    await has_begun.wait()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert (model.opened, model.closed) == (1, 1)


async def test_it_cancels_waiting_tools_when_closed(script: Script) -> None:
    device = Device(None)
    quick = call("calculator", {"expression": "1"})
    script(calls(quick, call("choose", {})), says("never"))
    runtime = assistant(tools=(tool(), device_tool("choose", waits=True)))
    seen: list[TurnEvent] = []
    async with aclosing(run_turn(asked(), runtime, client_tools=device)) as events:
        async for event in events:
            seen.append(event)
            if isinstance(event, ToolReturned):
                break
    assert device.was_cancelled
    # What had come back before is known to whoever listened.
    assert [event.output for event in seen if isinstance(event, ToolReturned)] == ["1"]


async def test_it_hands_over_running_server_tools_when_closed(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, may_end = asyncio.Event(), asyncio.Event()

    async def order_pizza(*_: Any) -> ToolResult:
        has_begun.set()
        await may_end.wait()
        return ToolResult("ordered")

    monkeypatch.setattr(toolbox, "run_tool", order_pizza)
    script(calls(call("calculator", {"expression": "1"}, "c1")), says("never"))
    adopted: list[asyncio.Task[ToolReturned]] = []
    events = run_turn(asked(), assistant(tools=(tool(),)), adopt=adopted.append)

    async def listen() -> None:
        async with aclosing(events):
            async for _ in events:
                pass

    listening = asyncio.create_task(listen())
    await has_begun.wait()
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    may_end.set()
    (task,) = adopted
    returned = await task
    assert (returned.call_id, returned.output, returned.code) == ("c1", "ordered", 200)


async def test_it_hands_over_no_result_that_it_has_given(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def echo(spec: ToolSpec, arguments: dict[str, Any], context: ToolContext) -> ToolResult:
        return ToolResult(arguments["expression"])

    monkeypatch.setattr(toolbox, "run_tool", echo)
    script(calls(*(call("calculator", {"expression": each}) for each in "123")), says("never"))
    adopted: list[asyncio.Task[ToolReturned]] = []
    given: list[str] = []
    events = run_turn(asked(), assistant(tools=(tool(),)), adopt=adopted.append)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ToolReturned):
                given.append(event.output)
                break
    later = [task.result().output for task in adopted]
    assert len(given) == 1
    assert sorted(given + later) == ["1", "2", "3"]


async def test_it_hands_over_what_a_device_had_answered_already(script: Script) -> None:
    device = Device(ClientToolResult("yes"))
    names = ("one", "two")
    script(calls(*(call(name, {}) for name in names)), says("never"))
    adopted: list[asyncio.Task[ToolReturned]] = []
    runtime = assistant(tools=tuple(device_tool(name, waits=True) for name in names))
    events = run_turn(asked(), runtime, client_tools=device, adopt=adopted.append)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ToolReturned):
                break
    assert [task.result().output for task in adopted] == ["yes"]
