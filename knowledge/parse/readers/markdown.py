"""Markdown, line by line: the source stays as it is, only its parts are told apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from knowledge.parse.charsets import decode
from knowledge.parse.draft import Draft, clean
from knowledge.parse.wire import Order

_FRONT_MATTER = re.compile(
    r"\A---[^\S\n]*\n(?P<body>.{0,20000}?\n)(?:---|\.\.\.)[^\S\n]*(?:\n|\Z)", re.S
)
# Of a line of a hundred thousand marks or spaces, no pattern may try every part.
_FENCE = re.compile(r" {0,3}(?P<mark>`{3,}+|~{3,}+)(?P<info>[^`]*+)\Z")
_HEADING = re.compile(r" {0,3}(?P<marks>#{1,6}+)(?:[ \t]++(?P<text>.*))?\Z")
_UNDERLINE = re.compile(r" {0,3}(?P<mark>=+|-{2,})[ \t]*\Z")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})\Z")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S")
_CODE_OR_COMMENT = re.compile(
    r"^[ \t]*+(?P<mark>(?P<tick>[`~])(?P=tick){2,}+)[^`\n]*+$"
    r".*?(?:^[ \t]*+(?P=mark)(?P=tick)*+[ \t]*+$|\Z)"
    r"|`[^`\n]*+`|(?P<comment><!--.*?-->)",
    re.DOTALL | re.MULTILINE,
)
_DELIMITER_CELL = re.compile(r"[ \t]*+:?-++:?[ \t]*+")


def read(order: Order, draft: Draft) -> None:
    text = clean(decode(Path(order.path).read_bytes()))
    front = _FRONT_MATTER.match(text)
    if front:
        draft.add("paragraph", front["body"])
        text = text[front.end() :]
    _Scanner(draft).scan(_without_comments(text).split("\n"))


def _without_comments(text: str) -> str:
    """Marks in code are text, and so are those that nothing closes.

    In one pass, however many comments never end: behind the last end none is looked for.
    """
    end = text.rfind("-->") + len("-->")
    return _CODE_OR_COMMENT.sub(_code, text[:end]) + text[end:]


def _code(found: re.Match[str]) -> str:
    return "" if found["comment"] else found[0]


class _Scanner:
    """Collects lines until something else begins."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._lines: list[str] = []
        self._is_item = False

    def scan(self, lines: list[str]) -> None:
        at = 0
        while at < len(lines):
            at = self._step(lines, at)
        self._flush()

    def _step(self, lines: list[str], at: int) -> int:
        """Takes what begins at a line; gives the line after it."""
        line = lines[at]
        if fence := _FENCE.match(line):
            return self._take_code(lines, at, fence["mark"])
        if heading := _HEADING.match(line):
            self._flush()
            title = _without_closing(heading["text"] or "")
            self._draft.add("heading", title, level=len(heading["marks"]))
            return at + 1
        if self._lines and not self._is_item and (underline := _UNDERLINE.match(line)):
            title, self._lines = " ".join(part.strip() for part in self._lines), []
            self._draft.add("heading", title, level=1 if underline["mark"][0] == "=" else 2)
            return at + 1
        if "|" in line and at + 1 < len(lines) and _is_delimiter(lines[at + 1]):
            return self._take_table(lines, at)
        self._take_line(line)
        return at + 1

    def _take_line(self, line: str) -> None:
        if not line.strip() or _RULE.match(line):
            self._flush()
        elif _ITEM.match(line):
            self._flush()
            self._lines, self._is_item = [line], True
        else:
            self._lines.append(line)

    def _take_code(self, lines: list[str], at: int, mark: str) -> int:
        self._flush()
        is_end = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*\Z").match
        end = next((i for i in range(at + 1, len(lines)) if is_end(lines[i])), len(lines))
        self._draft.add("code", "\n".join(lines[at + 1 : end]))
        return end + 1

    def _take_table(self, lines: list[str], at: int) -> int:
        self._flush()
        self._draft.add("table_header", "\n".join(lines[at : at + 2]))
        at += 2
        for row in _rows(lines, at):
            self._draft.add("table_row", row)
            at += 1
        return at

    def _flush(self) -> None:
        self._draft.add("list" if self._is_item else "paragraph", "\n".join(self._lines))
        self._lines, self._is_item = [], False


def _without_closing(title: str) -> str:
    """The title of a heading without the marks that may close it, as in `# Title #`."""
    title = title.rstrip(" \t")
    before = title.rstrip("#")
    return before.rstrip(" \t") if before.endswith((" ", "\t")) or not before else title


def _is_delimiter(line: str) -> bool:
    cells = line.strip(" \t").removeprefix("|").removesuffix("|").split("|")
    return "|" in line and all(map(_DELIMITER_CELL.fullmatch, cells))


def _rows(lines: list[str], at: int) -> Iterator[str]:
    while at < len(lines) and "|" in lines[at]:
        yield lines[at]
        at += 1
