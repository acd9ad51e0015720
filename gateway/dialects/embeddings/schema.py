"""`POST /v1/embeddings`: what a client asks."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from django.utils.translation import gettext as _
from msgspec import Meta, Struct

from core.errors import InvalidRequest
from gateway.dialects.reading import Body, ModelName, invalid, read

MAX_ITEMS = 2048

Format = Literal["float", "base64"]
Token = Annotated[int, Meta(ge=0)]


class Asked(Struct):
    """One request. `input` is one text, texts, the tokens of one text, or of several."""

    model: ModelName
    input: str | list[str | Token | list[Token]]
    encoding_format: Format | None = None
    dimensions: Annotated[int, Meta(ge=1)] | None = None
    user: str | None = None

    @property
    def is_base64(self) -> bool:
        return self.encoding_format == "base64"

    @property
    def texts(self) -> list[str] | None:
        """The texts to embed; None where tokens were given, which only some models read."""
        given = [self.input] if isinstance(self.input, str) else self.input
        texts = [item for item in given if isinstance(item, str)]
        return texts if len(texts) == len(given) else None

    @property
    def count(self) -> int:
        """How many vectors the answer has."""
        return len(self.input) if self._has_items else 1

    @property
    def _has_items(self) -> bool:
        return isinstance(self.input, list) and not isinstance(self.input[0], int)


_DECODER = msgspec.json.Decoder(Asked)


def parse(body: Body) -> Asked:
    """The request, checked. Raises InvalidRequest, which names the parameter."""
    asked = read(body, _DECODER)
    if not asked.input:
        raise _empty("input")
    if isinstance(asked.input, list):
        if asked.count > MAX_ITEMS:
            message = _("This may have at most {most} elements.").format(most=MAX_ITEMS)
            raise invalid(message, "input")
        _check_items(asked.input)
    return asked


def _check_items(items: list[str | int | list[int]]) -> None:
    kind = type(items[0])
    for index, item in enumerate(items):
        if type(item) is not kind:
            message = _("This must be of the same type as the first element.")
            raise invalid(message, f"input[{index}]")
        if kind is not int and not item:
            raise _empty(f"input[{index}]")


def _empty(place: str) -> InvalidRequest:
    return invalid(_("This must not be empty."), place)
