"""The sources under an answer, in writing and as it is heard."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeAssistant, OpenWindow
from tests.browser.product import Product, Web
from tests.browser.talkpage import DESKTOP, PHONE, TalkPage

pytestmark = pytest.mark.browser

GIVE_KNOWLEDGE = """
from accounts.models import User
from assistants.models import Assistant
from tests.conversations.library import museum
base = museum(User.objects.get(username={username!r}))
Assistant.objects.get(pk={assistant!r}).set_knowledge_bases([base.pk])
"""
NOTE_WHEN_CITED = """() => new MutationObserver((_changes, observer) => {
  const reply = document.querySelector("#log .reply:has(.sources)");
  if (!reply) return;
  observer.disconnect();
  window.heardWhenCited = reply.querySelector(".heard").textContent;
}).observe(document.querySelector("#log"), { childList: true, subtree: true })"""
WIDER_THAN_SCREEN = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture
def librarian(product: Product, assistant: MakeAssistant) -> MakeAssistant:
    """Makes assistants that know the museum's handbook."""

    def make(**fields: object) -> str:
        made = assistant(firstTurnMode="user_first", **fields)
        code = GIVE_KNOWLEDGE.format(username=product.login.username, assistant=made)
        product.manage("shell", "-c", code)
        return made

    return make


def sources_of(page: TalkPage) -> list[str]:
    shown = page.page.locator("#log .sources summary")
    return [" ".join(text.split()) for text in shown.all_inner_texts()]


@pytest.mark.parametrize(
    ("size", "language", "question", "source", "passage"),
    [
        (
            DESKTOP,
            "en",
            "What does ERR-4711 mean?",
            "1 Handbook.pdf p. 1",
            "the paper roll is empty",
        ),
        (PHONE, "zh", "咖啡多少钱？", "1 手册.pdf", "一杯咖啡三欧元"),
    ],
)
def test_it_shows_the_sources_that_an_answer_cites(
    web: Web,
    librarian: MakeAssistant,
    window: OpenWindow,
    tmp_path: Path,
    size: dict[str, int],
    language: str,
    question: str,
    source: str,
    passage: str,
) -> None:
    locale = {"en": "en-US", "zh": "zh-CN"}[language]
    page = window(size=size, language=locale)
    page.open(f"{web.url}/talk/{librarian(language=language, voiceOutputEnabled=False)}")
    page.page.click("#start-silent")
    page.say(question)
    reply = page.replies.first
    expect(reply.locator(".heard sup")).to_have_text("1")
    assert "[1]" not in reply.locator(".heard").inner_text()
    first = reply.locator(".sources details").first
    expect(first).to_be_visible()
    assert sources_of(page)[0].startswith(source)
    expect(first.locator("blockquote")).not_to_be_visible()
    first.locator("summary").click()
    expect(first.locator("blockquote")).to_contain_text(passage)
    expect(first.locator("blockquote")).to_be_visible()
    assert not page.page.evaluate(WIDER_THAN_SCREEN)
    said = page.page.locator("#announcer p").last.inner_text()
    assert source.split()[1] in said
    assert "[1]" not in said
    page.say("Hello" if language == "en" else "你好")
    expect(page.replies).to_have_count(2)
    page.wait_for_state("listening")
    expect(page.replies.last.locator(".sources")).to_have_count(0)
    # What somebody opened stays open.
    expect(first.locator("blockquote")).to_be_visible()


def test_sources_appear_with_the_words_that_cite_them(
    web: Web, librarian: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{web.url}/talk/{librarian()}")
    page.page.click("#start-silent")
    page.page.evaluate(NOTE_WHEN_CITED)
    page.say("How much is a coffee?")
    page.page.wait_for_function("() => window.heardWhenCited")
    assert "three euros" in page.page.evaluate("window.heardWhenCited")
    expect(page.page.locator("#log .sources details")).to_have_count(1)
    assert sources_of(page) == ["1 Handbook.pdf p. 1"]


def test_it_says_that_documents_are_searched(
    web: Web, librarian: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{web.url}/talk/{librarian(voiceOutputEnabled=False, knowledgeMode='tool')}")
    page.page.click("#start-silent")
    page.say("What does ERR-4711 mean?")
    expect(page.page.locator("#log .tool")).to_have_text("Looked it up in the documents")
    expect(page.page.locator("#log .sources details").first).to_be_visible()
