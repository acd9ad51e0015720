"""Names in both cases: `model_name` and `modelName` are the same field on input."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def to_snake(name: str) -> str:
    """`baseUrl`, `baseURL` and `base_url` all as `base_url`."""
    return _BOUNDARY.sub("_", name).lower()


def with_field_names(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The data with each key under the declared name that it means, whichever case it is in.

    Only the outermost keys are names of ours; a key in its declared case wins over the other one.
    """
    declared = {to_snake(name): name for name in names}
    meant = {key: declared.get(to_snake(str(key)), key) for key in data}
    in_order = sorted(data, key=lambda key: meant[key] == key)
    return {meant[key]: data[key] for key in in_order}
