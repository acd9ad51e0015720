""" "Try it": one call of a tool, with arguments from a form, and everything about it."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from core.errors import AppError
from core.loops import wait_for
from providers.specs import default_llm, llm_spec
from tooling import http_tool
from tooling.admin.arguments import ArgumentsForm, arguments_form
from tooling.admin.links import link_to
from tooling.catalogue import Language, is_builtin, name_to_read
from tooling.models import Category, McpServer, Tool
from tooling.redaction import redact
from tooling.runner import try_tool
from tooling.specs import prefetch_parts, tool_spec
from tooling.types import HttpTarget, ToolContext, ToolResult, ToolSpec

# Names of arguments are anybody's; the page has fields of its own.
PREFIX = "argument"
# Of the built-in ones, those that only a conversation can run.
NEEDS_ASSISTANT = frozenset({"knowledge"})


@dataclasses.dataclass(frozen=True, slots=True)
class ShownRequest:
    """The request that a call makes, without its secrets."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: str


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """One call as the page shows it."""

    arguments: str
    request: ShownRequest | None
    result: ToolResult
    output: str
    duration_ms: int

    @property
    def is_ok(self) -> bool:
        return self.result.code < 400


def show_tool(request: HttpRequest, page: ModelAdmin[Tool], tool: Tool) -> HttpResponse:
    """The page for a tool."""
    prefetch_parts([tool])
    context = {
        **page.admin_site.each_context(request),
        "title": name_to_read(tool),
        "original": tool,
        "opts": page.model._meta,
        "tab": "try",
        "why_not": why_not(tool),
    }
    return _show(request, tool_spec(tool, _language()), owner_id=tool.owner_id, context=context)


def show_mcp_tool(
    request: HttpRequest, page: ModelAdmin[McpServer], server: McpServer, spec: ToolSpec
) -> HttpResponse:
    """The page for one tool of an MCP server."""
    context = {
        **page.admin_site.each_context(request),
        "title": spec.id,
        "server": server,
        "server_url": link_to("tooling_mcpserver_change", server.pk),
        "opts": page.model._meta,
        "why_not": "",
    }
    return _show(request, spec, owner_id=server.owner_id, context=context)


def why_not(tool: Tool) -> str:
    """Why the tool cannot be run from here, or nothing."""
    if tool.category == Category.SYSTEM:
        return _("This tool runs on the caller's device. Talk to an assistant that has it.")
    if is_builtin(tool) and tool.pk in NEEDS_ASSISTANT:
        return _("This tool searches the knowledge of an assistant. Talk to one that has it.")
    return ""


def _show(
    request: HttpRequest, spec: ToolSpec, *, owner_id: int | None, context: dict[str, Any]
) -> HttpResponse:
    make_form = arguments_form(spec.parameters, spec.defaults)
    form = make_form(request.POST if request.method == "POST" else None, prefix=PREFIX)
    trial = None
    if request.method == "POST" and not context["why_not"] and form.is_valid():
        trial = _trial(request, spec, form, owner_id)
    page = {**context, "spec": spec, "form": form, "trial": trial, "media": form.media}
    return render(request, "tooling/try.html", page)


def _trial(
    request: HttpRequest, spec: ToolSpec, form: ArgumentsForm, owner_id: int | None
) -> Trial:
    llm = default_llm(owner_id)
    context = ToolContext(
        owner_id=owner_id,
        assistant_id="",
        language=_language(),
        time_zone=settings.TIME_ZONE,
        user_id=request.user.pk,
        llm=llm_spec(llm) if llm else None,
    )
    sent = form.arguments()
    started = time.monotonic()
    result = wait_for(try_tool(spec, sent, context))
    return Trial(
        arguments=_neat(sent),
        request=_request(spec, sent),
        result=result,
        output=_neat_text(result.output),
        duration_ms=round((time.monotonic() - started) * 1000),
    )


def _request(spec: ToolSpec, sent: Mapping[str, Any]) -> ShownRequest | None:
    """The request of an HTTP tool, redacted; None where there is none or none could be made."""
    if not isinstance(spec.target, HttpTarget):
        return None
    try:
        made = http_tool.prepared(spec.target, {**spec.defaults, **sent})
    except AppError:
        return None
    secrets = tuple(http_tool.secret_values(spec.target))
    return ShownRequest(
        method=made.method,
        url=redact(made.url, secrets),
        headers={name: redact(value, secrets) for name, value in made.headers.items()},
        body=_neat_text(redact((made.content or b"").decode(errors="replace"), secrets)),
    )


def _neat(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _neat_text(text: str) -> str:
    """JSON over several lines; any other text as it is."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return _neat(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _language() -> Language:
    return "zh" if (get_language() or "").startswith("zh") else "en"
