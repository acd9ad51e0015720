"""The voice page as a person with a browser uses it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, Playwright, expect

from tests.browser.product import INSECURE_HOST
from tests.browser.speech import spoken

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}
# The first call of a cold server on a busy machine takes half a minute.
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1",
)
# Asks for the device as the page wants it, and then hears what the test says in its place.
MICROPHONE = """(() => {
  const { mediaDevices } = navigator;
  if (!mediaDevices) return;
  const open = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.getUserMedia = async (wanted) => {
    const device = await open(wanted);
    if (!wanted.audio) return device;
    for (const track of device.getTracks()) track.stop();
    const context = new AudioContext();
    const ear = new MediaStreamAudioDestinationNode(context, { channelCount: 1 });
    const silence = new ConstantSourceNode(context, { offset: 0 });
    silence.connect(ear);
    silence.start();
    await context.resume();
    window.microphone = { context, ear, spoken: 0 };
    return ear.stream;
  };
})()"""
SPEAK = """async (wav) => {
  const { microphone } = window;
  const bytes = Uint8Array.from(atob(wav), (letter) => letter.charCodeAt(0));
  const buffer = await microphone.context.decodeAudioData(bytes.buffer);
  const voice = new AudioBufferSourceNode(microphone.context, { buffer });
  voice.connect(microphone.ear);
  voice.onended = () => { microphone.spoken += 1; };
  voice.start();
  return microphone.spoken;
}"""
HAS_SPOKEN = "(before) => window.microphone.spoken > before"
CAN_HEAR = "() => window.microphone && window.__talk.state !== 'connecting'"
# Every state that the page left, however soon.
STATES = """(() => {
  window.statesLeft = [];
  const note = (changes) => window.statesLeft.push(...changes.map(({ oldValue }) => oldValue));
  new MutationObserver(note).observe(document, {
    subtree: true, attributeFilter: ["data-state"], attributeOldValue: true,
  });
})()"""
STATES_PASSED = "() => [...window.statesLeft, document.body.dataset.state]"
HAVE_PASSED = f"""(wanted) => {{
  let passed = 0;
  for (const state of ({STATES_PASSED})()) if (state === wanted[passed]) passed += 1;
  return passed === wanted.length;
}}"""


@dataclasses.dataclass
class TalkPage:
    """One browser window. `complaints` are errors and broken rules that the browser noticed."""

    page: Page
    complaints: list[str] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self._note(message.text))

    def _note(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.complaints.append(text)

    def open(self, url: str) -> int:
        """Opens an address; the HTTP status."""
        response = self.page.goto(url)
        assert response is not None
        return response.status

    def sign_in(self, url: str, username: str, password: str) -> None:
        """Signs in to the console."""
        self.page.goto(f"{url}/admin/login/")
        self.page.fill("input[name=username]", username)
        self.page.fill("input[name=password]", password)
        self.page.click("[type=submit]")
        self.page.wait_for_url(f"{url}/admin/")

    def start(self) -> None:
        self.page.click("#start")

    def say(self, text: str) -> None:
        """Types a message."""
        expect(self.page.locator("#text")).to_be_enabled()
        self.page.fill("#text", text)
        self.page.press("#text", "Enter")

    def speak(self, text: str) -> None:
        """Says a sentence into the microphone, once the call hears it, to its end."""
        wav = base64.b64encode(spoken(text)).decode()
        self.page.wait_for_function(CAN_HEAR)
        before = self.page.evaluate(SPEAK, wav)
        self.page.wait_for_function(HAS_SPOKEN, arg=before)

    def wait_for_state(self, state: str) -> None:
        """Until the page is in a state that it will not leave by itself."""
        self.page.wait_for_selector(f"body[data-state={state}]")

    def wait_for_states(self, *states: str) -> None:
        """Until the page has been in all these states, one after the other."""
        self.page.wait_for_function(HAVE_PASSED, arg=states)

    @property
    def states(self) -> list[str]:
        """The states that the page has been in until now."""
        passed: list[str] = self.page.evaluate(STATES_PASSED)
        return passed

    def wait_for_stats(self, condition: str) -> None:
        """Until a condition on `talk`, what the page measured, holds."""
        self.page.wait_for_function(f"() => {{ const talk = window.__talk; return {condition}; }}")

    def stats(self) -> dict[str, Any]:
        measured: dict[str, Any] = self.page.evaluate("() => window.__talk")
        return measured

    @property
    def replies(self) -> Locator:
        return self.page.locator("#log .reply")

    @property
    def turns(self) -> Locator:
        """What the user said, as far as it is final."""
        return self.page.locator("#log .user[data-final=true]")

    @property
    def notices(self) -> Locator:
        return self.page.locator("#notices .notice")


class Browsers:
    """Chromium, started once for each choice of its devices."""

    def __init__(self, playwright: Playwright) -> None:
        self._chromium = playwright.chromium
        self._running: dict[tuple[str, ...], Browser] = {}

    @contextlib.contextmanager
    def window(
        self,
        recording: Path | None = None,
        *,
        is_refused: bool = False,
        size: dict[str, int] = DESKTOP,
        language: str = "en-US",
    ) -> Iterator[TalkPage]:
        """A window of a new user, whose devices may be refused.

        Its microphone plays a recording, or is spoken to.
        """
        with self._browser(recording, is_refused).new_context(
            viewport={"width": size["width"], "height": size["height"]}, locale=language
        ) as context:
            context.add_init_script(STATES)
            if recording is None:
                context.add_init_script(MICROPHONE)
            page = context.new_page()
            yield TalkPage(page)
            # A page that is closed by force cannot say that its call is over.
            page.goto("about:blank")

    def close(self) -> None:
        for browser in self._running.values():
            browser.close()

    def _browser(self, recording: Path | None, is_refused: bool) -> Browser:
        answer = "--deny-permission-prompts" if is_refused else "--use-fake-ui-for-media-stream"
        flags: tuple[str, ...] = (*FLAGS, "--use-fake-device-for-media-stream", answer)
        if recording:
            flags += (f"--use-file-for-fake-audio-capture={recording}",)
        if flags not in self._running:
            self._running[flags] = self._chromium.launch(executable_path=CHROMIUM, args=flags)
        return self._running[flags]
