"""The voice page as a person with a browser uses it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect, sync_playwright

from tests.browser.product import INSECURE_HOST

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}
PATIENCE_MS = 30_000
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
        if any(word in text for word in ("Content Security Policy", "voice: seq")):
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

    def wait_for_state(self, state: str) -> None:
        self.page.wait_for_selector(f"body[data-state={state}]")

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


@contextlib.contextmanager
def browser_window(
    microphone: Path | None, *, size: dict[str, int] = DESKTOP, language: str = "en-US"
) -> Iterator[TalkPage]:
    """A window whose microphone plays a file, or is refused when there is none."""
    listens = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
    )
    refuses = ("--use-fake-device-for-media-stream", "--deny-permission-prompts")
    flags = [*FLAGS, *(refuses if microphone is None else listens)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        context = browser.new_context(
            viewport={"width": size["width"], "height": size["height"]}, locale=language
        )
        try:
            yield TalkPage(context.new_page())
        finally:
            browser.close()
