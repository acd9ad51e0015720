"""What a call of a tool is for, as the model tells whoever watches: one more argument.

Pure. No tool ever gets it, and it makes no two calls of the same thing different.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tooling.catalogue import Language, Text

MAX_CHARS = 100
_NAME = "intent"
_DESCRIPTION = Text(
    "What this call is for, in a few words that the user reads while it runs",
    "用几个字说明此次调用的目的，用户会在执行时看到",
)


def asking(parameters: dict[str, Any], language: Language) -> dict[str, Any]:
    """The schema of a tool's arguments with one more, first and optional.

    As it is where the tool has one of that name.
    """
    own = parameters.get("properties", {})
    if _NAME in own:
        return parameters
    intent = {"type": "string", "description": _DESCRIPTION.get(language)}
    return {"type": "object", **parameters, "properties": {_NAME: intent, **own}}


def parted(arguments: dict[str, Any], parameters: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The tool's own arguments, and what the call is for on one line, "" where it is not said."""
    if _NAME not in arguments or _NAME in parameters.get("properties", {}):
        return arguments, ""
    rest = {name: value for name, value in arguments.items() if name != _NAME}
    said = arguments[_NAME]
    return rest, " ".join(said.split())[:MAX_CHARS] if isinstance(said, str) else ""
