"""What chunks of streamed answers say, with the habits of vendors; no network."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai.profiles import ModelProfile

from providers.clients.openai_answer import Answer
from providers.types import TextPart, ThinkingPart, Thought, ToolCall

JOINER = "\u200d"


def says(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


def calls(index: int | None, name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    said = {"index": index, "function": {"name": name, "arguments": arguments}, **more}
    return says(tool_calls=[said])


def read(answer: Answer, *chunks: dict[str, Any]) -> str:
    """The answer as a reader sees it; thoughts in round brackets."""
    parts = [part for chunk in chunks for part in answer.take(chunk)] + answer.rest()
    assert all(part.text and isinstance(part, TextPart | ThinkingPart) for part in parts)
    return "".join(p.text if isinstance(p, TextPart) else f"({p.text})" for p in parts)


@pytest.mark.parametrize(
    ("chunks", "profile", "seen"),
    [
        ([says(content="a"), says(content=""), says(content=None), says(content="b")], {}, "ab"),
        ([says(content=[{"type": "text", "text": "a"}, {"type": "ref"}, "b"])], {}, "ab"),
        ([{"choices": None}, {"choices": []}, {"choices": [{"delta": None}]}, {}], {}, ""),
        ([says(reasoning="a", content="b")], {}, "(a)b"),
        ([says(reasoning_content="a"), says(reasoning=["?"]), says(content="b")], {}, "(a)b"),
        ([says(mind="a", reasoning="a")], {"openai_chat_thinking_field": "mind"}, "(a)"),
        ([says(content=each) for each in ("<think>", "a", "</think>", "b")], {}, "(a)b"),
        ([says(content=each) for each in ("a", "</think>", " <think>")], {}, "a</think> <think>"),
        ([says(content="<t>"), says(content="a")], {"thinking_tags": ("<t>", "</t>")}, "(a)"),
        ([says(content="\n"), says(content="a")], {}, "\na"),
        (
            [says(content="\n"), says(content="a"), says(content="\n")],
            {"ignore_streamed_leading_whitespace": True},
            "a\n",
        ),
        (
            [says(content="a"), says(reasoning="b"), says(content=" "), says(content="c")],
            {"ignore_streamed_leading_whitespace": True},
            "a(b) c",
        ),
    ],
)
def test_it_reads_what_vendors_send(
    chunks: list[dict[str, Any]], profile: ModelProfile, seen: str
) -> None:
    assert read(Answer(profile), *chunks) == seen


@pytest.mark.parametrize(
    ("pieces", "seen"),
    [
        ([f"<{JOINER}|im_start|>"], "<|im_start|>"),
        (["a <", JOINER, "|im_", "start|> b"], "a <|im_start|> b"),
        (["<", f"{JOINER} b"], f"<{JOINER} b"),
        (["<", JOINER], f"<{JOINER}"),
        (["\U0001f468" + JOINER, "\U0001f469"], f"\U0001f468{JOINER}\U0001f469"),
    ],
)
def test_it_takes_out_what_broke_the_marks_of_models(pieces: list[str], seen: str) -> None:
    chunks = [says(content=piece) for piece in pieces]
    assert read(Answer({"may_tokenize_special_tokens_in_content": True}), *chunks) == seen
    assert read(Answer({}), *chunks) == "".join(pieces)


def test_it_takes_it_out_of_arguments_as_well() -> None:
    answer = Answer({"may_tokenize_special_tokens_in_content": True})
    read(answer, calls(0, "look", '{"a":"<' + JOINER), calls(0, None, '|im_end|>"}'))
    assert [call.arguments for call in answer.calls(limit=9)] == ['{"a":"<|im_end|>"}']


def test_it_puts_calls_together() -> None:
    answer = Answer({})
    read(
        answer,
        calls(0, "look", "", id="a"),
        calls(1, "count", '{"n"', id="b"),
        calls(0, None, '{"q":'),
        calls(1, "", ":1}"),
        calls(0, None, '"x"}', id=None),
        calls(5, None, "of a call without a name"),
    )
    assert answer.calls(limit=9) == [
        ToolCall("a", "look", '{"q":"x"}'),
        ToolCall("b", "count", '{"n":1}'),
    ]
    assert answer.calls(limit=1) == [ToolCall("a", "look", '{"q":"x"}')]


def test_it_takes_calls_without_numbers_ids_or_text() -> None:
    answer = Answer({})
    read(
        answer,
        calls(None, "look", '{"q":'),
        calls(None, None, "1}"),
        calls(None, "look", {"q": 2}),
        calls(None, "look", None),
    )
    found = answer.calls(limit=9)
    assert [call.arguments for call in found] == ['{"q":1}', '{"q": 2}', "{}"]
    assert len({call.id for call in found}) == 3


def test_it_refuses_arguments_of_two_kinds() -> None:
    answer = Answer({})
    answer.take(calls(0, "look", '{"q":'))
    with pytest.raises(ValueError, match="arguments"):
        answer.take(calls(0, None, {"q": 1}))


def test_it_keeps_thoughts_as_they_have_to_be_given_back() -> None:
    answer = Answer({})
    read(
        answer,
        says(reasoning_content="I "),
        says(reasoning_content="look."),
        calls(0, "look", "{}"),
        says(reasoning_content="Hm."),
        *(says(content=each) for each in ("<think>", "mine", "</think>")),
    )
    kind = "reasoning_content"
    assert list(answer.thoughts()) == [Thought("I look.", kind), Thought("Hm.", kind)]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("unheard of", "stop"),
        (None, "stop"),
    ],
)
def test_it_knows_why_an_answer_ended(said: str | None, reason: str) -> None:
    answer = Answer({})
    answer.take({"choices": [{"delta": {"content": "a"}, "finish_reason": said}]})
    assert answer.reason == reason


def test_a_refusal_stays_one() -> None:
    answer = Answer({})
    assert read(answer, says(refusal="No.", content="No.")) == ""
    answer.take({"choices": [{"delta": {"role": "assistant"}, "finish_reason": "stop"}]})
    assert answer.reason == "content_filter"


def test_the_last_count_holds() -> None:
    answer = Answer({})
    for made in (1, 2):
        answer.take({**says(content="a"), "usage": {"prompt_tokens": 9, "completion_tokens": made}})
    answer.take({"choices": [], "usage": None})
    assert answer.counts == (9, 2)


@pytest.mark.parametrize(
    "chunk", [{"choices": 5}, {"choices": [5]}, says(tool_calls=5), says(tool_calls=["x"])]
)
def test_it_takes_no_nonsense(chunk: dict[str, Any]) -> None:
    with pytest.raises((TypeError, AttributeError, ValueError, KeyError)):
        Answer({}).take(chunk)
