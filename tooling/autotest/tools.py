"""Tests a tool: what it may reach, and what comes back where calling it changes nothing."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Literal

from django.conf import settings
from django.utils import timezone
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import Conflict
from core.http import check_host
from providers.specs import default_llm, llm_spec
from tooling.access import access_tool
from tooling.autotest.cases import Asker, Check, CheckFailed, Prepared, Tester
from tooling.models import Tool
from tooling.placeholders import host_of
from tooling.runner import try_tool
from tooling.schema import argument_problems, schema_problem
from tooling.specs import tool_spec
from tooling.types import BuiltinTarget, HttpTarget, ToolContext, ToolResult, ToolSpec

# Calling these twice is as calling them once, and changes nothing.
_SAFE_METHODS = frozenset({"GET"})
_SHOWN_CHARS = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """Arguments for one of our own tools, and what must be in the answer."""

    arguments: dict[str, Any]
    expected: str = ""


BUILTIN_EXAMPLES = {
    "calculator": Example({"expression": "2 + 3 * 4"}, "14"),
    "code_interpreter": Example({"code": "print(6 * 7)"}, "42"),
    "current_time": Example({}, ":"),
    "weather": Example({"city": "Beijing"}),
    "search": Example({"query": "weather"}),
    "translate": Example({"text": "Good morning", "target_lang": "zh"}),
}


def access(principal: Principal, tool_id: str) -> Tool:
    """The tool, if the principal may have it tested. Raises NotFound and Conflict."""
    tool = access_tool(principal, tool_id)
    may_enable = principal.is_operator or tool.owner_id == principal.user_id
    if not tool.is_enabled and not may_enable:
        raise Conflict(_("This tool is disabled."))
    return tool


def prepare(tool_id: str, asker: Asker) -> Prepared | None:
    tool = Tool.objects.select_related("backend").with_id(tool_id)
    if tool is None:
        return None
    language: Literal["zh", "en"] = "zh" if (get_language() or "").startswith("zh") else "en"
    spec = tool_spec(tool, language)
    return Prepared(
        name=tool.name,
        owner_id=tool.owner_id,
        found=_("Found tool: %(name)s") % {"name": spec.name},
        checks=(Check("Parameters", _Parameters(spec).fit), *_checks(spec, asker)),
        note=lambda is_ok, message: _note(tool.pk, is_ok=is_ok, message=message),
    )


def _checks(spec: ToolSpec, asker: Asker) -> tuple[Check, ...]:
    match spec.target:
        case BuiltinTarget():
            call = _BuiltinCall(spec, spec.target.tool_id, _context(asker.owner_id))
            return (Check("Call", call.made),)
        case HttpTarget():
            sent = _Sent(spec, spec.target, _context(asker.owner_id))
            return (
                Check("URL Allowed", sent.may_leave),
                Check("Reachable", sent.is_answered),
                Check("Result", sent.has_result),
            )
        case _:
            return (Check("Call", _runs_elsewhere),)


async def _runs_elsewhere() -> str:
    return _("Not called: it runs on the caller's device.")


def _context(owner_id: int | None) -> ToolContext:
    llm = default_llm(owner_id)
    return ToolContext(
        owner_id=owner_id,
        assistant_id="",
        language="zh" if (get_language() or "").startswith("zh") else "en",
        time_zone=settings.TIME_ZONE,
        user_id=owner_id,
        llm=llm_spec(llm) if llm else None,
    )


def _note(tool_id: str, *, is_ok: bool, message: str) -> None:
    Tool.objects.filter(pk=tool_id).update(
        checked_at=timezone.now(), check_ok=is_ok, check_message=message[:500]
    )


class _Parameters:
    def __init__(self, spec: ToolSpec) -> None:
        self._spec = spec

    async def fit(self) -> str:
        if problem := schema_problem(self._spec.parameters):
            raise CheckFailed(_("The schema cannot be used: %(why)s.") % {"why": problem})
        arguments, lacking = example_arguments(self._spec)
        if lacking:
            return _("No default and no example for: %(names)s") % {"names": ", ".join(lacking)}
        if problem := argument_problems(self._spec.parameters, arguments):
            raise CheckFailed(
                _("The defaults and examples do not fit the schema: %(why)s") % {"why": problem}
            )
        return _("Arguments: %(count)d") % {"count": len(arguments)}


class _BuiltinCall:
    def __init__(self, spec: ToolSpec, tool_id: str, context: ToolContext) -> None:
        self._spec = spec
        self._tool_id = tool_id
        self._context = context

    async def made(self) -> str:
        example = BUILTIN_EXAMPLES.get(self._tool_id)
        if example is None:
            return _("Not called: it works inside of a conversation only.")
        arguments, _lacking = example_arguments(self._spec)
        result = await try_tool(self._spec, arguments, self._context)
        if example.expected not in _succeeded(result).output:
            raise CheckFailed(
                _("Expected “%(expected)s”, found “%(found)s”.")
                % {"expected": example.expected, "found": result.output[:_SHOWN_CHARS]}
            )
        return _shown(result)


class _Sent:
    """An HTTP tool during its test."""

    def __init__(self, spec: ToolSpec, target: HttpTarget, context: ToolContext) -> None:
        self._spec = spec
        self._target = target
        self._context = context
        self._arguments, self._lacking = example_arguments(spec)
        self._whole: ToolResult | None = None

    async def may_leave(self) -> str:
        host, _colon, port = host_of(self._target.url).rpartition(":")
        await check_host(host.strip("[]"), int(port))
        return _("Allowed: %(host)s") % {"host": f"{host}:{port}"}

    async def is_answered(self) -> str:
        if reason := self._reason_not_to():
            return reason
        started = time.monotonic()
        # All of the answer first: whether the wanted part is in it is another question.
        whole = dataclasses.replace(self._target, result_pointer="")
        result = await try_tool(
            dataclasses.replace(self._spec, target=whole), self._arguments, self._context
        )
        self._whole = _succeeded(result)
        return _("Answered in %(ms)dms") % {"ms": round((time.monotonic() - started) * 1000)}

    async def has_result(self) -> str:
        if reason := self._reason_not_to():
            return reason
        if self._whole is None:
            raise CheckFailed(_("Not tried: there is no answer."))
        if not self._target.result_pointer:
            return _shown(self._whole)
        return _shown(_succeeded(await try_tool(self._spec, self._arguments, self._context)))

    def _reason_not_to(self) -> str | None:
        if self._target.method not in _SAFE_METHODS:
            return _("Not sent: a %(method)s request may change something.") % {
                "method": self._target.method
            }
        if self._lacking:
            return _("Not sent: no default and no example for: %(names)s") % {
                "names": ", ".join(self._lacking)
            }
        return None


def example_arguments(spec: ToolSpec) -> tuple[dict[str, Any], list[str]]:
    """Arguments to try a tool with: its defaults and examples; and the required ones it lacks."""
    ours = spec.target.tool_id if isinstance(spec.target, BuiltinTarget) else ""
    own = BUILTIN_EXAMPLES[ours].arguments if ours in BUILTIN_EXAMPLES else {}
    properties = spec.parameters.get("properties")
    named = properties if isinstance(properties, dict) else {}
    examples = {name: value for name, schema in named.items() for value in _examples(schema)[:1]}
    arguments = {**examples, **spec.defaults, **own}
    required = spec.parameters.get("required")
    wanted = required if isinstance(required, list) else []
    return arguments, [str(name) for name in wanted if name not in arguments]


def _examples(schema: object) -> list[Any]:
    if not isinstance(schema, dict):
        return []
    given = [schema[word] for word in ("example", "default", "const") if word in schema]
    several = [schema[word] for word in ("examples", "enum") if isinstance(schema.get(word), list)]
    return given + [value for values in several for value in values]


def _succeeded(result: ToolResult) -> ToolResult:
    if result.code >= 400:
        raise CheckFailed(f"{result.message} {result.output[:_SHOWN_CHARS]}".strip())
    return result


def _shown(result: ToolResult) -> str:
    text = " ".join(result.output.split())
    return _("Result: %(text)s") % {"text": text[:_SHOWN_CHARS] or "…"}


TESTER = Tester(
    existence="Tool Existence",
    missing=gettext_lazy("Tool not found"),
    access=access,
    prepare=prepare,
)
