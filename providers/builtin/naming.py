"""Which of the tools that are offered a text asks for by name, and with which arguments. Pure.

`order status A-1`, `What is the weather in Berlin?`, `get_sum 2 3`, `echo {"message": "hello"}`:
what follows the name goes into the arguments that the tool requires. No understanding is meant;
it lets tools be tried in a conversation where there is no other model than the demo.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from providers.types import ToolSchema

# What a Chinese sentence calls these; their names are English.
_CHINESE = {
    "weather": re.compile(
        r"(?:请问|查一下|今天|现在|明天)*(?P<rest>(?!今天|现在|明天)[\w·]{2,12}?)"
        r"(?:今天|现在|明天)?的?天气"
    ),
    "search": re.compile(r"(?:搜索|搜一下|上网查)(?:一下)?(?P<rest>.+)"),
}
_ZONES = {
    "Asia/Shanghai": re.compile(r"\b(?:beijing|shanghai|china)\b|北京|上海|中国", re.IGNORECASE),
    "Asia/Hong_Kong": re.compile(r"\bhong kong\b|香港", re.IGNORECASE),
    "Asia/Tokyo": re.compile(r"\b(?:tokyo|japan)\b|东京|日本", re.IGNORECASE),
    "Asia/Singapore": re.compile(r"\bsingapore\b|新加坡", re.IGNORECASE),
    "Australia/Sydney": re.compile(r"\bsydney\b|悉尼", re.IGNORECASE),
    "Europe/Berlin": re.compile(r"\b(?:berlin|germany)\b|柏林|德国", re.IGNORECASE),
    "Europe/London": re.compile(r"\b(?:london|england)\b|伦敦|英国", re.IGNORECASE),
    "Europe/Paris": re.compile(r"\b(?:paris|france)\b|巴黎|法国", re.IGNORECASE),
    "America/New_York": re.compile(r"\bnew york\b|纽约", re.IGNORECASE),
    "America/Los_Angeles": re.compile(r"\blos angeles\b|洛杉矶", re.IGNORECASE),
}
_FILLER = re.compile(
    r"\W*(?:(?:in|of|for|about|at|to|with|the|is|it|me)\b\s*|(?:查询|查|的)\s*)*", re.IGNORECASE
)
_EDGES = " \t\"'“”‘’「」：:，,。.？?！!；;"
_NAME_CHARS = "A-Za-z0-9_"


def named_call(said: str, tools: Sequence[ToolSchema]) -> tuple[str, dict[str, Any]] | None:
    """The tool whose name is said, the longest of several, and its arguments; None of none.

    A tool that requires more than was said is not meant.
    """
    for tool in sorted(tools, key=lambda each: len(each.name), reverse=True):
        rest = _after_name(said, tool.name)
        arguments = None if rest is None else _arguments(rest, tool.parameters)
        if arguments is not None:
            return tool.name, arguments
    return None


def time_zone_in(said: str) -> str:
    """The time zone of the place that a text names; "" where it names none that is known."""
    return next((zone for zone, pattern in _ZONES.items() if pattern.search(said)), "")


def _after_name(said: str, name: str) -> str | None:
    """What follows a tool's name; of an MCP server's tool, the part without the prefix will do."""
    for spelled in (name, name.partition("__")[2]):
        words = [re.escape(word) for word in re.split(r"[_-]+", spelled) if word]
        if words:
            pattern = rf"(?<![{_NAME_CHARS}]){'[ _-]+'.join(words)}(?![{_NAME_CHARS}])"
            if found := re.search(pattern, said, re.IGNORECASE | re.ASCII):
                return said[found.end() :]
    in_chinese = _CHINESE.get(name)
    found = in_chinese.search(said) if in_chinese else None
    return found["rest"] if found else None


def _arguments(rest: str, parameters: dict[str, Any]) -> dict[str, Any] | None:
    """The arguments that a text gives: JSON, or a value for each that is required."""
    given = _json_object(rest)
    if given is not None:
        return given
    required = parameters.get("required") or []
    if not required:
        return {}
    text = rest[_filler_length(rest) :].strip(_EDGES)
    values = text.split(maxsplit=len(required) - 1)
    if len(values) < len(required):
        return None
    properties = parameters.get("properties") or {}
    return {
        name: _typed(value, properties.get(name))
        for name, value in zip(required, values, strict=True)
    }


def _filler_length(text: str) -> int:
    found = _FILLER.match(text)
    return found.end() if found else 0


def _typed(value: str, schema: object) -> Any:
    """A number where the schema wants one; what is none stays a text, for the tool to refuse."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind not in ("integer", "number"):
        return value
    try:
        return int(value) if kind == "integer" else float(value)
    except ValueError:
        return value


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
