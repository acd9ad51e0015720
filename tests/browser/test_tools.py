"""Every tool of the device, done by the voice page in a real browser for a scripted model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

from providers.fakes import FakeUpstream, Step
from tests.browser.conftest import MakeAssistant, OpenWindow
from tests.browser.product import Product, Web
from tests.browser.speech import duration_ms
from tests.browser.talkpage import DESKTOP, PHONE, TalkPage

pytestmark = pytest.mark.browser

TOOLS = [
    "turn_on_camera",
    "turn_off_camera",
    "increase_volume",
    "decrease_volume",
    "voice_msg_prompt",
    "text_msg_prompt",
    "voice_choice_prompt",
    "text_choice_prompt",
]
DRINKS: dict[str, Any] = {
    "question": "What would you like to drink?",
    "options": [
        {"id": "tea", "label": "Green tea"},
        {"id": "coffee", "label": "Coffee"},
        "Hot chocolate",
    ],
}
DRINKS_ZH: dict[str, Any] = {
    "question": "想喝点什么？",
    "options": [{"id": "tea", "label": "绿茶"}, {"id": "coffee", "label": "咖啡"}, "热巧克力"],
}
SET_UP = """
from accounts.models import User
from assistants.models import Assistant
from providers.models import Llm
owner = User.objects.get(username={username!r})
llm, _ = Llm.objects.get_or_create(
    owner=owner, name="scripted", defaults=dict(
        vendor="openai_compatible", base_url={base_url!r}, model_name="m"))
Llm.objects.filter(pk=llm.pk).update(base_url={base_url!r})
Assistant.objects.filter(pk={assistant!r}).update(llm=llm)
"""
FORGET = """
from providers.models import Llm
Llm.objects.filter(name="scripted").delete()
"""
TELL_TRACKS = """() => {
  const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.tracks = [];
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const stream = await get(wanted);
    window.tracks.push(...stream.getVideoTracks());
    return stream;
  };
}"""
PICTURE = """() => {
  const video = document.querySelector("#camera-picture");
  return video.videoWidth > 0 && video.currentTime > 0;
}"""
PATIENT = """() => {
  window.promptSeen ??= performance.now();
  return performance.now() - window.promptSeen > 550;
}"""
FOCUS = "document.activeElement.dataset.option ?? document.activeElement.id"
# Longer than any test.
UNANSWERED = Step(wait_ms=600_000)
Talk = Callable[..., TalkPage]


@pytest.fixture(scope="module")
def model(product: Product) -> Iterator[FakeUpstream]:
    with FakeUpstream() as running:
        yield running
    # Assistants of other tests would think with it by default.
    product.manage("shell", "-c", FORGET)


@pytest.fixture
def helper(product: Product, assistant: MakeAssistant, model: FakeUpstream) -> MakeAssistant:
    """Makes assistants that think with the scripted model and have every tool of the device."""
    model.reset()

    def make(**fields: Any) -> str:
        made = assistant(**{"tools": TOOLS, "firstTurnMode": "user_first", **fields})
        username = product.login.username
        code = SET_UP.format(username=username, base_url=model.base_url, assistant=made)
        product.manage("shell", "-c", code)
        return made

    return make


@pytest.fixture
def talk(web: Web, helper: MakeAssistant, window: OpenWindow) -> Talk:
    """Opens a page whose assistant answers what is written to it by calling tools."""

    def opened(*, options: dict[str, Any] | None = None, **fields: Any) -> TalkPage:
        page = window(**(options or {}))
        page.open(f"{web.url}/talk/{helper(**fields)}")
        return page

    return opened


def calls(*named: tuple[str, dict[str, Any]]) -> Step:
    return Step(tool_calls=[{"name": name, "arguments": given} for name, given in named])


def call(name: str, **arguments: Any) -> Step:
    return calls((name, arguments))


class Wire:
    """What the server says to a page, on its way there.

    From the first event of the type `held`, nothing arrives until it is let go.
    """

    def __init__(self, page: Page, held: str = "") -> None:
        self.events: list[dict[str, Any]] = []
        self._held = held
        self._waiting: list[str | bytes] = []
        page.route_web_socket("**/ws?*", self._open)

    def send(self, event: dict[str, Any]) -> None:
        """Says something in the server's place."""
        self._socket.send(json.dumps(event))

    def let_go(self) -> None:
        self._held = ""
        for message in self._waiting:
            self._socket.send(message)
        self._waiting.clear()

    def _open(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        socket.connect_to_server().on_message(self._take)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.events.append(json.loads(message))
        if self._waiting or (self._held and self.events[-1]["type"] == self._held):
            self._waiting.append(message)
        else:
            self._socket.send(message)


def lines(page: TalkPage) -> Locator:
    """What the page says of the tools."""
    return page.page.locator("#log .tool:visible")


def dialog(page: TalkPage) -> Locator:
    return page.page.locator("dialog#prompt[open]")


def told(model: FakeUpstream) -> list[str]:
    """The results that the model was told last."""
    asked = model.stats.last("chat")[-1]["body"]["messages"]
    return [message["content"] for message in asked if message["role"] == "tool"]


def result_in(model: FakeUpstream) -> dict[str, Any]:
    """The only result that the model was told, without its marks."""
    text = told(model)[-1]
    found: dict[str, Any] = json.loads(text[text.index("{") : text.rindex("}") + 1])
    return found


# --- camera --------------------------------------------------------------------------------------
def test_it_turns_the_camera_on_and_off(talk: Talk, model: FakeUpstream) -> None:
    page = talk(voiceOutputEnabled=False)
    page.page.evaluate(TELL_TRACKS)
    page.start()
    model.script("chat", call("turn_on_camera"), Step(text="I see you."))
    page.say("Camera on")
    expect(lines(page)).to_have_text(["Camera on"])
    expect(page.page.locator("#camera")).to_be_visible()
    page.page.wait_for_function(PICTURE)
    assert page.page.evaluate("window.tracks.map((track) => track.readyState)") == ["live"]
    model.script("chat", call("turn_off_camera"), Step(text="Gone."))
    page.say("Camera off")
    expect(page.page.locator("#camera")).to_be_hidden()
    expect(lines(page)).to_have_text(["Camera on", "Camera off"])
    assert page.page.evaluate("window.tracks.map((track) => track.readyState)") == ["ended"]


def test_the_user_turns_the_camera_off_too(talk: Talk, model: FakeUpstream) -> None:
    page = talk(voiceOutputEnabled=False)
    page.page.evaluate(TELL_TRACKS)
    page.start()
    for off in ("Turn camera off", "Hang up"):
        model.script("chat", call("turn_on_camera"), Step(text="I see you."))
        page.say("Camera on")
        expect(page.page.locator("#camera")).to_be_visible()
        page.page.get_by_role("button", name=off).click()
        expect(page.page.locator("#camera")).to_be_hidden()
    assert page.page.evaluate("window.tracks.map((t) => t.readyState)") == ["ended", "ended"]


def test_it_says_that_the_camera_is_not_allowed_and_the_model_hears_of_it(
    talk: Talk, model: FakeUpstream
) -> None:
    page = talk(options={"is_refused": True}, voiceOutputEnabled=False)
    page.page.click("#start-silent")
    model.script("chat", call("turn_on_camera"), Step(text="It should be on."))
    page.say("Camera on")
    expect(lines(page)).to_contain_text("may not use the camera")
    expect(page.page.locator("#camera")).to_be_hidden()
    expect(page.replies.locator(".heard")).to_have_text("It should be on.")
    page.say("I see nothing")
    expect(page.replies).to_have_count(2)
    assert "does not allow the camera" in told(model)[-1]


# --- volume --------------------------------------------------------------------------------------
def test_it_changes_the_volume_that_is_heard(talk: Talk, model: FakeUpstream) -> None:
    page = talk()
    page.page.click("#start-silent")
    level = page.page.locator("#volume-level")
    peaks = []
    for name, step, shown in (("increase_volume", 1, "90%"), ("decrease_volume", 6, "30%")):
        model.script("chat", call(name, step=step), Step(text="This is how loud it is now."))
        page.say("Volume, please")
        expect(level).to_have_text(shown)
        expect(lines(page).last).to_have_text(f"Volume: {shown}")
        page.wait_for_stats("talk.playedMs > 800")
        page.wait_for_state("listening")
        peaks.append(page.stats()["lastPeak"])
    # From 90 to 30 of the same words: a ninth of the amplitude.
    assert peaks[1] < peaks[0] / 4
    page.page.locator("#volume").fill("100")
    expect(level).to_have_text("100%")
    model.script("chat", call("increase_volume"), Step(text="As loud as can be."))
    page.say("Louder")
    expect(lines(page).last).to_have_text("Volume: 100%")


# --- messages ------------------------------------------------------------------------------------
def test_it_shows_messages_one_after_the_other(talk: Talk, model: FakeUpstream) -> None:
    page = talk(voiceOutputEnabled=False)
    page.page.click("#start-silent")
    messages = [("text_msg_prompt", {"msg": text}) for text in ("Your code is 4711", "Good bye")]
    model.script("chat", calls(*messages), Step(text="I wrote it down."))
    page.say("Write it down")
    expect(dialog(page).locator("#prompt-text")).to_have_text("Your code is 4711")
    expect(dialog(page)).to_contain_text("1 more after this")
    page.page.get_by_role("button", name="OK").click()
    expect(dialog(page).locator("#prompt-text")).to_have_text("Good bye")
    expect(dialog(page)).not_to_contain_text("more")
    page.page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    expect(lines(page)).to_have_text(["Message: Your code is 4711", "Message: Good bye"])
    expect(page.page.locator("#text")).to_be_focused()


def test_voice_messages_are_heard_and_read(talk: Talk, model: FakeUpstream) -> None:
    page = talk()
    page.page.click("#start-silent")
    model.script(
        "chat", call("voice_msg_prompt", msg="Mind the step!"), Step(text="Anything else?")
    )
    page.say("Warn me")
    page.wait_for_stats("talk.playedMs > 500 && talk.peak > 0.05")
    expect(page.replies.locator(".heard")).to_contain_text("Mind the step!")
    expect(page.replies.locator(".heard")).to_contain_text("Anything else?")
    expect(dialog(page)).to_have_count(0)
    expect(lines(page)).to_have_count(0)


def test_without_a_voice_a_voice_message_is_shown(talk: Talk, model: FakeUpstream) -> None:
    page = talk(voiceOutputEnabled=False)
    page.page.click("#start-silent")
    model.script(
        "chat", call("voice_msg_prompt", msg="Mind the step!"), Step(text="Anything else?")
    )
    page.say("Warn me")
    expect(dialog(page)).to_contain_text("Mind the step!")


# --- choices -------------------------------------------------------------------------------------
def ask(page: TalkPage, model: FakeUpstream, name: str = "text_choice_prompt") -> None:
    model.script("chat", call(name, **DRINKS), Step(text="Here you are."))
    page.say("A drink, please")
    expect(dialog(page)).to_be_visible()


def test_a_question_pushes_the_last_words_up_and_not_out_of_sight(
    talk: Talk, model: FakeUpstream
) -> None:
    page = talk(options={"size": PHONE}, voiceOutputEnabled=False)
    page.page.click("#start-silent")
    for number in range(1, 5):
        model.script("chat", Step(text="This is what you asked for, in two lines."))
        page.say("Tell me")
        expect(page.replies).to_have_count(number)
        page.wait_for_state("listening")
    ask(page, model)
    expect(page.page.locator("#log .user").last).to_be_in_viewport(ratio=0.9)
    page.page.get_by_role("button", name="Coffee").click()
    expect(page.replies.last.locator(".heard")).to_have_text("Here you are.")
    expect(page.replies.last).to_be_in_viewport(ratio=0.9)


def test_a_choice_is_clicked(talk: Talk, model: FakeUpstream) -> None:
    page = talk(voiceOutputEnabled=False)
    page.page.click("#start-silent")
    ask(page, model)
    options = dialog(page).locator(".option")
    expect(options).to_have_text(["1Green tea", "2Coffee", "3Hot chocolate"])
    expect(page.page.locator("#status")).to_have_text("Waiting for your choice")
    options.nth(2).click()
    expect(page.replies.locator(".heard")).to_have_text("Here you are.")
    expect(dialog(page)).to_have_count(0)
    expect(lines(page)).to_have_text(["What would you like to drink? – You chose: Hot chocolate"])
    assert result_in(model) == {
        "selected_id": "opt_3",
        "selected_label": "Hot chocolate",
        "cancelled": False,
    }


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        (["ArrowDown", "ArrowDown", "Enter"], "coffee"),
        (["ArrowUp", "Space"], "opt_3"),
        (["Tab", "Enter"], "tea"),
        (["2"], "coffee"),
        (["Escape"], None),
    ],
)
def test_a_choice_is_made_with_the_keyboard(
    talk: Talk, model: FakeUpstream, keys: list[str], chosen: str | None
) -> None:
    page = talk(voiceOutputEnabled=False)
    page.page.click("#start-silent")
    ask(page, model)
    assert page.page.evaluate(FOCUS) == "prompt-text"
    # A key that comes at once was meant for something else.
    page.page.wait_for_function(PATIENT)
    for key in keys:
        page.page.keyboard.press(key)
    expect(page.replies.locator(".heard")).to_have_text("Here you are.")
    result = result_in(model)
    assert (result["selected_id"], result["cancelled"]) == (chosen, chosen is None)


def test_whoever_is_typing_does_not_choose_by_accident(talk: Talk, model: FakeUpstream) -> None:
    page = talk(voiceOutputEnabled=False)
    page.page.click("#start-silent")
    model.script("chat", call("text_choice_prompt", **DRINKS))
    page.page.evaluate(
        """() => new MutationObserver((_changes, observer) => {
          const dialog = document.querySelector("dialog[open]");
          if (!dialog) return;
          observer.disconnect();
          for (const key of ["2", "Enter"]) {
            const pressed = new KeyboardEvent("keydown", { key, bubbles: true });
            document.activeElement.dispatchEvent(pressed);
          }
          window.hasTyped = true;
        }).observe(document.querySelector("#prompt"), { attributes: true })"""
    )
    page.say("A drink, please")
    page.page.wait_for_function("() => window.hasTyped")
    expect(dialog(page)).to_be_visible()


def test_the_dialog_says_what_it_is_and_leaves_the_calls_controls_in_reach(
    talk: Talk, model: FakeUpstream
) -> None:
    page = talk()
    page.start()
    ask(page, model)
    shown = page.page.get_by_role("dialog", name=DRINKS["question"])
    expect(shown).to_be_visible()
    expect(shown).to_have_accessible_description("Choose, or say the option or its number.")
    reached = []
    for _step in range(12):
        page.page.keyboard.press("Tab")
        reached.append(page.page.evaluate(FOCUS))
    assert reached[:4] == ["tea", "coffee", "opt_3", "prompt-dismiss"]
    assert {"mute", "hang-up", "volume", "text"} <= set(reached)
    page.page.get_by_role("button", name="Turn microphone off").click()
    expect(page.page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    expect(shown).to_have_accessible_description("Choose, or press the option's number.")
    page.page.get_by_role("button", name="Hang up").click()
    page.wait_for_state("ended")
    expect(dialog(page)).to_have_count(0)


@pytest.mark.parametrize("size", [PHONE, {"width": 740, "height": 360}], ids=["tall", "flat"])
def test_a_long_question_covers_no_control(
    talk: Talk, model: FakeUpstream, size: dict[str, int]
) -> None:
    page = talk(options={"size": size}, voiceOutputEnabled=False)
    page.page.click("#start-silent")
    model.script("chat", call("turn_on_camera"), Step(text="I see you."))
    page.say("Camera on")
    page.page.wait_for_function(PICTURE)
    many = {"question": "Which one? " * 20, "options": [f"Number {n}" for n in range(12)]}
    model.script("chat", call("text_choice_prompt", **many), Step(text="Fine."))
    page.say("Ask me")
    expect(dialog(page)).to_be_visible()
    expect(page.page.locator("#hang-up")).to_be_in_viewport(ratio=1)
    expect(page.page.locator("#text")).to_be_in_viewport(ratio=1)
    page.page.get_by_role("button", name="Number 11").click()
    expect(page.replies.last.locator(".heard")).to_have_text("Fine.")
    assert result_in(model)["selected_label"] == "Number 11"


def test_a_choice_is_written_in_chinese(talk: Talk, model: FakeUpstream) -> None:
    page = talk(options={"language": "zh-CN"}, language="zh", voiceOutputEnabled=False)
    page.page.click("#start-silent")
    for written, chosen in (
        ("我要第二个", "咖啡"),
        ("热巧克力，谢谢", "热巧克力"),
        ("都不要", None),
    ):
        model.script("chat", call("text_choice_prompt", **DRINKS_ZH), Step(text="好的。"))
        page.say("喝点什么")
        expect(dialog(page).locator("#prompt-text")).to_have_text("想喝点什么？")
        expect(dialog(page).locator("#prompt-hint")).to_have_text("请点选，或按选项的数字键。")
        expect(dialog(page).locator("#prompt-dismiss")).to_have_text("都不选")
        page.say(written)
        expect(dialog(page)).to_have_count(0)
        told_of = f"你选择了：{chosen}" if chosen else "你没有选择"
        expect(lines(page).last).to_have_text(f"想喝点什么？ – {told_of}")
        expect(page.replies.last.locator(".heard")).to_have_text("好的。")
        assert result_in(model)["selected_label"] == chosen


def test_what_is_being_written_goes_on_when_a_question_comes(
    web: Web, helper: MakeAssistant, model: FakeUpstream, window: OpenWindow
) -> None:
    page = window()
    wire = Wire(page.page, held="assistant.tool_call")
    page.open(f"{web.url}/talk/{helper(voiceOutputEnabled=False)}")
    page.page.click("#start-silent")
    model.script("chat", call("text_choice_prompt", **DRINKS), Step(text="Here you are."))
    page.say("A drink, please")
    page.page.locator("#text").press_sequentially("cof")
    wire.let_go()
    expect(dialog(page)).to_be_visible()
    assert page.page.evaluate(FOCUS) == "text"
    page.page.keyboard.type("fee")
    page.page.keyboard.press("Enter")
    expect(page.replies.locator(".heard")).to_have_text("Here you are.")
    assert result_in(model)["selected_id"] == "coffee"


def test_a_question_is_heard_to_its_end_while_it_waits(talk: Talk, model: FakeUpstream) -> None:
    page = talk()
    page.page.click("#start-silent")
    ask(page, model, "voice_choice_prompt")
    # Well before the question's time is over.
    expect(page.replies.locator(".heard")).to_have_text(DRINKS["question"], timeout=20_000)
    expect(page.replies.locator(".coming")).to_have_text("")
    assert page.stats()["playedMs"] >= duration_ms(DRINKS["question"])
    assert dialog(page).is_visible()
    page.page.get_by_role("button", name="Coffee").click()
    expect(page.replies.locator(".heard")).to_have_text(f"{DRINKS['question']} Here you are.")


def test_a_choice_is_spoken(talk: Talk, model: FakeUpstream) -> None:
    page = talk(options={"size": PHONE}, hotwords=["coffee"])
    page.start()
    ask(page, model, "voice_choice_prompt")
    expect(dialog(page)).to_contain_text("say the option or its number")
    expect(page.replies.locator(".heard")).to_have_text(DRINKS["question"])
    assert page.stats()["peak"] > 0.05
    page.speak("Coffee please.")
    heard = page.replies.locator(".heard")
    expect(heard).to_have_text("What would you like to drink? Here you are.")
    expect(lines(page).last).to_contain_text("You chose: Coffee")
    expect(dialog(page)).to_have_count(0)
    assert result_in(model)["selected_id"] == "coffee"


@pytest.mark.parametrize("means", ["button", "key"])
def test_a_choice_is_spoken_while_a_button_or_a_key_is_held(
    talk: Talk, model: FakeUpstream, means: str
) -> None:
    page = talk(hotwords=["coffee"], voiceOutputEnabled=False)
    page.page.get_by_label("Push to talk").check()
    page.start()
    ask(page, model)
    expect(dialog(page)).to_contain_text("hold to talk and say the option")
    if means == "key":
        page.page.keyboard.down("Space")
    else:
        page.page.locator("#hold").hover()
        page.page.mouse.down()
    expect(page.page.locator("body")).to_have_attribute("data-held", "true")
    page.speak("Coffee please.")
    page.wait_for_states("choosing", "hearing", "choosing")
    if means == "key":
        page.page.keyboard.up("Space")
    else:
        page.page.mouse.up()
    expect(page.page.locator("body")).to_have_attribute("data-held", "false")
    expect(page.replies.last.locator(".heard")).to_have_text("Here you are.")
    assert result_in(model)["selected_id"] == "coffee"


def test_questions_wait_for_each_other(talk: Talk, model: FakeUpstream) -> None:
    page = talk(voiceOutputEnabled=False)
    page.page.click("#start-silent")
    size = {"question": "Which size?", "options": ["Small", "Large"]}
    both = calls(("text_choice_prompt", DRINKS), ("text_choice_prompt", size))
    model.script("chat", both, Step(text="Coming up."))
    page.say("A drink, please")
    expect(dialog(page)).to_contain_text("1 more after this")
    page.page.get_by_role("button", name="Coffee").click()
    expect(dialog(page).locator("#prompt-text")).to_have_text("Which size?")
    page.page.get_by_role("button", name="None of these").click()
    expect(page.replies.locator(".heard")).to_have_text("Coming up.")
    expect(lines(page)).to_have_text(
        [
            "What would you like to drink? – You chose: Coffee",
            "Which size? – You chose nothing",
        ]
    )


def test_it_shows_how_long_a_question_stays_and_that_it_is_over(
    web: Web, helper: MakeAssistant, model: FakeUpstream, window: OpenWindow
) -> None:
    page = window()
    wire = Wire(page.page)
    page.open(f"{web.url}/talk/{helper(voiceOutputEnabled=False)}")
    page.page.clock.install()
    # From here the page's clock moves when the test says so.
    page.page.clock.pause_at(datetime.now() + timedelta(hours=1))
    page.page.click("#start-silent")
    ask(page, model)
    expect(page.page.locator("#prompt-time")).to_have_text("60 s left")
    page.page.clock.run_for(52_000)
    expect(page.page.locator("#prompt-time")).to_have_text("8 s left")
    expect(page.page.locator("#prompt-time")).to_have_attribute("data-hurry", "true")
    # What the server says after a minute, which no test waits for.
    asked = next(event for event in wire.events if event["type"] == "assistant.tool_call")
    status = {"code": 504, "message": "No answer in time."}
    result = {"tool_call_id": asked["data"]["tool_call_id"], "output": "", "status": status}
    data = {**asked["data"], "result": result}
    seq = wire.events[-1]["seq"] + 1
    wire.send({**data, "type": "assistant.tool_result", "seq": seq, "data": data})
    expect(dialog(page)).to_have_count(0)
    expect(lines(page)).to_have_text(["What would you like to drink? – no answer in time"])


@pytest.mark.parametrize("opener", ["Hello!", ""])
def test_the_set_ups_calls_follow_the_opener(talk: Talk, model: FakeUpstream, opener: str) -> None:
    prompts = [
        {"toolName": "voice_msg_prompt", "arguments": {"msg": "Nice to see you."}},
        {"toolName": "increase_volume", "arguments": {"step": 2}},
        {"toolName": "voice_choice_prompt", "arguments": DRINKS},
    ]
    page = talk(opener=opener, firstTurnMode="bot_first", manualOpenerToolCalls=prompts)
    model.script("chat", Step(text="Enjoy your coffee."))
    page.page.click("#start-silent")
    expect(dialog(page)).to_be_visible()
    expect(page.page.locator("#volume-level")).to_have_text("100%")
    page.page.get_by_role("button", name="Coffee").click()
    expect(page.replies.last.locator(".heard")).to_have_text("Enjoy your coffee.")
    heard = [text.strip() for text in page.replies.locator(".heard").all_inner_texts()]
    assert heard[-3:] == ["Nice to see you.", "What would you like to drink?", "Enjoy your coffee."]


# --- looks ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_the_state_fits_beside_the_button_on_a_phone(
    talk: Talk, model: FakeUpstream, language: str
) -> None:
    page = talk(options={"size": PHONE, "language": language}, voiceOutputEnabled=False)
    page.page.click("#start-silent")
    model.script("chat", UNANSWERED)
    page.say("Hello")
    page.wait_for_state("thinking")
    expect(page.page.locator("#stop-speaking")).to_be_visible()
    fits = "element => element.scrollWidth <= element.clientWidth && element.clientHeight < 24"
    for selector in ("#status", "#stop-speaking"):
        limit = fits if selector == "#status" else fits.replace("24", "40")
        assert page.page.locator(selector).evaluate(limit)


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="for people to look at")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_it_looks_well(
    talk: Talk, model: FakeUpstream, scheme: Any, size: dict[str, int], language: str
) -> None:
    page = talk(options={"size": size, "language": language})
    folder = Path(os.environ["SCREENSHOTS"])
    name = f"{language}-{size['width']}-{scheme}"
    window: Page = page.page
    window.emulate_media(color_scheme=scheme)
    window.click("#start")
    english, chinese = (DRINKS, "A drink"), (DRINKS_ZH, "喝点什么")
    drinks, wish = chinese if language == "zh-CN" else english
    model.script(
        "chat",
        calls(("turn_on_camera", {}), ("increase_volume", {})),
        Step(text="The camera is on, and I speak up."),
    )
    page.say("Camera on, and louder please")
    window.wait_for_function(PICTURE)
    page.wait_for_state("listening")
    window.screenshot(path=folder / f"{name}-camera.png", animations="disabled")
    size_of = {"question": "Which size?", "options": ["Small", "Large"]}
    model.script(
        "chat",
        calls(("voice_choice_prompt", drinks), ("text_choice_prompt", size_of)),
        Step(text="Coming up."),
    )
    page.say(wish)
    expect(dialog(page)).to_be_visible()
    window.keyboard.press("ArrowDown")
    window.screenshot(path=folder / f"{name}-choice.png", animations="disabled")
    window.keyboard.press("Escape")
    window.keyboard.press("Escape")
    model.script("chat", call("text_msg_prompt", msg="Your order number is 4711.\nPlease wait."))
    page.say("My number")
    expect(dialog(page)).to_contain_text("4711")
    window.screenshot(path=folder / f"{name}-message.png", animations="disabled")
    window.keyboard.press("Escape")
    model.script("chat", UNANSWERED)
    page.say("Thanks")
    page.wait_for_state("thinking")
    window.screenshot(path=folder / f"{name}-thinking.png", animations="disabled")
