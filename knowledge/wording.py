"""What workers wrote about documents and vectors, in the language of whoever reads it now.

Workers write English. A text that is one of ours is found again by its words, and so are the few
that count something; what a vendor said stays as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial

from django.utils.translation import gettext, gettext_noop, override

from core.http import NOT_PUBLIC
from knowledge.parse.failures import FAILURES

PAGES_WITHOUT_TEXT = gettext_noop("No text was recognised on %(missing)d of %(total)d pages.")
PAGES_NOT_READ = gettext_noop(
    "%(missing)d of %(total)d pages are images, which were not read: no OCR is installed"
    " (requirements-ocr.txt)."
)
CHUNKS_SHORTENED = gettext_noop(
    "Chunks that were too long for the embedding model, which saw their beginnings only: %(count)d."
)
WORKER_DIED = gettext_noop("The worker died %(count)d times over this document.")

_PLACE = re.compile(r"%\\\((\w+)\\\)([ds])")
_VALUES = {"d": r"\d+", "s": r"\S+"}


def in_readers_language(stored: str) -> str:
    """The stored text in the present language, as far as its words are ours."""
    if not stored:
        return ""
    failure = _failures().get(stored)
    if failure is not None:
        return str(FAILURES[failure].message)
    text = stored
    for template, pattern in _counting().items():
        text = pattern.sub(partial(_filled, template), text)
    return gettext(text) if text == stored else text


def _filled(template: str, found: re.Match[str]) -> str:
    values = {
        name: int(text) if text.isdigit() else text for name, text in found.groupdict().items()
    }
    return gettext(template) % values


@lru_cache(maxsize=1)
def _failures() -> Mapping[str, str]:
    """The reasons by their English words, some of which have a name of a type within."""
    with override("en"):
        return {str(failure.message): reason for reason, failure in FAILURES.items()}


@lru_cache(maxsize=1)
def _counting() -> Mapping[str, re.Pattern[str]]:
    templates = (PAGES_WITHOUT_TEXT, PAGES_NOT_READ, CHUNKS_SHORTENED, WORKER_DIED, NOT_PUBLIC)
    return {template: re.compile(_pattern(template)) for template in templates}


def _pattern(template: str) -> str:
    return _PLACE.sub(lambda place: f"(?P<{place[1]}>{_VALUES[place[2]]})", re.escape(template))
