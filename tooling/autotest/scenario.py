"""Scripted conversations: what is said in each step, and what must come of it. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from django.utils.translation import gettext as _

from core.errors import InvalidRequest

MAX_STEPS = 30
MAX_SAY_CHARS = 4_000
MAX_EXPECTATIONS = 20
MAX_WORD_CHARS = 200


class StepRow(TypedDict):
    """A step as `Scenario.steps` keeps it."""

    say: str
    expect_words: list[str]
    forbid_words: list[str]
    expect_tools: list[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One thing to say. A word may be alternatives: `yes|sure`."""

    say: str
    expect_words: tuple[str, ...] = ()
    forbid_words: tuple[str, ...] = ()
    expect_tools: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ToolUse:
    """A call that the assistant made, and whether it succeeded."""

    name: str
    is_ok: bool


def step_of(row: Mapping[str, Any]) -> Step:
    """The step of a stored row."""
    return Step(
        say=str(row.get("say", "")),
        expect_words=_words(row.get("expect_words")),
        forbid_words=_words(row.get("forbid_words")),
        expect_tools=_words(row.get("expect_tools")),
    )


def _words(value: object) -> tuple[str, ...]:
    return tuple(str(word) for word in value) if isinstance(value, list) else ()


def problems_of(step: Step, answer: str, uses: Iterable[ToolUse]) -> list[str]:
    """What is wrong with an answer, for people; empty where it is as it should be."""
    used = list(uses)
    problems = []
    if missing := [word for word in step.expect_words if not _is_said(word, answer)]:
        problems.append(_("Not said: %(words)s.") % {"words": _quoted(missing)})
    if said := [word for word in step.forbid_words if _is_said(word, answer)]:
        problems.append(_("Must not be said: %(words)s.") % {"words": _quoted(said)})
    called = {use.name for use in used}
    if idle := [name for name in step.expect_tools if name not in called]:
        problems.append(_("Not called: %(tools)s.") % {"tools": ", ".join(idle)})
    worked = {use.name for use in used if use.is_ok}
    if failed := [name for name in step.expect_tools if name in called - worked]:
        problems.append(_("Called, but failed: %(tools)s.") % {"tools": ", ".join(failed)})
    return problems


def _is_said(word: str, answer: str) -> bool:
    """Whether one of the alternatives is in the answer; a Latin word as a whole word."""
    return any(
        re.search(_pattern(option), answer, re.IGNORECASE)
        for option in map(str.strip, word.split("|"))
        if option
    )


def _pattern(option: str) -> str:
    # Chinese has no spaces between words; a digit or letter must not be part of a longer one.
    before = r"(?<![A-Za-z0-9])" if _is_latin(option[0]) else ""
    after = r"(?![A-Za-z0-9])" if _is_latin(option[-1]) else ""
    return before + re.escape(option) + after


def _is_latin(character: str) -> bool:
    return character.isascii() and character.isalnum()


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f"“{word}”" for word in words)


# --- What was sent -------------------------------------------------------------------------------


def checked_steps(value: object, *, param: str = "steps") -> list[StepRow]:
    """The steps as they are stored. Raises InvalidRequest saying which one is wrong, and how."""
    if not isinstance(value, list) or not value:
        raise InvalidRequest(_("Expected a list of at least one step."), param=param)
    if len(value) > MAX_STEPS:
        raise InvalidRequest(
            _("At most %(count)d steps are possible.") % {"count": MAX_STEPS}, param=param
        )
    return [_checked_step(row, f"{param}.{number}") for number, row in enumerate(value)]


def _checked_step(row: object, param: str) -> StepRow:
    if not isinstance(row, dict):
        raise InvalidRequest(_("Expected an object with “say”."), param=param)
    if unknown := sorted(map(str, set(row) - set(StepRow.__annotations__))):
        text = _("Unknown: %(names)s.")
        raise InvalidRequest(text % {"names": ", ".join(unknown)[:200]}, param=param)
    say = row.get("say")
    if not isinstance(say, str) or not say.strip() or len(say) > MAX_SAY_CHARS:
        raise InvalidRequest(_("Expected something to say."), param=f"{param}.say")
    return {
        "say": say,
        "expect_words": _checked_words(row.get("expect_words"), f"{param}.expect_words"),
        "forbid_words": _checked_words(row.get("forbid_words"), f"{param}.forbid_words"),
        "expect_tools": _checked_words(row.get("expect_tools"), f"{param}.expect_tools"),
    }


def _checked_words(value: object, param: str) -> list[str]:
    words = _texts([] if value is None else value)
    if words is None or not all(word.strip(" |") for word in words):
        raise InvalidRequest(_("Expected a list of words."), param=param)
    if len(words) > MAX_EXPECTATIONS or any(len(word) > MAX_WORD_CHARS for word in words):
        raise InvalidRequest(_("These are too many words, or too long ones."), param=param)
    return [word.strip() for word in words]


def _texts(value: object) -> list[str] | None:
    """The value as a list of texts, or None for anything else."""
    if not isinstance(value, list):
        return None
    texts = [item for item in value if isinstance(item, str)]
    return texts if len(texts) == len(value) else None
