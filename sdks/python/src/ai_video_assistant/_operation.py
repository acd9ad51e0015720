"""One request, as data: what is sent, how the answer is read. No input or output."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, Literal, TypeVar, cast
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from ai_video_assistant.errors import (
    APIError,
    ConfigurationError,
    UnexpectedAnswerError,
    error_class,
)
from ai_video_assistant.pages import Page

T = TypeVar("T")

Family = Literal["platform", "tools", "agentchat", "tasks"]
# A path, or a name with what the file holds.
File = str | PathLike[str] | tuple[str, bytes | BinaryIO]
Upload = tuple[str, bytes]


class Omit:
    """The type of `OMIT`: an argument that was not given, where None has a meaning."""

    def __repr__(self) -> str:
        return "OMIT"


OMIT: Final = Omit()


@dataclasses.dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A request and the type of its answer.

    `unwrap` is the key of the only thing in the answer. What is not `is_repeatable` is sent again
    only if it certainly was not done.
    """

    method: str
    path: str
    answer: type[T] | None
    family: Family
    query: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    form: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Mapping[str, File] = dataclasses.field(default_factory=dict)
    unwrap: str = ""
    is_repeatable: bool = False

    @property
    def address(self) -> str:
        """The path with the query."""
        pairs = "&".join(
            f"{name}={quote(_written(value), safe='')}" for name, value in _given(self.query)
        )
        return f"{self.path}?{pairs}" if pairs else self.path

    def content(self) -> bytes | None:
        """The body as JSON; None where there is none."""
        if self.body is None:
            return None
        return json.dumps(to_jsonable_python(dict(_given(self.body)))).encode()

    def fields(self) -> dict[str, str]:
        """Those of a form, without its files."""
        return {name: _written(value) for name, value in _given(self.form)}

    def read(self, status: int, content: bytes) -> T:
        """What the answer says. Raises APIError and UnexpectedAnswerError."""
        if self.answer is bytes:
            return cast(T, content)
        body = self._json(status, content)
        data = self._inside(body, status)
        if self.answer is None:
            return cast(T, None)
        try:
            return cast(T, _adapter(cast(Any, self.answer)).validate_python(data))
        except ValidationError as error:
            raise self._unexpected(f"something else: {error}", status) from None

    def _json(self, status: int, content: bytes) -> Any:
        if not content:
            return {}
        try:
            return json.loads(content)
        except ValueError:
            shown = content[:100].decode(errors="replace")
            raise self._unexpected(f"what is not JSON: {shown!r}", status) from None

    def _unexpected(self, answer: str, status: int) -> UnexpectedAnswerError:
        message = f"{self.method} {self.path} was answered with {answer}"
        return UnexpectedAnswerError(message, status=status)

    def _inside(self, body: Any, status: int) -> Any:
        """The answer without its envelope."""
        is_page = isinstance(self.answer, type) and issubclass(self.answer, Page)
        if self.family != "tools" and not isinstance(body, dict):
            raise self._unexpected("an answer without its envelope", status)
        match self.family:
            case "platform":
                return body.get("data")
            case "agentchat":
                # What goes wrong in the business of a request is said in the body alone.
                if body.get("status_code") != 200:
                    raise refusal(status, body)
                return body.get("data")
            case "tasks":
                return _page_of_tasks(body) if is_page else body.get(self.unwrap, body)
            case "tools":
                return _page_of_tools(body) if is_page else body


def segment(value: str | int) -> str:
    """An id as a part of a path; an empty one would lead to another operation."""
    text = str(value)
    # None is what programs have that lost an id, whatever the types say.
    if value is None or text.strip(". ") == "":
        raise ConfigurationError(f"{value!r} is no id")
    return quote(text, safe="")


def upload_of(file: File) -> Upload:
    """A file's name and content. Reads it."""
    if isinstance(file, tuple):
        name, source = file
        return name, source if isinstance(source, bytes) else source.read()
    path = Path(file)
    return path.name, path.read_bytes()


def refusal(status: int, body: Any, *, retry_after: float | None = None) -> APIError:
    """The error that a body of any family tells of."""
    fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
    error = fields.get("error")
    if isinstance(error, dict):  # platform
        code, message, details = error.get("code"), error.get("message"), error.get("details")
    elif "status_code" in fields:  # agentchat
        number, message, details = (
            fields.get(name) for name in ("status_code", "status_message", "detail")
        )
        if status == 200:  # of the business of a request only the body speaks
            status = number if isinstance(number, int) and 400 <= number < 600 else 500
        code = str(number)
    else:  # tasks; tools
        code, message, details = "", error or fields.get("detail"), None
        if task_id := fields.get("task_id"):
            details = {"task_id": task_id}
    kept = details if isinstance(details, dict | list) else None
    return error_class(status)(
        str(message or "the server gave no reason"),
        status=status,
        code=str(code or ""),
        details=kept,
        retry_after=retry_after,
    )


def refusal_of_bytes(
    status: int, content: bytes, *, place: str, retry_after: float | None
) -> APIError:
    """The same of an answer from `place` that may not even be JSON, as that of a proxy."""
    try:
        body = json.loads(content)
    except ValueError:
        body = {"error": f"no API answered at {place}; is the address right?"}
    return refusal(status, body, retry_after=retry_after)


def _given(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in fields.items() if value is not OMIT]


def _written(value: Any) -> str:
    """A value in an address or a form."""
    plain = to_jsonable_python(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


@lru_cache(maxsize=512)
def _adapter(answer: Any) -> TypeAdapter[Any]:
    return TypeAdapter(answer)


def _page_of_tasks(body: dict[str, Any]) -> dict[str, Any]:
    return {"items": body.get("data"), "total": body.get("total")}


def _page_of_tools(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    names = {"items": "list", "total": "total", "page": "page", "page_size": "limit"}
    return {name: body.get(wire) for name, wire in names.items()}
