"""The voice page with a real browser, a real server and real speech."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeAssistant, Network, OpenWindow
from tests.browser.product import INSECURE_HOST, Product, Web
from tests.browser.talkpage import PHONE

pytestmark = pytest.mark.browser

OPENER = "Hello! I am here to be heard."
PAGE_LANGUAGES = {"en-US": "en", "zh-CN": "zh-hans"}
COUNT = "one, two, three, four, five, six and seven"
LONG = (
    "one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, thirteen, "
    "fourteen, fifteen, sixteen, seventeen, eighteen, nineteen and twenty"
)


def test_it_speaks_the_opener(web: Web, assistant: MakeAssistant, window: OpenWindow) -> None:
    page = window()
    assert page.open(f"{web.url}/talk/{assistant(opener=OPENER)}") == 200
    page.start()
    page.wait_for_stats("talk.playedMs > 1000 && talk.peak > 0.05")
    page.wait_for_state("listening")
    expect(page.replies.locator(".heard")).to_have_text(OPENER)
    expect(page.replies.locator(".coming")).to_be_empty()


def test_it_answers_speech_with_speech(
    web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{web.url}/talk/{assistant(firstTurnMode='user_first')}")
    page.start()
    page.speak("What can you do?")
    expect(page.turns).to_have_count(1)
    assert page.turns.locator(".heard").inner_text().strip()
    page.wait_for_stats("talk.playedMs > 500 && talk.peak > 0.05")
    expect(page.replies.locator(".latency")).to_contain_text("s · heard after")


def test_it_hears_the_browsers_own_microphone(
    web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window("What can you do?", 5.0)
    page.open(f"{web.url}/talk/{assistant(firstTurnMode='user_first')}")
    page.start()
    # The call may have begun in the middle of the sentence, which comes again.
    expect(page.turns.filter(has_text="what can")).not_to_have_count(0)
    page.wait_for_stats("talk.playedMs > 500 && talk.peak > 0.05")


def test_it_falls_silent_when_talked_over(
    web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{web.url}/talk/{assistant(firstTurnMode='user_first')}")
    page.start()
    page.say(LONG)
    page.wait_for_stats("talk.playedMs > 500")
    page.speak("Please stop, that is quite enough for me now.")
    reply = page.page.locator("#log .reply[data-interrupted=true]")
    expect(reply).to_have_count(1)
    page.wait_for_stats("talk.silenceMs >= 0")
    assert page.stats()["silenceMs"] < 250
    expect(reply).to_contain_text("interrupted")
    heard = reply.locator(".heard").inner_text().removesuffix("—").strip()
    assert heard
    assert "twenty" not in heard
    expect(reply.locator(".coming")).to_be_empty()


def test_it_stops_the_answer_on_escape(
    web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{web.url}/talk/{assistant(opener=LONG)}")
    page.start()
    page.wait_for_stats("talk.playedMs > 300")
    page.page.keyboard.press("Escape")
    page.wait_for_stats("talk.silenceMs >= 0")
    page.wait_for_state("listening")
    assert "twenty" not in page.replies.locator(".heard").inner_text()


def test_it_listens_only_while_the_key_is_held(
    web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{web.url}/talk/{assistant(firstTurnMode='user_first', endOfTurnSilenceMs=3000)}")
    page.page.check("#push-to-talk")
    page.start()
    page.speak("Nobody should hear this.")
    # Everything of it is sent with the frames of another second.
    page.wait_for_stats(f"talk.framesSent > {page.stats()['framesSent'] + 50}")
    assert "hearing" not in page.states
    page.page.keyboard.down("Space")
    page.speak("What can you do?")
    page.wait_for_states("hearing", "listening")
    page.page.keyboard.up("Space")
    page.wait_for_stats("talk.playedMs > 300")
    assert page.turns.count() == 1


def test_it_takes_written_messages(web: Web, assistant: MakeAssistant, window: OpenWindow) -> None:
    page = window()
    page.open(f"{web.url}/talk/{assistant(firstTurnMode='user_first')}")
    page.page.click("#start-silent")
    page.say("Hello there")
    expect(page.turns).to_have_text(["You: Hello there"])
    expect(page.replies.locator(".heard")).to_contain_text("Hello")
    page.wait_for_stats("talk.playedMs > 300")
    assert page.stats()["framesSent"] == 0


def test_it_goes_on_in_writing_without_a_microphone(
    web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window(is_refused=True)
    page.open(f"{web.url}/talk/{assistant(firstTurnMode='user_first')}")
    page.start()
    expect(page.notices).to_contain_text("may not use the microphone")
    page.say("Hello there")
    expect(page.replies.locator(".heard")).to_contain_text("Hello")


def test_it_talks_in_writing_where_browsers_allow_no_sound(
    web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    insecure = web.url.replace("localhost", INSECURE_HOST)
    page.open(f"{insecure}/talk/{assistant(opener=OPENER)}")
    page.start()
    expect(page.notices).to_contain_text("only over HTTPS")
    expect(page.replies.locator(".heard")).to_have_text(OPENER)
    page.wait_for_state("listening")
    assert page.stats()["playedMs"] == 0


def test_it_ends_the_call_and_gives_the_microphone_back(
    web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{web.url}/talk/{assistant(firstTurnMode='user_first')}")
    page.start()
    page.wait_for_stats("talk.framesSent > 5")
    page.page.click("#hang-up")
    page.wait_for_state("ended")
    tracks = "window.microphone.ear.stream.getTracks().map((track) => track.readyState)"
    assert page.page.evaluate(tracks) == ["ended"]
    expect(page.notices).to_have_count(0)
    expect(page.page.locator("#start")).to_contain_text("Call again")


def test_it_goes_on_talking_over_a_network_that_breaks(
    network: Network, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{network.url}/talk/{assistant(firstTurnMode='user_first')}")
    page.start()
    page.say(COUNT)
    page.wait_for_stats("talk.playedMs > 500")
    network.break_down()
    expect(page.page.locator("#status")).to_have_text("Reconnecting…")
    network.mend()
    heard = page.replies.locator(".heard")
    expect(heard).to_contain_text("seven")
    assert heard.inner_text().count("seven") == 1
    page.wait_for_state("listening")
    page.speak("What can you do?")
    expect(page.turns).to_have_count(2)
    expect(page.replies).to_have_count(2)
    page.wait_for_states("reconnecting", "hearing", "speaking")
    expect(page.notices).to_have_count(0)


def test_it_gives_up_when_the_server_stays_away(
    network: Network, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.open(f"{network.url}/talk/{assistant(firstTurnMode='user_first')}")
    page.start()
    page.wait_for_state("listening")
    page.page.clock.install()
    network.break_down()
    page.wait_for_state("reconnecting")
    page.page.clock.run_for(120_000)
    expect(page.notices).to_contain_text("was lost")
    page.page.clock.resume()
    page.page.get_by_role("button", name="Reconnect").click()
    expect(page.notices).to_contain_text("could not be reached")


def test_it_tells_that_an_assistant_is_unknown(web: Web, window: OpenWindow) -> None:
    page = window()
    assert page.open(f"{web.url}/talk/nobody") == 404
    expect(page.page.locator("#welcome")).to_contain_text("does not exist, or it is private")


def test_it_lets_a_key_in_to_a_private_assistant(
    product: Product, web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    private = assistant(isPublic=False, opener=OPENER)
    assert page.open(f"{web.url}/talk/{private}") == 404
    assert OPENER not in page.page.content()
    page.page.fill("#key", "sk-gw-wrong")
    page.start()
    expect(page.notices).to_contain_text("API key is wrong")
    page.page.fill("#key", product.login.key)
    page.start()
    page.wait_for_stats("talk.playedMs > 300")


def test_it_lets_the_console_session_in(
    product: Product, web: Web, assistant: MakeAssistant, window: OpenWindow
) -> None:
    page = window()
    page.sign_in(web.url, product.login.username, product.login.password)
    assert page.open(f"{web.url}/talk/{assistant(isPublic=False, opener=OPENER)}") == 200
    page.start()
    page.wait_for_stats("talk.playedMs > 300")


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_it_fits_a_phone(
    web: Web, assistant: MakeAssistant, window: OpenWindow, language: str
) -> None:
    page = window(size=PHONE, language=language)
    page.open(f"{web.url}/talk/{assistant(name='N' * 90, firstTurnMode='user_first')}")
    assert page.page.locator("html").get_attribute("lang") == PAGE_LANGUAGES[language]
    for _step in ("before the call", "during the call"):
        assert page.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert page.page.evaluate("document.documentElement.scrollHeight") == PHONE["height"]
        if page.page.locator("#start").is_visible():
            page.start()
            page.wait_for_state("listening")
