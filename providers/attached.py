"""How files that came with the user's words are put before a model: between marks, as data.

    <attached_file name="Offer.pdf">
    All prices in euros.
    </attached_file>

    What does the offer cost?

A file cannot close or forge the marks; so what stands between them can be found again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from providers.results import defused
from providers.tokens import estimate_tokens

TAG = "attached_file"
CUT = "\n[cut: there is no room for the rest of this file]"
_MAX_NAME_CHARS = 200
# Between the marks nothing is like them, so each character is looked at once, and once more where
# an end is missing. No possessive quantifiers here: Debian 12's Python 3.11.2 finds nothing then.
_FILE = re.compile(
    rf'(?P<head><{TAG} name="[^"\n]*">\n)'
    rf"(?P<text>[^<]*(?:<(?!/?{TAG})[^<]*)*)"
    rf"(?P<end></{TAG}>)(?P<gap>\n*)"
)


def with_files(text: str, files: Iterable[tuple[str, str]]) -> str:
    """The words behind the files, each a name and a text."""
    framed = [
        f'<{TAG} name="{_name(name)}">\n{defused(content).strip()}\n</{TAG}>'
        for name, content in files
    ]
    return "\n\n".join(part for part in (*framed, text) if part.strip())


def has_files(text: str) -> bool:
    """Whether a message may hold files."""
    return f"<{TAG} " in text


def without_files(text: str) -> str:
    """The words alone."""
    return _FILE.sub("", text) if has_files(text) else text


def fitting(text: str, *, tokens: int) -> str:
    """The message with its files cut to about so many tokens together, all in proportion."""
    if not has_files(text):
        return text
    taken = sum(estimate_tokens(found["text"]) for found in _FILE.finditer(text))
    if taken <= tokens:
        return text
    share = max(0, tokens) / taken

    def cut(found: re.Match[str]) -> str:
        kept = found["text"][: int(len(found["text"]) * share)]
        return f"{found['head']}{kept}{CUT}\n{found['end']}{found['gap']}"

    return _FILE.sub(cut, text)


def _name(name: str) -> str:
    flat = " ".join(defused(name).split()).replace('"', "'")
    return flat[:_MAX_NAME_CHARS]
