"""The built-in embedder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from providers import registry
from providers.builtin.hashing import embed_text
from providers.types import EmbedderSpec, Endpoint

SPEC = EmbedderSpec(Endpoint("e", "builtin", "", "", "hashing"), "Hashing", 256)


def likeness(one: str, other: str) -> float:
    return float(embed_text(one) @ embed_text(other))


async def test_it_gives_one_unit_row_per_text() -> None:
    rows = await registry.embedding_model(SPEC).embed(["hello world", "你好世界", "  "])

    assert rows.shape == (3, 256)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), [1, 1, 0], atol=1e-5)
    assert (await registry.embedding_model(SPEC).embed([])).shape == (0, 256)


def test_texts_that_share_words_are_closer() -> None:
    assert likeness("when does the shop open", "The shop opens at nine.") > 2 * abs(
        likeness("when does the shop open", "Cats like fish and milk.")
    )
    assert likeness("咖啡多少钱", "咖啡每杯三十元") > 2 * abs(
        likeness("咖啡多少钱", "今天天气很好")
    )
    assert likeness("Hello  World", "hello world") > 0.99


def test_it_finds_other_forms_of_a_word() -> None:
    assert likeness("How are refunds retried?", "We retry a refund.") > 0.4
    assert likeness("ＥＲＲ－１２", "err-12") > 0.99


def test_words_that_every_question_has_say_little() -> None:
    text = "Wie viele Tage? 请问一下 how can I get it: what is this and where do you have it"
    assert likeness("how can I get the warranty", text) < likeness(
        "how can I get the warranty", "The warranty lasts two years."
    )
    assert likeness("请问怎么保修", "请问一下这是什么") < likeness("请问怎么保修", "保修两年")


def test_only_a_blank_text_has_no_direction() -> None:
    assert embed_text("?!").any()
    assert not embed_text(" \n").any()


def test_it_is_the_same_in_every_process() -> None:
    script = (
        "from providers.builtin.hashing import embed_text; "
        "print(embed_text('hello 世界').tobytes().hex())"
    )
    root = Path(__file__).resolve().parents[3]
    other = subprocess.run(
        [sys.executable, "-c", script],
        cwd=root,
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert other.stdout.strip() == embed_text("hello 世界").tobytes().hex()
