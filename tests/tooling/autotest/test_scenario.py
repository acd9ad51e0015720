from __future__ import annotations

from typing import Any

import pytest

from core.errors import InvalidRequest
from tooling.autotest.scenario import Step, ToolUse, checked_steps, problems_of, step_of


@pytest.mark.parametrize(
    ("word", "answer", "is_said"),
    [
        ("yes", "Yes, of course.", True),
        ("yes", "Yesterday.", False),
        ("no", "I do not know.", False),
        ("no|not", "I do not know.", True),
        ("yes | sure", "SURE!", True),
        ("42", "It is 42.", True),
        ("42", "It is 420.", False),
        ("9:00", "From 9:00 on.", True),
        ("c++", "I know C++.", True),
        ("图书馆", "我们的图书馆九点开门。", True),
        ("九点|9点", "图书馆9点开门。", True),
        ("点", "图书馆9点开门。", True),
        ("wifi", "我们有WiFi。", True),
        (".*", "Anything.", False),
        ("|", "Anything.", False),
    ],
)
def test_it_looks_for_whole_words(word: str, answer: str, is_said: bool) -> None:
    expected = problems_of(Step("?", expect_words=(word,)), answer, [])
    forbidden = problems_of(Step("?", forbid_words=(word,)), answer, [])
    assert (not expected, bool(forbidden)) == (is_said, is_said)


def test_it_wants_tools_to_succeed() -> None:
    step = Step("?", expect_tools=("weather", "search"))
    assert problems_of(step, "", []) == ["Not called: weather, search."]
    failed, worked = ToolUse("weather", is_ok=False), ToolUse("weather", is_ok=True)
    search = ToolUse("search", is_ok=True)
    assert problems_of(step, "", [failed, search]) == ["Called, but failed: weather."]
    assert problems_of(step, "", [failed, worked, search]) == []


def test_it_names_every_problem() -> None:
    step = Step("?", ("sun", "rain"), ("storm",), ("weather",))
    assert problems_of(step, "A storm and rain.", []) == [
        "Not said: “sun”.",
        "Must not be said: “storm”.",
        "Not called: weather.",
    ]


def test_what_was_checked_comes_back_as_a_step() -> None:
    sent = [{"say": "Hello", "expect_words": [" hi | hello "]}]
    (row,) = checked_steps(sent)
    assert row == {
        "say": "Hello",
        "expect_words": ["hi | hello"],
        "forbid_words": [],
        "expect_tools": [],
    }
    assert step_of(row) == Step("Hello", ("hi | hello",))


@pytest.mark.parametrize("row", [{}, {"say": None, "expect_words": "x"}, {"expect_tools": {}}])
def test_a_row_that_was_spoilt_by_hand_does_no_harm(row: dict[str, Any]) -> None:
    assert isinstance(step_of(row), Step)


@pytest.mark.parametrize(
    ("steps", "param"),
    [
        ("Hello", "steps"),
        ([], "steps"),
        ([{"say": "x"}] * 31, "steps"),
        (["Hello"], "steps.0"),
        ([{"say": "x"}, {}], "steps.1.say"),
        ([{"say": "  "}], "steps.0.say"),
        ([{"say": "x" * 4001}], "steps.0.say"),
        ([{"say": "x", "expect": []}], "steps.0"),
        ([{"say": "x", "expect_words": "yes"}], "steps.0.expect_words"),
        ([{"say": "x", "expect_words": [1]}], "steps.0.expect_words"),
        ([{"say": "x", "forbid_words": ["|"]}], "steps.0.forbid_words"),
        ([{"say": "x", "expect_tools": ["t"] * 21}], "steps.0.expect_tools"),
        ([{"say": "x", "expect_tools": ["t" * 201]}], "steps.0.expect_tools"),
    ],
)
def test_it_says_which_step_is_wrong(steps: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked_steps(steps)
    assert caught.value.param == param
