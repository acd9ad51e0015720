"""From rows to specs: tools with their secrets and services filled in, under names models take."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import cast

from django.db.models import prefetch_related_objects

from tooling.catalogue import BUILTIN_TOOLS, CLIENT_TIMEOUT_MS, Language
from tooling.models import Category, Tool, ToolBackend
from tooling.types import (
    Backend,
    BuiltinTarget,
    HttpMethod,
    HttpTarget,
    Secret,
    Target,
    ToolSpec,
)

MAX_NAME = 64
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")


def prefetch_parts(tools: Sequence[Tool]) -> None:
    """Reads what `tool_spec` needs of these rows, in one query for all; none where none is needed.

    The rows should come with `select_related("backend")`.
    """
    prefetch_related_objects([tool for tool in tools if tool.http_url], "secrets")


def tool_spec(tool: Tool, language: Language) -> ToolSpec:
    """A tool, ready to be offered and run. The system's own are described in the language.

    Reads the tool's secrets and service, where `prefetch_parts` has not.
    """
    builtin = BUILTIN_TOOLS.get(tool.pk) if tool.is_system else None
    is_server = tool.category == Category.QUERY
    if builtin:
        timeout_ms = builtin.timeout_ms
    else:
        timeout_ms = tool.http_timeout_ms if is_server else CLIENT_TIMEOUT_MS
    return ToolSpec(
        id=tool.called,
        name=builtin.name.get(language) if builtin else tool.name,
        description=builtin.told(language) if builtin else tool.description,
        parameters=builtin.parameters(language) if builtin else tool.parameter_schema,
        defaults=tool.parameter_defaults,
        executor="server" if is_server else "client",
        wait_for_response=tool.wait_for_response,
        timeout_ms=timeout_ms,
        target=_target(tool, is_builtin=builtin is not None) if is_server else None,
    )


def named_apart(specs: Iterable[ToolSpec]) -> tuple[ToolSpec, ...]:
    """The tools of one assistant under names that models take, each once; the first keeps its."""
    taken: set[str] = set()
    named = []
    for spec in specs:
        name = _free_name(_NOT_IN_NAMES.sub("_", spec.id)[:MAX_NAME] or "tool", taken)
        taken.add(name)
        named.append(spec if name == spec.id else dataclasses.replace(spec, id=name))
    return tuple(named)


def backend_of(row: ToolBackend | None) -> Backend | None:
    """The service behind a built-in tool, or None where none is set or enabled."""
    if row is None or not row.is_enabled or not row.base_url:
        return None
    return Backend(row.vendor, row.base_url.rstrip("/"), row.api_key)


def _free_name(wanted: str, taken: set[str]) -> str:
    suffixes = itertools.chain([""], (f"_{number}" for number in itertools.count(2)))
    names = (wanted[: MAX_NAME - len(suffix)] + suffix for suffix in suffixes)
    return next(name for name in names if name not in taken)


def _target(tool: Tool, *, is_builtin: bool) -> Target | None:
    if is_builtin:
        return BuiltinTarget(tool.pk, backend_of(getattr(tool, "backend", None)))
    # Without an address it is an entry of the catalogue only: nothing can be run.
    return http_target(tool) if tool.http_url else None


def http_target(tool: Tool) -> HttpTarget:
    """The request that the tool makes, with all of its secrets, also those for other hosts."""
    return HttpTarget(
        method=cast(HttpMethod, tool.http_method),
        url=tool.http_url,
        headers=tool.http_headers,
        body=tool.http_body,
        result_pointer=tool.result_pointer,
        secrets=tuple(Secret(row.name, row.host, row.value) for row in tool.secrets.all()),
    )
