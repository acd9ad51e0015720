"""Which option is meant by what somebody says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.choices import Choice, Option, label_of, match, normalised, options_of

TEA = (Option("green", "Green tea"), Option("black", "Black tea"), Option("coffee", "Coffee"))
TEA_ZH = (Option("a", "绿茶"), Option("b", "红茶"), Option("c", "咖啡"))
PEOPLE = (Option("o1", "2 people"), Option("o2", "4 people"), Option("o3", "6 people"))
LETTERS = (Option("a", "Standard"), Option("b", "Express"))
YES_NO = (Option("y", "Yes"), Option("n", "No"))
YES_NO_ZH = (Option("1", "确认"), Option("2", "取消"))

CHOSEN = [
    (TEA, "Green tea.", "green"),
    (TEA, "green", "green"),
    (TEA, "I'd like the green tea, please", "green"),
    (TEA, "um, black tea thank you", "black"),
    (TEA, "COFFEE!", "coffee"),
    (TEA, "The second one.", "black"),
    (TEA, "second", "black"),
    (TEA, "the 3rd option please", "coffee"),
    (TEA, "number two", "black"),
    (TEA, "option 2", "black"),
    (TEA, "Two.", "black"),
    (TEA, "to", "black"),
    (TEA, "the last one", "coffee"),
    (TEA, "第二个", "black"),
    (TEA, "我选第三个", "coffee"),
    (TEA_ZH, "绿茶", "a"),
    (TEA_ZH, "我要红茶，谢谢。", "b"),
    (TEA_ZH, "来个咖啡吧", "c"),
    (TEA_ZH, "红", "b"),
    (TEA_ZH, "红的那个", "b"),
    (TEA_ZH, "那个，来一杯绿茶", "a"),
    (TEA_ZH, "第一个", "a"),
    (TEA_ZH, "就选第二项吧", "b"),
    (TEA_ZH, "三号", "c"),
    (TEA_ZH, "二", "b"),
    (TEA_ZH, "选项2", "b"),
    (TEA_ZH, "最后一个", "c"),
    (TEA_ZH, "the second one", "b"),
    (TEA_ZH, "option B", "b"),
    (PEOPLE, "four", "o2"),
    (PEOPLE, "4 people please", "o2"),
    (PEOPLE, "the second one", "o2"),
    (PEOPLE, "option three", "o3"),
    (PEOPLE, "两", "o1"),
    (LETTERS, "A", "a"),
    (LETTERS, "option a", "a"),
    (LETTERS, "an express", "b"),
    (YES_NO, "Yeah, sure", "y"),
    (YES_NO, "yes please", "y"),
    (YES_NO, "yep", "y"),
    (YES_NO, "no thank you", "n"),
    (YES_NO, "好的", "y"),
    (YES_NO, "不用了", "n"),
    (YES_NO_ZH, "取消", "2"),
    (YES_NO_ZH, "确定", "1"),
]


@pytest.mark.parametrize(("options", "spoken", "chosen"), CHOSEN)
def test_it_understands_labels_ids_and_places(
    options: tuple[Option, ...], spoken: str, chosen: str
) -> None:
    choice = match(spoken, options, "en")
    assert (choice.option.id if choice and choice.option else None) == chosen


@pytest.mark.parametrize(
    "spoken",
    ["cancel", "Cancel that, please.", "never mind", "none of them", "取消", "算了吧", "都不要"],
)
def test_it_understands_that_none_is_wanted(spoken: str) -> None:
    assert match(spoken, TEA, "en") == Choice(None)


@pytest.mark.parametrize(
    ("options", "spoken"),
    [
        (TEA, ""),
        (TEA, "please"),
        (TEA, "tea"),
        (TEA, "the fourth one"),
        (TEA, "number zero"),
        (TEA, "not the green tea"),
        (TEA, "What does the green tea cost?"),
        (TEA, "do you have green tea"),
        (TEA, "what is the second one"),
        (TEA, "green tea or black tea"),
        (TEA, "the second one without sugar"),
        (TEA, "no"),
        (TEA, "is it the second one"),
        (TEA, "Is that the green tea?"),
        (TEA, "I want that one please"),
        (TEA_ZH, "绿茶呢"),
        (TEA_ZH, "茶"),
        (TEA_ZH, "我不要绿茶"),
        (TEA_ZH, "绿茶多少钱"),
        (TEA_ZH, "有红茶吗"),
        (TEA_ZH, "绿茶和红茶有什么区别"),
        (TEA_ZH, "第四个"),
        (PEOPLE, "three"),
        (PEOPLE, "people"),
        (TEA_ZH, "两个"),
        (TEA_ZH, "两个都要"),
        ((Option("1", "C"), Option("2", "C++")), "c"),
        (TEA, "green " * 100),
    ],
)
def test_it_leaves_to_the_model_what_is_no_plain_choice(
    options: tuple[Option, ...], spoken: str
) -> None:
    assert match(spoken, options, "en") is None


def test_slips_of_a_recogniser_are_those_of_the_language() -> None:
    assert match("to", TEA, "en") == Choice(TEA[1])
    assert match("to", TEA, "zh") is None


def test_an_options_own_words_come_before_cancelling_and_counting() -> None:
    options = (Option("keep", "Second class"), Option("stop", "Cancel"))
    assert match("cancel", options, "en") == Choice(options[1])
    assert match("second", options, "en") == Choice(options[0])
    assert match("the second one", options, "en") == Choice(options[1])
    assert match("second class", options, "en") == Choice(options[0])


def test_a_plain_string_is_an_option_named_by_its_place() -> None:
    arguments: dict[str, Any] = {"question": "?", "options": ["Tea", {"id": "x", "label": "Milk"}]}
    whole = normalised(arguments)
    assert whole["options"] == [{"id": "opt_1", "label": "Tea"}, {"id": "x", "label": "Milk"}]
    assert options_of(whole) == (Option("opt_1", "Tea"), Option("x", "Milk"))
    assert normalised({"msg": "m"}) == {"msg": "m"}
    assert options_of({}) == ()


def test_a_choice_is_told_as_clients_tell_it() -> None:
    chosen = Choice(Option("a", "绿茶")).output
    assert json.loads(chosen) == {"selected_id": "a", "selected_label": "绿茶", "cancelled": False}
    assert label_of(chosen) == "绿茶"
    none = Choice(None).output
    assert json.loads(none) == {"selected_id": None, "selected_label": None, "cancelled": True}
    assert [label_of(text) for text in (none, "", "B", "[1]")] == ["", "", "", ""]


@given(st.text(max_size=80), st.lists(st.text(max_size=12), min_size=2, max_size=5))
def test_whatever_is_said_it_chooses_an_option_or_none(spoken: str, labels: list[str]) -> None:
    options = options_of(normalised({"options": labels}))
    choice = match(spoken, options, "zh")
    assert choice is None or choice.option is None or choice.option in options
