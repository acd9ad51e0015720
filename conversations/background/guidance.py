"""What a user's prompt and personalization mean for a task. Pure: rows in, words and choices out.

Users' texts are put between ours as they are: nothing in them is a placeholder, and no function
that knows placeholders ever reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

from conversations.types import PersonalizationRow, RunModeName
from tooling.catalogue import Language, Text
from tooling.types import BuiltinTarget, HttpTarget, McpTarget, ToolSpec

MAX_WORD_CHARS = 20
MAX_CONSIDERATIONS = 10
MAX_CONSIDERATION_CHARS = 50
MAX_CATEGORIES = 20
MAX_MODEL_CHARS = 200
MIN_INTERVAL, MAX_INTERVAL = 1, 50

RUN_MODES: tuple[RunModeName, ...] = ("fast", "thinking", "deep")
DEFAULT_RUN_MODE: RunModeName = "fast"
# Tones that clients offer; any other short text is one too.
TONES = (
    "健谈", "幽默", "直言不讳", "鼓励性", "诗意", "企业商务", "打破常规", "同理心",
)  # fmt: skip

MIN_ITERATIONS, MAX_ITERATIONS, DEFAULT_ITERATIONS = 1, 1000, 100
# Who wants every step thought over wants it thought through.
DEEP_ITERATIONS = 200

ToolCategory = Literal[
    "query", "system", "network", "code", "knowledge", "mcp", "files", "file_edit", "todo"
]
TOOL_CATEGORIES: tuple[ToolCategory, ...] = get_args(ToolCategory)
_BUILTIN_CATEGORIES: Mapping[str, frozenset[ToolCategory]] = {
    "search": frozenset({"network"}),
    "weather": frozenset({"network"}),
    "code_interpreter": frozenset({"code"}),
    "knowledge": frozenset({"knowledge"}),
}
_AGENT_CATEGORIES: Mapping[str, frozenset[ToolCategory]] = {
    "list_files": frozenset({"files"}),
    "read_file": frozenset({"files"}),
    "search_files": frozenset({"files"}),
    "write_file": frozenset({"files", "file_edit"}),
    "append_file": frozenset({"files", "file_edit"}),
    "update_todo": frozenset({"todo"}),
}

_SPACES = re.compile(r"\s+")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


# --- Personalizations ----------------------------------------------------------------------------


def sanitised(content: Mapping[str, Any]) -> PersonalizationRow:
    """The content as it is kept: every key of the contract, within its bounds; no other key.

    What has a form that cannot be meant counts as not sent.
    """
    return PersonalizationRow(
        enabled=_flag(content.get("enabled"), default=True),
        self_identify=_line(content.get("self_identify"), MAX_WORD_CHARS),
        user_name=_line(content.get("user_name"), MAX_WORD_CHARS),
        profession=_line(content.get("profession"), MAX_WORD_CHARS),
        tone=_line(content.get("tone"), MAX_WORD_CHARS),
        considerations=_lines(
            content.get("considerations"), MAX_CONSIDERATIONS, MAX_CONSIDERATION_CHARS
        ),
        thinking_interval=_interval(content.get("thinking_interval")),
        disabled_tool_categories=_lines(
            content.get("disabled_tool_categories"), MAX_CATEGORIES, MAX_CONSIDERATION_CHARS
        ),
        default_run_mode=_run_mode(content.get("default_run_mode")),
        auto_generate_title=_flag(content.get("auto_generate_title"), default=True),
        tool_intent_enabled=_flag(content.get("tool_intent_enabled"), default=True),
        default_model=_line(content.get("default_model"), MAX_MODEL_CHARS) or None,
    )


def in_force(row: PersonalizationRow | None) -> PersonalizationRow:
    """What of a personalization counts: nothing where there is none, or where it is off."""
    return row if row is not None and row.get("enabled", True) else PersonalizationRow()


def _flag(value: Any, *, default: bool) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    return default


def _line(value: Any, limit: int) -> str:
    """A text on one line, so that it cannot pose as one of ours."""
    return _SPACES.sub(" ", value).strip()[:limit].strip() if isinstance(value, str) else ""


def _lines(value: Any, most: int, limit: int) -> list[str]:
    items = value if isinstance(value, list) else []
    lines = [line for item in items if (line := _line(item, limit))]
    return list(dict.fromkeys(lines))[:most]


def _interval(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return min(MAX_INTERVAL, max(MIN_INTERVAL, value))


def _run_mode(value: Any) -> RunModeName | None:
    return cast(RunModeName, value) if value in RUN_MODES else None


# --- Instructions --------------------------------------------------------------------------------

_VALUE = "{value}"
_HEADING = Text("How the user wants to be treated:", "用户希望你这样对待他：")
_ABOUT: Mapping[str, Text] = {
    "self_identify": Text("- You call yourself: {value}", "- 你的自称：{value}"),
    "user_name": Text("- The user is called: {value}", "- 对用户的称呼：{value}"),
    "profession": Text("- The user's profession: {value}", "- 用户的职业：{value}"),
    "tone": Text("- The tone of your answers: {value}", "- 你的语气风格：{value}"),
}
_CONSIDER = Text("- Always mind: {value}", "- 始终注意：{value}")


def instructions(prompt: str, personalization: PersonalizationRow | None, language: str) -> str:
    """What goes behind the assistant's own prompt: the user's, then how they want to be treated."""
    spoken: Language = "zh" if language.startswith("zh") else "en"
    row = in_force(personalization)
    given: Mapping[str, Any] = row
    wishes = [
        _filled(template, given[field], spoken)
        for field, template in _ABOUT.items()
        if given.get(field)
    ]
    wishes += [_filled(_CONSIDER, line, spoken) for line in row.get("considerations", [])]
    treated = "\n".join([_HEADING.get(spoken), *wishes]) if wishes else ""
    return "\n\n".join(part for part in (prompt.strip(), treated) if part)


def _filled(template: Text, value: str, language: Language) -> str:
    return template.get(language).replace(_VALUE, value)


# --- Choices -------------------------------------------------------------------------------------


def run_mode(
    asked: RunModeName | None,
    *,
    thinks: bool | None,
    kept: RunModeName | None,
    personalization: PersonalizationRow | None,
) -> RunModeName:
    """How a message is answered: as it says, as its conversation is, as its user likes, fast.

    `thinks` is the older form of saying it, and counts where the newer one was not used.
    """
    if asked is None and thinks is not None:
        asked = "thinking" if thinks else "fast"
    preferred = in_force(personalization).get("default_run_mode")
    return asked or kept or preferred or DEFAULT_RUN_MODE


def iterations(asked: int | None, mode: RunModeName) -> int:
    """How many calls of the model an answer may take."""
    if asked is not None:
        return min(MAX_ITERATIONS, max(MIN_ITERATIONS, asked))
    return DEEP_ITERATIONS if mode == "deep" else DEFAULT_ITERATIONS


def thinking_interval(mode: RunModeName, personalization: PersonalizationRow | None) -> int | None:
    """After how many calls the model thinks again, where it does not think in all or none."""
    return in_force(personalization).get("thinking_interval") if mode == "thinking" else None


def wants_title(personalization: PersonalizationRow | None) -> bool:
    """Whether a model may be asked for the conversation's title."""
    return in_force(personalization).get("auto_generate_title", True)


def wants_intents(personalization: PersonalizationRow | None) -> bool:
    """Whether the model is to say of each call of a tool what it is for."""
    return in_force(personalization).get("tool_intent_enabled", False)


# --- Tools ---------------------------------------------------------------------------------------


def disabled_categories(personalization: PersonalizationRow | None) -> frozenset[str]:
    """The categories of tools that the user does not want."""
    return frozenset(in_force(personalization).get("disabled_tool_categories", []))


def without_categories(tools: Iterable[ToolSpec], disabled: frozenset[str]) -> tuple[ToolSpec, ...]:
    """The tools that are in none of these categories."""
    return tuple(tool for tool in tools if not categories_of(tool) & disabled)


def disabled_agent_tools(disabled: frozenset[str]) -> frozenset[str]:
    """Which of the agent's own tools (files, to-do list) are in one of these categories."""
    return frozenset(
        name for name, categories in _AGENT_CATEGORIES.items() if categories & disabled
    )


def categories_of(tool: ToolSpec) -> frozenset[ToolCategory]:
    """What kinds of tool this one is; a tool is often of several."""
    match tool.target:
        case None:
            return frozenset({"system"})
        case BuiltinTarget(tool_id=tool_id):
            return _BUILTIN_CATEGORIES.get(tool_id, frozenset()) | {"query"}
        case HttpTarget():
            return frozenset({"query", "network"})
        case McpTarget():
            return frozenset({"mcp", "network"})
