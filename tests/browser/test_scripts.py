"""The parts of the page's scripts that need neither sound nor server, run where they will run."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenWindow
from tests.browser.product import Web
from tests.realtime.marks import INDICES, MARKS

pytestmark = pytest.mark.browser

SPLIT = """async ([text, segments, playedMs, more]) => {
  const page = document.querySelector("script[type=module]").src;
  const { split } = await import(page.replace(/page[^/]*$/, "captions.js"));
  const reply = {
    text, segments: segments.map(([text, atMs, endMs]) => ({ text, atMs, endMs })), playedMs,
    receivedMs: 3000, isReceived: true, isSpoken: true, isHeard: false, heard: null, ...more,
  };
  return split(reply);
}"""
ENGLISH: list[list[str | int]] = [["One two three.", 0], ["Four five six seven.", 1000]]
CHINESE: list[list[str | int]] = [["今天天气很好。", 0], ["我们去公园吧。", 1000]]


HEARD = [
    (ENGLISH, " ", 0, ""),
    (ENGLISH, " ", 500, "One two"),
    (ENGLISH, " ", 1000, "One two three."),
    (ENGLISH, " ", 2200, "One two three. Four five"),
    (ENGLISH, " ", 3000, "One two three. Four five six seven."),
    (CHINESE, "", 500, "今天天"),
    (CHINESE, "", 3000, "今天天气很好。我们去公园吧。"),
]


def test_its_captions_follow_the_sound_word_by_word(web: Web, window: OpenWindow) -> None:
    page = window().page
    page.goto(f"{web.url}/talk/nobody")
    for segments, glue, played_ms, heard in HEARD:
        text = glue.join(str(part) for part, _ in segments)
        shown = page.evaluate(SPLIT, [text, segments, played_ms, {}])
        assert shown["heard"].rstrip() == heard
        assert shown["heard"] + shown["coming"] == text


def test_its_captions_show_as_heard_what_was_played_to_its_known_end(
    web: Web, window: OpenWindow
) -> None:
    page = window().page
    page.goto(f"{web.url}/talk/nobody")
    question = "What would you like to drink?"
    goes_on = {"isReceived": False, "receivedMs": 1340}
    for end, played_ms, heard in (
        ([], 1340, "What would you like"),
        ([1340], 1340, question),
        ([1340], 1200, "What would you like to"),
    ):
        shown = page.evaluate(SPLIT, [question, [[question, 0, *end]], played_ms, goes_on])
        assert shown["heard"].rstrip() == heard
        assert shown["heard"] + shown["coming"] == question


def test_its_captions_keep_what_an_interruption_left(web: Web, window: OpenWindow) -> None:
    page = window().page
    page.goto(f"{web.url}/talk/nobody")
    cut = page.evaluate(SPLIT, ["One two three.", ENGLISH[:1], 900, {"heard": "One"}])
    assert cut == {"heard": "One", "coming": ""}
    silent = page.evaluate(SPLIT, ["One two three.", [], 0, {"isSpoken": False}])
    assert silent == {"heard": "One two three.", "coming": ""}


CITES = """async ([texts, indices]) => {
  const page = document.querySelector("script[type=module]").src;
  const { quoted, withoutMarks } = await import(page.replace(/page[^/]*$/, "sources.js"));
  const sources = indices.map((index) => ({ index }));
  return texts.map((text) => [
    withoutMarks(text, sources), quoted(text, sources).map(({ index }) => index),
  ]);
}"""


def test_it_reads_sources_as_the_voice_does(web: Web, window: OpenWindow) -> None:
    page = window().page
    page.goto(f"{web.url}/talk/nobody")
    read = page.evaluate(CITES, [[text for text, _, _ in MARKS], INDICES])
    assert read == [[spoken, [*cited]] for _, spoken, cited in MARKS]
