"""What has changed between two descriptions of a tool, line by line. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
from collections.abc import Iterable
from typing import Any, Literal

Kind = Literal["same", "added", "removed"]
_KINDS: dict[str, Kind] = {" ": "same", "+": "added", "-": "removed"}
# Unchanged lines around what changed.
CONTEXT = 2


@dataclasses.dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of the old text, of the new one, or of both."""

    kind: Kind
    text: str

    @property
    def sign(self) -> str:
        return {"same": " ", "added": "+", "removed": "−"}[self.kind]


def text_diff(before: str, after: str) -> list[DiffLine]:
    """The changed lines with a little around them; nothing where nothing changed."""
    return list(_lines(before.splitlines(), after.splitlines()))


def json_diff(before: Any, after: Any) -> list[DiffLine]:
    """As of texts; the order of keys is no change."""
    return text_diff(_text(before), _text(after))


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def _lines(before: list[str], after: list[str]) -> Iterable[DiffLine]:
    lines = difflib.unified_diff(before, after, lineterm="", n=CONTEXT)
    # The first two lines name files; those with @@ the places in them.
    for line in itertools.islice(lines, 2, None):
        if line[0] in _KINDS:
            yield DiffLine(_KINDS[line[0]], line[1:])
