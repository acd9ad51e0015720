"""The web search, from services that answer as SearXNG and as Tavily do."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tooling.runner.service import Reply, Service, as_json, serving
from tooling.redaction import REDACTED
from tooling.runner import run_tool
from tooling.types import Backend, BuiltinTarget, ToolContext, ToolResult, ToolSpec

KEY = "tvly-0123456789"


def searxng_result(number: int, **more: Any) -> dict[str, Any]:
    return {
        "url": f"https://pages.example/{number}", "title": f"Page <b>{number}</b> &amp; more",
        "content": f"What page {number}\nsays.", "publishedDate": None, "thumbnail": "",
        "engine": "bing", "template": "default.html", "parsed_url": ["https", "x", "/", "", "", ""],
        "engines": ["bing"], "positions": [number], "score": 1.0, "category": "general", **more,
    }  # fmt: skip


def searxng_found(results: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "query": "q", "number_of_results": 0, "results": results, "answers": [], "corrections": [],
        "infoboxes": [], "suggestions": ["qq"], "unresponsive_engines": [["brave", "timeout"]],
        **more,
    }  # fmt: skip


def tavily_found(**more: Any) -> dict[str, Any]:
    page = {"title": "Rome", "url": "https://rome.example/", "content": "A city.", "score": 0.9}
    return {
        "query": "q", "follow_up_questions": None, "answer": "Rome is a city.", "images": [],
        "results": [{**page, "raw_content": None}], "response_time": 1.2, "request_id": "x", **more,
    }  # fmt: skip


async def search(
    service: Service, query: str, *, vendor: str = "searxng", key: str = "", language: str = "en"
) -> ToolResult:
    spec = ToolSpec(
        id="search",
        name="Search",
        description="",
        parameters={"type": "object"},
        defaults={},
        executor="server",
        wait_for_response=True,
        timeout_ms=10_000,
        target=BuiltinTarget("search", Backend(vendor, service.url, key)),
    )
    context = ToolContext(owner_id=1, assistant_id="a", language=language, time_zone="UTC")
    return await run_tool(spec, {"query": query}, context)


@pytest.mark.parametrize(("language", "sent"), [("en", "en"), ("zh", "zh-CN")])
async def test_it_searches_with_searxng(service: Service, language: str, sent: str) -> None:
    service.answer = lambda _asked: as_json(searxng_found([searxng_result(1), searxng_result(2)]))
    result = await search(service, "  what is&format=html  罗马 ", language=language)
    assert result == ToolResult(
        "1. Page 1 & more\nhttps://pages.example/1\nWhat page 1 says.\n\n"
        "2. Page 2 & more\nhttps://pages.example/2\nWhat page 2 says."
    )
    assert service.last.path == "/search"
    assert service.last.query == {
        "q": "what is&format=html 罗马",
        "format": "json",
        "language": sent,
    }
    assert "authorization" not in service.last.headers


@pytest.mark.parametrize("answers", [["42"], [{"answer": "42", "url": None, "template": "x"}]])
async def test_it_tells_what_searxng_itself_knows(service: Service, answers: Any) -> None:
    infoboxes = [{"infobox": "Rome", "content": "A city", "urls": []}, {"infobox": "x"}]
    found = searxng_found([searxng_result(1)], answers=answers, infoboxes=infoboxes)
    service.answer = lambda _asked: as_json(found)
    result = await search(service, "q")
    assert result.output.startswith("42 Rome: A city\n\n1. Page 1")


async def test_it_keeps_to_a_few_short_results_with_web_addresses(service: Service) -> None:
    results = [
        searxng_result(0, url="javascript:alert(1)"),
        *[searxng_result(number, content="x" * 5000) for number in range(1, 20)],
        searxng_result(1),
    ]
    service.answer = lambda _asked: as_json(searxng_found(results))
    result = await search(service, "q")
    assert result.output.count("https://pages.example/") == 6
    assert "javascript" not in result.output
    assert len(result.output.encode()) < 8000
    assert "[cut" not in result.output
    assert "…" in result.output


async def test_it_says_that_nothing_was_found(service: Service) -> None:
    service.answer = lambda _asked: as_json(searxng_found([]))
    assert await search(service, "q") == ToolResult("Nothing was found.")


async def test_it_says_what_searxng_has_to_be_told(service: Service) -> None:
    service.answer = lambda _asked: Reply(b"<h1>Forbidden</h1>", 403, "text/html")
    result = await search(service, "q")
    assert (result.output, result.code) == ("", 502)
    assert "“json” must be among its search formats" in result.message


async def test_it_searches_with_tavily(service: Service) -> None:
    service.answer = lambda _asked: as_json(tavily_found())
    result = await search(service, "rome", vendor="tavily", key=KEY)
    assert result == ToolResult("Rome is a city.\n\n1. Rome\nhttps://rome.example/\nA city.")
    asked = service.last
    assert (asked.method, asked.target) == ("POST", "/search")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.json == {"query": "rome", "max_results": 6, "include_answer": True}


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, 502, "refused the API key"),
        (403, 502, "refused the API key"),
        (429, 429, "quota"),
        (432, 429, "quota"),
        (433, 429, "quota"),
        (500, 502, "500 Internal Server Error"),
    ],
)
async def test_it_says_why_tavily_refuses(
    service: Service, status: int, code: int, message: str
) -> None:
    service.answer = lambda _asked: as_json({"detail": {"error": f"no: {KEY}"}}, status)
    result = await search(service, "rome", vendor="tavily", key=KEY)
    assert (result.output, result.code) == ("", code)
    assert message in result.message
    assert KEY not in result.message


@pytest.mark.parametrize("vendor", ["searxng", "tavily"])
@pytest.mark.parametrize("reply", [as_json({"results": [1]}), as_json([1]), Reply(b"x")])
async def test_it_says_that_an_answer_makes_no_sense(
    service: Service, vendor: str, reply: Reply
) -> None:
    service.answer = lambda _asked: reply
    result = await search(service, "q", vendor=vendor, key=KEY)
    assert (result.output, result.code) == ("", 502)


@pytest.mark.parametrize("vendor", ["searxng", "tavily"])
async def test_it_says_that_the_service_cannot_be_reached(service: Service, vendor: str) -> None:
    async with serving() as gone:
        pass
    result = await search(gone, "q", vendor=vendor, key=KEY)
    assert (result.output, result.code) == ("", 502)
    assert result.message == (
        "The web cannot be searched at present. The service cannot be reached."
    )


async def test_it_sends_a_key_to_a_searxng_behind_a_proxy_and_shows_it_to_nobody(
    service: Service,
) -> None:
    service.answer = lambda asked: as_json(
        searxng_found([searxng_result(1, content=asked.headers["authorization"])])
    )
    result = await search(service, "q", key=KEY)
    assert service.last.headers["authorization"] == f"Bearer {KEY}"
    assert result.output.endswith(f"Bearer {REDACTED}")


@pytest.mark.parametrize("query", ["", " \n ", "x" * 401])
async def test_it_asks_for_a_query(service: Service, query: str) -> None:
    result = await search(service, query)
    assert result.code == 400
    assert service.asked == []


async def test_it_searches_with_no_service_that_cannot(service: Service) -> None:
    assert (await search(service, "q", vendor="open_meteo")).code == 501
    assert service.asked == []
