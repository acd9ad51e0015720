"""Tools and autotests in the console with a real browser, on a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import MakeAssistant, OpenWindow
from tests.browser.product import Product, Web
from tests.browser.talkpage import PHONE

pytestmark = pytest.mark.browser


def fits(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0)


def test_a_tool_is_made_tried_and_tested(product: Product, web: Web, window: OpenWindow) -> None:
    console = window(size=PHONE)
    console.sign_in(web.url, product.login.username, product.login.password)
    page = console.page
    console.open(f"{web.url}/admin/tooling/tool/add/")
    page.fill("[name=name]", "Orders")
    # What the page says while one types.
    page.fill("[name=parameter_schema]", '{"type": ')
    expect(page.locator("[data-json-note]").first).to_contain_text("JSON")
    page.fill("[name=parameter_schema]", '{"type": "object"}')
    expect(page.locator("[data-json-note]").first).to_be_empty()
    page.locator("[data-json-format]").first.click()
    expect(page.locator("[name=parameter_schema]")).to_have_value('{\n  "type": "object"\n}')

    # Tools of the client make no request.
    waits = page.locator(".field-wait_for_response")
    page.select_option("[name=category]", "system")
    expect(page.locator("[name=http_url]")).to_be_hidden()
    expect(waits).to_be_visible()
    page.select_option("[name=category]", "query")
    expect(waits).to_be_hidden()
    page.fill("[name=http_url]", "https://shop.example/orders")
    headers = page.locator("[data-rows]").first
    headers.locator("[name$=-name]").fill("X-Api-Key")
    headers.locator("[name$=-value]").fill("literal-secret-4242")
    headers.locator("[data-rows-add]").click()
    headers.locator("[name$=-name]").nth(1).fill("Accept")
    headers.locator("[name$=-value]").nth(1).fill("text/plain")
    assert fits(page)
    page.click("[name=_continue]")
    stored = page.locator("[data-rows]").first.locator("[name$=-value]")
    expect(stored).to_have_count(2)
    expect(stored.nth(0)).to_have_value("")
    expect(stored.nth(0)).to_have_attribute("placeholder", "************4242")
    expect(stored.nth(1)).to_have_value("text/plain")
    page.locator("[data-row-remove]").nth(1).click()
    page.click("[name=_continue]")
    expect(page.locator("[data-rows]").first.locator("[name$=-value]")).to_have_count(1)

    console.open(f"{web.url}/admin/tooling/tool/calculator/try/")
    page.fill("[name=argument-expression]", "6*7")
    page.locator("form .plain-button").click()
    expect(page.locator("#result")).to_contain_text("42")
    assert fits(page)

    console.open(f"{web.url}/admin/tooling/tool/calculator/change/")
    page.locator(".test-strip button").click()
    state = page.locator("[data-live^=run]")
    expect(state).to_contain_text("Waiting", ignore_case=True)
    with product.worker():
        # Without a reload: the page asks for the state by itself.
        expect(state).to_contain_text("Passed", ignore_case=True)
        expect(page.locator("[data-live^=cases] .case").first).to_contain_text("Calculator")
    page.reload()
    expect(page.locator(".history-bar")).to_have_count(1)
    assert fits(page)


def test_the_steps_of_a_conversation_are_moved_and_dropped(
    product: Product, web: Web, window: OpenWindow, assistant: MakeAssistant
) -> None:
    console = window(size=PHONE)
    console.sign_in(web.url, product.login.username, product.login.password)
    page = console.page
    chosen = assistant()
    console.open(f"{web.url}/admin/tooling/scenario/add/")
    page.fill("[name=name]", "Hours")
    page.select_option("[name=assistant_id]", chosen, force=True)
    said = page.locator("[data-rows-list] [name$=-say]")
    for number, text in enumerate(("first", "second", "third")):
        if number:
            page.click("[data-rows-add]")
        said.nth(number).fill(text)
    page.locator("[data-rows-list] [data-row-up]").nth(2).click()
    page.locator("[data-rows-list] [data-row-remove]").nth(0).click()
    assert fits(page)
    page.click("[name=_continue]")
    expect(said).to_have_count(2)
    expect(said.nth(0)).to_have_value("third")
    expect(said.nth(1)).to_have_value("second")
