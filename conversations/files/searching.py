"""Looking for a text in files. The text stands for itself: there is no pattern that could run on
and on, and what is read is bounded, whatever the files are."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable

from conversations.files import tree
from knowledge.parse.charsets import decode
from knowledge.parse.draft import Refused

MAX_FILE_BYTES = 10 * 2**20
MAX_BYTES = 64 * 2**20
MAX_SECONDS = 10.0
MAX_MATCHES = 100
MAX_MATCHES_IN_A_FILE = 20
MAX_LINE_CHARS = 200
_BEFORE = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """A line that holds the text, counted from 1; 0 where the file's name does."""

    path: str
    line: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """What was found; not all there is where a limit was met."""

    matches: tuple[Match, ...]
    files: int
    is_complete: bool


def search(text: str, nodes: Iterable[tree.Node]) -> Search:
    """Where these files hold the text, in either case. Files that are no text are known by name."""
    wanted = text.casefold()
    matches: list[Match] = []
    files = size = 0
    is_complete = True
    deadline = time.monotonic() + MAX_SECONDS
    for node in nodes:
        path = "/".join(node.parts)
        if wanted in node.parts[-1].casefold():
            matches.append(Match(path, 0, ""))
        if not node.is_dir and node.size <= MAX_FILE_BYTES:
            files, size = files + 1, size + node.size
            found, has_all = _in_file(node, path, wanted)
            matches += found
            is_complete &= has_all
        if len(matches) > MAX_MATCHES or size > MAX_BYTES or time.monotonic() > deadline:
            return Search(tuple(matches[:MAX_MATCHES]), files, is_complete=False)
    return Search(tuple(matches), files, is_complete)


def _in_file(node: tree.Node, path: str, wanted: str) -> tuple[list[Match], bool]:
    """The first lines that hold it, and whether these are all."""
    try:
        with tree.open_file(node.parent, node.parts[-1]) as file:
            text = decode(file.read(MAX_FILE_BYTES))
    except (OSError, Refused):
        return [], True
    if wanted not in text.casefold():
        return [], True
    found: list[Match] = []
    for number, line in enumerate(text.split("\n"), 1):
        at = line.casefold().find(wanted)
        if at < 0:
            continue
        if len(found) == MAX_MATCHES_IN_A_FILE:
            return found, False
        start = max(0, at - _BEFORE)
        found.append(Match(path, number, line[start : start + MAX_LINE_CHARS].strip()))
    return found, True
