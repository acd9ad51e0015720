"""The tool `search`: the web, through a service of SearXNG's or of Tavily's shape.

https://docs.searxng.org/dev/search_api and https://docs.tavily.com/documentation/api-reference.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from django.utils.translation import gettext as _
from pydantic import BaseModel, ValidationError

from tooling.outbound import Answer, Unanswered, fetch
from tooling.placeholders import query_of
from tooling.types import Backend, ToolContext, ToolResult

TIMEOUT_S = 8.0
MAX_QUERY_CHARS = 400
MAX_RESULTS = 6
MAX_SNIPPET_CHARS = 800
MAX_TITLE_CHARS = 200
_MARKUP = re.compile(r"<[^<>]{0,200}>")
_SEARXNG_LANGUAGES = {"zh": "zh-CN", "en": "en"}


class Result(BaseModel):
    """One page that was found."""

    title: str = ""
    url: str = ""
    content: str | None = ""


class Found(BaseModel):
    """What a search brought; `answer` is what the service itself makes of it."""

    answer: str | None = None
    results: list[Result] = []


class _SearxngAnswer(BaseModel):
    answer: str


class _Infobox(BaseModel):
    infobox: str = ""
    content: str | None = ""


class _SearxngFound(BaseModel):
    results: list[Result] = []
    # Texts in earlier versions.
    answers: list[_SearxngAnswer | str] = []
    infoboxes: list[_Infobox] = []


async def run(arguments: dict[str, Any], context: ToolContext, backend: Backend) -> ToolResult:
    """The pages found, each with its address and what it says about the query."""
    query = " ".join(str(arguments.get("query", "")).split())
    if not query or len(query) > MAX_QUERY_CHARS:
        message = _("Give a query of at most %(count)d characters.")
        return ToolResult("", 400, message % {"count": MAX_QUERY_CHARS})
    ask = _VENDORS.get(backend.vendor)
    if ask is None:
        return ToolResult("", 501, _("The service that is set for this tool cannot search."))
    try:
        found = await ask(query, context.language, backend)
    except Unanswered as error:
        message = _("The web cannot be searched at present. %(why)s") % {"why": error.message}
        return ToolResult("", error.code, message)
    except ValidationError:
        return ToolResult("", 502, _("The service's answer is not of the expected shape."))
    text = "\n\n".join(_told(found))
    return ToolResult(text or _("Nothing was found."))


async def _searxng(query: str, language: str, backend: Backend) -> Found:
    asked = {"q": query, "format": "json", "language": _SEARXNG_LANGUAGES.get(language, "all")}
    headers = {"Authorization": f"Bearer {backend.api_key}"} if backend.api_key else {}
    url = f"{backend.base_url}/search?{query_of(asked)}"
    answer = await fetch("GET", url, headers=headers, timeout_s=TIMEOUT_S)
    if answer.status == 403:
        # SearXNG's answer where its settings do not list the format.
        raise Unanswered(502, _("SearXNG refuses: “json” must be among its search formats."))
    found = _SearxngFound.model_validate(_success(answer).json())
    answers = [each if isinstance(each, str) else each.answer for each in found.answers]
    facts = [f"{each.infobox}: {each.content}" for each in found.infoboxes if each.content]
    return Found(answer="\n".join([*answers, *facts]), results=found.results)


async def _tavily(query: str, _language: str, backend: Backend) -> Found:
    asked = {"query": query, "max_results": MAX_RESULTS, "include_answer": True}
    answer = await fetch(
        "POST",
        f"{backend.base_url}/search",
        headers={
            "Authorization": f"Bearer {backend.api_key}",
            "Content-Type": "application/json",
        },
        content=json.dumps(asked).encode(),
        timeout_s=TIMEOUT_S,
    )
    if answer.status in {401, 403}:
        raise Unanswered(502, _("The service refused the API key."))
    if answer.status in {429, 432, 433}:
        raise Unanswered(429, _("The quota of the search service is used up."))
    return Found.model_validate(_success(answer).json())


_VENDORS: dict[str, Callable[[str, str, Backend], Awaitable[Found]]] = {
    "searxng": _searxng,
    "tavily": _tavily,
}


def _success(answer: Answer) -> Answer:
    if not answer.is_success:
        message = _("The service answered %(status)s.") % {"status": answer.status_line}
        raise Unanswered(502, message)
    return answer


def _told(found: Found) -> Iterator[str]:
    if found.answer and found.answer.strip():
        yield _plain(found.answer, MAX_SNIPPET_CHARS)
    pages = {
        page.url: page for page in found.results if page.url.startswith(("http://", "https://"))
    }
    for number, page in enumerate(list(pages.values())[:MAX_RESULTS], start=1):
        title = _plain(page.title, MAX_TITLE_CHARS) or page.url
        snippet = _plain(page.content or "", MAX_SNIPPET_CHARS)
        yield "\n".join(filter(None, (f"{number}. {title}", page.url[:500], snippet)))


def _plain(text: str, max_chars: int) -> str:
    """Some services mark what fits with tags, and escape the rest."""
    flat = " ".join(html.unescape(_MARKUP.sub("", text)).split())
    return flat if len(flat) <= max_chars else f"{flat[: max_chars - 1]}…"
