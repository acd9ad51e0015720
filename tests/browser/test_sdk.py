"""The JavaScript SDK in a page that is not the product's own, without files of ours beside it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.conftest import MakeAssistant, OpenWindow
from tests.browser.product import Product, Web
from tests.browser.talkpage import TalkPage

pytestmark = pytest.mark.browser

OPENER = "Hello! I am here to be heard."
# Of a caller who may come back, the server ends a call after a minute.
AT_ONCE_MS = 30_000
# The worklets come from the SDK's own source: no option says where they are served.
TALK = """async (assistantId) => {
  const { MicrophoneError, openConversation } = await import("/static/sdk/ai-video-assistant.js");
  const access = () => ({ kind: "open" });
  const talk = await openConversation({ socketUrl: "/ws", assistantId, access });
  const reports = [];
  const isOver = new Promise((resolve) => talk.on("playback", (report) => {
    reports.push(report);
    if (report.type === "finished" || report.type === "cleared") resolve();
  }));
  const opener = new Promise((resolve) => talk.once("response", resolve));
  const microphone = await talk.startMicrophone().then(
    () => new Promise((resolve) => talk.once("level", () => resolve("hears"))),
    (error) => (error instanceof MicrophoneError ? error.code : String(error)),
  );
  talk.stopMicrophone();
  await isOver;
  const told = { microphone, opener: await opener, played: reports.at(-1) };
  const reply = await talk.sendText("Hello there");
  await talk.close();
  return { ...told, reply, state: talk.state };
}"""

CALL = """async (assistantId) => {
  const { openConversation } = await import("/static/sdk/ai-video-assistant.js");
  const access = () => ({ kind: "open" });
  return (await openConversation({ socketUrl: "/ws", assistantId, access })).sessionId;
}"""
HAS_ENDED = """async ([id, key]) => {
  const answer = await fetch(`/api/v1/history/${id}`, { headers: { "X-Api-Key": key } });
  return (await answer.json()).data.ended_at !== null;
}"""


def converse(page: TalkPage, web: Web, assistant: str) -> dict[str, Any]:
    page.open(f"{web.url}/static/sdk/ai-video-assistant.js")
    # Without a click the browser allows no sound.
    page.page.mouse.click(5, 5)
    told: dict[str, Any] = page.page.evaluate(TALK, assistant)
    return told


@pytest.mark.parametrize(
    ("is_refused", "microphone"), [(False, "hears"), (True, "microphone.denied")]
)
def test_it_speaks_and_hears_by_its_own_worklets(
    web: Web, assistant: MakeAssistant, window: OpenWindow, is_refused: bool, microphone: str
) -> None:
    told = converse(window(is_refused=is_refused), web, assistant(opener=OPENER))
    assert told["microphone"] == microphone
    assert told["opener"] == OPENER
    assert (told["played"]["type"], told["state"]) == ("finished", "closed")
    assert told["played"]["playedMs"] > 1000
    assert told["played"]["peak"] > 0.05
    assert told["reply"]


def test_its_conversation_ends_with_the_page(
    product: Product, web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    address = f"{web.url}/static/sdk/ai-video-assistant.js"
    page.open(address)
    session = page.page.evaluate(CALL, assistant(firstTurnMode="user_first"))
    page.open(address)
    asked = [session, product.login.key]
    page.page.wait_for_function(HAS_ENDED, arg=asked, polling=200, timeout=AT_ONCE_MS)
