"""How much of a question a text has, by its words."""

from __future__ import annotations

import pytest

from providers.wording import ENOUGH, shares, terms_of

TEXTS = (
    "The museum opens at nine. It closes at six.",
    "A cup of coffee is three euros.",
    "博物馆周二至周六九点开门。",
    "一杯咖啡三欧元。",
)


@pytest.mark.parametrize(
    ("question", "about"),
    [
        ("When does the museum open?", {0}),
        ("opening times of the museum", {0}),
        ("How much is a coffee?", {1}),
        ("COFFEES?", {1}),
        ("博物馆几点开门？", {2}),
        ("咖啡多少钱一杯？", {3}),
        ("What is quantum mechanics?", set()),
        ("什么是量子力学？", set()),
        ("How much is it?", set()),
        ("多少钱？", set()),
        ("", set()),
    ],
)
def test_a_text_is_about_a_question_with_whose_words_it_agrees(
    question: str, about: set[int]
) -> None:
    assert {at for at, share in enumerate(shares(question, TEXTS)) if share >= ENOUGH} == about


def test_a_word_that_few_texts_have_weighs_more() -> None:
    texts = ("red shop", "green shop", "blue shop")
    red, green, _blue = shares("red shop", texts)
    assert red == 1
    assert green < 0.5


def test_what_stands_nearby_counts_for_less() -> None:
    texts = ("It closes at six.", "It closes at six.")
    beside, alone = shares("When does the shop close?", texts, nearby=("The shop.", ""))
    assert alone < beside < 1


def test_of_a_question_only_what_it_is_about_is_left() -> None:
    assert [term.text for term in terms_of("What are the opening hours, please?")] == [
        "open",
        "hour",
    ]
    assert [term.text for term in terms_of("请问图书馆几点开门？")] == list("图书馆点开门")


@pytest.mark.parametrize("asked", ["KX-9920-B", "kx9920b", "kx\u20119920\u2011b"])
def test_identifiers_are_the_same_with_hyphens_and_without(asked: str) -> None:
    texts = ["The KX-9920-B has two years of warranty.", "The KX-9930-B has three."]
    assert shares(f"What about the {asked}?", texts) == [1.0, 0.0]
