"""The words of a query, marked in the text that was found. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from knowledge.lexemes import query_words
from providers.tokens import CJK
from providers.wording import terms_of

_BLANK_LINES = re.compile(r"\n\s*\n")
# Between marks that are one: nothing, or what joins the parts of an identifier.
_JOINTS = ("", "-", "_", ".", "/")
_LATIN = re.compile(r"[0-9a-z]", re.IGNORECASE)


def condensed(text: str) -> str:
    """The text without blank lines, which take room on a page and tell nothing there."""
    return _BLANK_LINES.sub("\n", text).strip()


def telling_words(query: str) -> tuple[str, ...]:
    """The words of a query without those that every question has, unless it has no others."""
    words = query_words(query)
    about = {text for term in terms_of(query) for text in (term.text, *term.pairs)}
    telling = [word for word in words if (word in about if CJK.match(word) else terms_of(word))]
    return tuple(telling) or words


def highlighted(text: str, words: Iterable[str]) -> SafeString:
    """The text as HTML, each of the words in <mark>; bigrams that overlap become one mark."""
    pattern = _pattern(words)
    if pattern is None:
        return conditional_escape(text)
    parts: list[str] = []
    end = 0
    for start, stop in _joined(text, pattern):
        parts += [
            conditional_escape(text[end:start]),
            format_html("<mark>{}</mark>", text[start:stop]),
        ]
        end = stop
    parts.append(conditional_escape(text[end:]))
    return mark_safe("".join(parts))  # noqa: S308  # every part was escaped above


def _pattern(words: Iterable[str]) -> re.Pattern[str] | None:
    """Looks ahead without consuming, so that overlapping words are all found."""
    longest_first = sorted({word for word in words if word.strip()}, key=len, reverse=True)
    if not longest_first:
        return None
    return re.compile(f"(?=({'|'.join(map(_whole, longest_first))}))", re.IGNORECASE)


def _whole(word: str) -> str:
    """A Latin word counts only as a whole; Chinese has no gaps to ask for."""
    before = "(?<![0-9a-z])" if _LATIN.match(word[0]) else ""
    after = "(?![0-9a-z])" if _LATIN.match(word[-1]) else ""
    return f"{before}{re.escape(word)}{after}"


def _joined(text: str, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for found in pattern.finditer(text):
        start, stop = found.span(1)
        if spans and text[spans[-1][1] : start] in _JOINTS:
            spans[-1] = spans[-1][0], max(spans[-1][1], stop)
        else:
            spans.append((start, stop))
    return spans
