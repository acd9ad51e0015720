"""What a test of something is made of: checks that run in turn, and cases that come of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypedDict

from accounts.principals import Principal

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

MAX_NAME_CHARS = 100
MAX_MESSAGE_CHARS = 500
CHECK_LIMIT_S = 60.0


class CaseRow(TypedDict):
    """A case as `AutotestRun.cases` keeps it and the API shows it."""

    name: str
    passed: bool
    message: str
    duration_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """The outcome of one check. `message` is for people."""

    name: str
    passed: bool
    message: str
    duration_ms: int

    def row(self) -> CaseRow:
        """The case as it is stored, of bounded size and without what Postgres cannot hold."""
        return {
            "name": _stored(self.name, MAX_NAME_CHARS),
            "passed": self.passed,
            "message": _stored(self.message, MAX_MESSAGE_CHARS),
            "duration_ms": self.duration_ms,
        }


def _stored(text: str, limit: int) -> str:
    # Halves of surrogate pairs come from vendors that cut texts in the middle of a character.
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


class CheckFailed(Exception):
    """What was checked is not as it should be; the text says how, in the reader's language."""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One thing to find out. `run` gives the case's message, or raises AppError or CheckFailed."""

    name: str
    run: Callable[[], Awaitable[str]]
    limit_s: float = CHECK_LIMIT_S


@dataclasses.dataclass(frozen=True, slots=True)
class Asker:
    """For whom something is tested: with whose settings, and in whose history it goes."""

    owner_id: int | None
    is_operator: bool = False

    def speaks_for(self, row_owner_id: int | None) -> bool:
        """Whether what is found may be noted on the row; what others find may be their doing."""
        return self.is_operator or self.owner_id == row_owner_id


@dataclasses.dataclass(frozen=True, slots=True)
class Prepared:
    """Something that exists and can be tested; its checks make no use of the database's objects.

    `note`, where given, stores on the row whether it works, and why not.
    """

    name: str
    owner_id: int | None
    found: str
    checks: tuple[Check, ...]
    note: Callable[[bool, str], None] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Tester:
    """How things of one kind are tested. Both functions are database work.

    `access` raises NotFound (alike for unknown and foreign ids) or Conflict where the principal may
    not have it tested. `prepare` gives None for what does not exist.
    """

    existence: str
    missing: StrOrPromise
    access: Callable[[Principal, str], object]
    prepare: Callable[[str, Asker], Prepared | None]
