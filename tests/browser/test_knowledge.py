"""Knowledge in the console with a real browser: files in, progress watched, a search made."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeAssistant, OpenWindow
from tests.browser.product import Product, Web
from tests.browser.talkpage import PHONE

pytestmark = pytest.mark.browser


def test_it_takes_files_shows_their_progress_and_finds_what_is_in_them(
    product: Product, web: Web, window: OpenWindow, tmp_path: Path
) -> None:
    guide = tmp_path / "参观指南.md"
    guide.write_text("# 开放时间\n\n博物馆每周一闭馆。\n\n# 展品\n\n青铜神树高3.96米。\n", "utf-8")
    program = tmp_path / "program.exe"
    program.write_bytes(b"MZ")
    console = window(size=PHONE)
    console.sign_in(web.url, product.login.username, product.login.password)
    page = console.page

    console.open(f"{web.url}/admin/knowledge/knowledgebase/add/")
    page.fill("input[name=name]", "Museum")
    page.click("[name=_save]")
    page.set_input_files(".drop-zone input", [guide, program])
    results = page.locator("[data-results] li")
    expect(results).to_have_count(2)
    state = page.locator("[data-live^=document]")
    expect(state).to_have_count(1)
    expect(results.nth(0)).to_contain_text("Added")
    expect(results.nth(1)).to_contain_text("pdf")
    expect(state).to_contain_text("Uploaded", ignore_case=True)

    with product.worker():
        # Without a reload: the page asks for the state by itself.
        expect(state).to_contain_text("Ready", ignore_case=True)
        expect(page.locator("[data-live^=buttons] button")).to_have_attribute("title", "Read again")

    page.click(".base-tabs a >> text=Search")
    page.fill("[name=query]", "青铜神树有多高")
    page.press("[name=query]", "Enter")
    expect(page.locator(".hit mark").first).to_have_text("青铜神树")
    expect(page.locator(".timings")).to_contain_text("ms")
    expect(page.locator(".recent a")).to_have_text("青铜神树有多高")
    page.click(".recent a")
    expect(page.locator(".recent a")).to_have_count(2)
    page.locator(".hit a").first.click()
    expect(page.locator(".chunk-content").first).to_contain_text("青铜神树")
    width = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert width <= 0


@pytest.mark.parametrize("width", [1360, 390])
def test_it_lets_tools_and_knowledge_be_chosen_without_moving_the_page(
    product: Product, web: Web, window: OpenWindow, assistant: MakeAssistant, width: int
) -> None:
    console = window(size={"width": width, "height": 900})
    console.sign_in(web.url, product.login.username, product.login.password)
    page = console.page
    console.open(f"{web.url}/admin/assistants/assistant/{assistant()}/change/")
    # Tools and MCP servers; knowledge bases.
    for tab, lists in (("Tools", 2), ("Knowledge", 1)):
        page.locator("#content-main").get_by_text(tab, exact=True).first.click()
        expect(page.locator(".selector:visible")).to_have_count(lists)
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
