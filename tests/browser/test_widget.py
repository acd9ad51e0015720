"""The talk button on pages of other origins, with a real browser, a real server and real speech."""

from __future__ import annotations

import base64
import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from websockets.sync.client import connect
from websockets.typing import Origin

from accounts.limits import SOCKETS_PER_STRANGER
from tests.browser.conftest import MakeAssistant, Network, OpenWindow
from tests.browser.product import Product, Web
from tests.browser.speech import spoken
from tests.browser.talkpage import DESKTOP, HAS_SPOKEN, PHONE, SPEAK, TalkPage

pytestmark = pytest.mark.browser

# How the widget begins what it has to say to the site's owner.
WARNING = "[AI Video Assistant]"
STYLES = """<style>
  :root { --ai-video-assistant-z-index: 7 }
  * { color: red; font-size: 9px }
  button, div, ai-video-assistant { display: none !important }
</style>"""


@dataclasses.dataclass
class Site:
    """A web site of somebody else: the pages at its paths, and the policy that they come with."""

    origin: str
    pages: dict[str, str] = dataclasses.field(default_factory=dict)
    policy: str = ""

    def page(self, *lines: str, language: str = "en", head: str = "", path: str = "/") -> str:
        """The address of a page with these lines of the widget."""
        viewport = '<meta name="viewport" content="width=device-width, initial-scale=1">'
        self.pages[path] = (
            f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">{viewport}{head}'
            f"{''.join(lines)}</head><body><h1>A shop</h1><button>Buy</button></body></html>"
        )
        return f"{self.origin}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = there.pages.get(self.path)
            self.send_response(200 if page else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            if there.policy:
                self.send_header("Content-Security-Policy", there.policy)
            self.end_headers()
            self.wfile.write((page or "").encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there = Site(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield there
        server.shutdown()
        thread.join()


def line(web: Web | Network, assistant_id: str, **attributes: str) -> str:
    """The script's line, as the console shows it."""
    more = "".join(f' data-{name}="{value}"' for name, value in attributes.items())
    script = f"{web.url}/static/sdk/widget.js"
    return f'<script src="{script}" data-assistant="{assistant_id}"{more} async></script>'


class Visitor:
    """Somebody on a page with the widget. Selectors of Playwright look into open shadow roots."""

    def __init__(self, window: TalkPage) -> None:
        self.window = window
        self.page: Page = window.page
        # Nothing moves while it is measured.
        self.page.emulate_media(reduced_motion="reduce")
        self.warnings: list[str] = []
        self.page.on("console", lambda message: self._note(message.text))

    def _note(self, text: str) -> None:
        if text.startswith(WARNING):
            self.warnings.append(text)

    @property
    def launcher(self) -> Locator:
        return self.page.locator("ai-video-assistant .launcher")

    @property
    def panel(self) -> Locator:
        return self.page.get_by_role("dialog")

    @property
    def status(self) -> Locator:
        return self.panel.get_by_role("status")

    @property
    def said(self) -> Locator:
        return self.panel.locator(".you[data-final=true] .text")

    @property
    def replies(self) -> Locator:
        return self.panel.locator(".assistant[data-final=true] .text")

    @property
    def notice(self) -> Locator:
        return self.panel.get_by_role("alert")

    def visit(self, url: str) -> None:
        self.page.goto(url)
        self.launcher.click()
        expect(self.panel).to_be_visible()

    def start(self) -> None:
        self.panel.locator(".start").click()

    def write(self, text: str) -> None:
        self.panel.get_by_role("textbox").fill(text)
        self.page.keyboard.press("Enter")

    def speak(self, text: str) -> None:
        """Says a sentence into the microphone, to its end."""
        expect(self.panel.get_by_role("button", name="Turn microphone off")).to_be_visible()
        wav = base64.b64encode(spoken(text)).decode()
        before = self.page.evaluate(SPEAK, wav)
        self.page.wait_for_function(HAS_SPOKEN, arg=before)


Visit = Callable[..., Visitor]


@pytest.fixture
def visitor(window: OpenWindow) -> Visit:
    """Opens a window for a visitor; what the browser complains of fails the test."""
    return lambda **options: Visitor(window(**options))


def strict(web: Web) -> str:
    """The strictest policy under which the widget works; the README names it."""
    socket = web.url.replace("http", "ws", 1)
    return (
        f"default-src 'none'; script-src {web.url}; connect-src {web.url} {socket}; "
        "require-trusted-types-for 'script'"
    )


def test_it_talks_on_a_strict_page_of_another_origin(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    site.policy = strict(web)
    called = assistant(firstTurnMode="user_first", allowedOrigins=[site.origin])
    there.visit(site.page(line(web, called)))
    there.start()
    expect(there.status).to_have_text("Listening")
    there.speak("What can you do?")
    expect(there.said).to_have_count(1)
    expect(there.replies).to_have_count(1)
    there.write("Hello there")
    expect(there.said.last).to_have_text("Hello there")
    expect(there.replies.last).to_contain_text("Hello")
    expect(there.panel.get_by_role("log")).not_to_contain_text("Assistant: Hello")
    there.panel.get_by_role("button", name="End call").click()
    expect(there.status).to_have_text("Call ended")
    tracks = "window.microphone.ear.stream.getTracks().map((track) => track.readyState)"
    assert there.page.evaluate(tracks) == ["ended"]
    assert there.warnings == []


@pytest.mark.parametrize("is_allowed", [True, False])
def test_it_talks_on_allowed_origins_only(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit, is_allowed: bool
) -> None:
    there = visitor()
    origin = site.origin if is_allowed else "https://elsewhere.example"
    called = assistant(opener="Welcome!", allowedOrigins=[origin])
    there.visit(site.page(line(web, called, output="text")))
    there.write("Hello there")
    if is_allowed:
        expect(there.replies.last).to_contain_text("Hello")
        expect(there.panel.get_by_role("log")).to_contain_text("Assistant: Hello")
        assert there.warnings == []
        return
    expect(there.notice).to_contain_text("may not be used on this page")
    expect(there.panel.get_by_role("textbox")).to_have_value("Hello there")
    [warning] = there.warnings
    assert site.origin in warning
    assert "allowed origins" in warning


def test_it_says_that_an_assistant_is_not_to_be_had(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    unavailable = [assistant(isPublic=False), "nobody"]
    for called in unavailable:
        there.visit(site.page(line(web, called)))
        there.start()
        expect(there.notice).to_contain_text("not available here")
        expect(there.notice.get_by_role("button", name="Try again")).to_have_count(0)
    assert [called in warning for called, warning in zip(unavailable, there.warnings, strict=True)]


def test_it_says_that_too_many_call_and_tries_again(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    called = assistant(firstTurnMode="user_first", allowedOrigins=[site.origin])
    address = f"{web.url.replace('http', 'ws', 1)}/ws?assistant_id={called}"
    there.page.goto(site.page(line(web, called, output="text")))
    there.launcher.click()
    with ExitStack() as others:
        for _ in range(SOCKETS_PER_STRANGER):
            socket = others.enter_context(connect(address, origin=Origin(site.origin)))
            socket.send('{"type": "session.start"}')
            socket.recv(timeout=60)
        there.write("Hello there")
        expect(there.notice).to_contain_text("Too many people")
    again = there.notice.get_by_role("button", name="Try again")
    again.click()
    expect(there.status).to_have_text("In writing")


def test_it_goes_on_in_writing_without_a_microphone(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor(is_refused=True)
    called = assistant(firstTurnMode="user_first", allowedOrigins=[site.origin])
    there.visit(site.page(line(web, called)))
    there.start()
    expect(there.notice).to_contain_text("may not use the microphone")
    expect(there.status).to_have_text("In writing")
    there.write("Hello there")
    expect(there.replies).to_contain_text("Hello")


def test_who_writes_first_is_greeted(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    called = assistant(opener="Welcome to the shop.", allowedOrigins=[site.origin])
    there.visit(site.page(line(web, called)))
    there.write("Hello there")
    expect(there.replies).to_have_count(2)
    expect(there.replies.first).to_have_text("Welcome to the shop.")
    expect(there.panel.locator("li .text").nth(1)).to_have_text("Hello there")


def test_it_says_of_a_server_that_is_away_nothing_but_that(
    network: Network, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    called = assistant(firstTurnMode="user_first", allowedOrigins=[site.origin])
    there.visit(site.page(line(network, called)))
    network.break_down()
    there.start()
    expect(there.notice).to_have_count(1)
    expect(there.notice).to_contain_text("could not be reached")
    assert not [warning for warning in there.warnings if "blob:" in warning]
    network.mend()
    there.notice.get_by_role("button", name="Try again").click()
    expect(there.status).to_have_text("Listening")


def test_it_reconnects_and_gives_up_when_the_server_stays_away(
    network: Network, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    called = assistant(firstTurnMode="user_first", allowedOrigins=[site.origin])
    there.visit(site.page(line(network, called, output="text")))
    there.write("Hello there")
    expect(there.replies).to_contain_text("Hello")
    network.break_down()
    expect(there.status).to_have_text("Reconnecting…")
    network.mend()
    expect(there.status).to_have_text("In writing")
    there.write("What can you do?")
    expect(there.replies).to_have_count(2)
    there.page.clock.install()
    network.break_down()
    expect(there.status).to_have_text("Reconnecting…")
    there.page.clock.run_for(120_000)
    expect(there.notice).to_contain_text("was lost")
    there.page.clock.resume()
    there.notice.get_by_role("button", name="Try again").click()
    expect(there.notice).to_contain_text("could not be reached")


def test_it_is_on_a_page_once(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    once = line(web, assistant())
    there.page.goto(site.page(once, once.replace(" async", " defer")))
    expect(there.launcher).to_have_count(1)
    there.page.wait_for_load_state()
    [warning] = there.warnings
    assert "already" in warning


def test_it_leaves_a_page_alone_whose_line_names_nobody(
    web: Web, site: Site, visitor: Visit
) -> None:
    there = visitor()
    there.page.goto(site.page(f'<script src="{web.url}/static/sdk/widget.js"></script>'))
    expect(there.launcher).to_have_count(0)
    [warning] = there.warnings
    assert "data-assistant" in warning


def test_it_closes_on_escape_and_gives_the_focus_back(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    there.page.goto(site.page(line(web, assistant())))
    there.launcher.focus()
    there.page.keyboard.press("Enter")
    start = there.panel.get_by_role("button", name="Start talking")
    expect(start).to_be_focused()
    for control in (there.panel.get_by_role("textbox"), there.panel.locator(".send")):
        there.page.keyboard.press("Tab")
        expect(control).to_be_focused()
    there.page.keyboard.press("Escape")
    expect(there.panel).to_be_hidden()
    expect(there.launcher).to_be_focused()


def test_a_call_goes_on_while_the_panel_is_hidden_and_where_a_site_replaces_the_body(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    called = assistant(firstTurnMode="user_first", allowedOrigins=[site.origin])
    there.visit(site.page(line(web, called, output="text")))
    there.write("Hello there")
    expect(there.replies).to_have_count(1)
    there.page.keyboard.press("Escape")
    expect(there.launcher).to_have_text("Call is on")
    there.launcher.click()
    expect(there.said).to_have_text("Hello there")
    there.page.evaluate("document.body = document.createElement('body')")
    there.write("What can you do?")
    expect(there.replies).to_have_count(2)


def test_no_styles_leak_either_way(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    there.page.goto(site.page(line(web, assistant()), head=STYLES))
    expect(there.launcher).to_be_visible()
    looks = "(element) => getComputedStyle(element).fontSize"
    assert there.launcher.evaluate(looks) == "16px"
    host = there.page.locator("ai-video-assistant")
    assert host.evaluate("(element) => getComputedStyle(element).zIndex") == "7"
    there.launcher.click()
    expect(there.panel.get_by_role("button", name="Start talking")).to_be_visible()
    title = there.page.locator("h1")
    assert title.evaluate(looks) == "9px"
    assert title.evaluate("(element) => getComputedStyle(element).color") == "rgb(255, 0, 0)"


@pytest.mark.parametrize(
    ("language", "size", "start"),
    [("en", DESKTOP, "Start talking"), ("zh-CN", PHONE, "开始说话")],
)
def test_it_speaks_the_pages_language_and_fits(
    web: Web,
    site: Site,
    assistant: MakeAssistant,
    visitor: Visit,
    language: str,
    size: dict[str, int],
    start: str,
) -> None:
    there = visitor(size=size)
    title = "N" * 90
    there.visit(site.page(line(web, assistant(), title=title), language=language))
    expect(there.panel.get_by_role("button", name=start)).to_be_visible()
    box = there.panel.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size["width"]
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= size["height"]
    assert there.page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_scripts_of_the_page_open_it_and_hear_what_is_said(
    web: Web, site: Site, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    called = assistant(opener="Welcome!", allowedOrigins=[site.origin])
    head = """<script>
      window.heard = [];
      addEventListener("ai-video-assistant-widget", ({ detail: widget }) => {
        widget.on("message", ({ who, text }) => heard.push(`${who}: ${text}`));
        widget.on("close", () => heard.push("closed"));
        widget.open();
      });
    </script>"""
    there.page.goto(site.page(line(web, called, output="text"), head=head))
    expect(there.panel).to_be_visible()
    there.write("Hello there")
    there.page.wait_for_function("heard.some((line) => line.startsWith('assistant: Hello'))")
    there.page.evaluate("AIVideoAssistantWidget.close()")
    expect(there.panel).to_be_hidden()
    heard = there.page.evaluate("heard")
    assert {"assistant: Welcome!", "you: Hello there", "closed"} <= set(heard)
    assert there.page.evaluate("AIVideoAssistantWidget.state") == "ended"


def test_its_example_page_lets_whoever_is_signed_in_try_a_private_assistant(
    product: Product, web: Web, assistant: MakeAssistant, visitor: Visit
) -> None:
    there = visitor()
    there.window.sign_in(web.url, product.login.username, product.login.password)
    private = assistant(isPublic=False, firstTurnMode="user_first")
    there.visit(f"{web.url}/widget/{private}?output=text")
    there.write("Hello there")
    expect(there.replies).to_contain_text("Hello")


def test_its_files_may_be_loaded_by_any_page_and_are_never_old_for_long(web: Web) -> None:
    for name in ("widget.js", "capture.worklet.js", "playback.worklet.js"):
        response = httpx.get(f"{web.url}/static/sdk/{name}")
        assert response.headers["Content-Type"].startswith("text/javascript")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Cache-Control"] == "max-age=60, public"
