"""Rows of models out of statements that are written out.

To compose a query of several tables takes Django some ten times as long as Postgres takes to answer
it. Where one is asked for every request, the statement is written once, and this makes rows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import Field, Model

Row = TypeVar("Row", bound=Model)


class Columns(Generic[Row]):
    """All columns of a model, as the part of a statement that reads them under an alias."""

    def __init__(self, model: type[Row], alias: str) -> None:
        self._model, self._alias = model, alias
        self._fields: list[Field[Any, Any]] = list(model._meta.concrete_fields)
        self._key = self._fields.index(model._meta.pk)

    def __str__(self) -> str:
        return ", ".join(f"{self._alias}.{field.column}" for field in self._fields)

    def taken(self, values: Iterator[Any]) -> Row | None:
        """The row that the next values make; None where an outer join found none."""
        read = list(islice(values, len(self._fields)))
        if read[self._key] is None:
            return None
        for at, converters in self._converters:
            for convert in converters:
                read[at] = convert(read[at], None, connection)
        return self._model.from_db(connection.alias, self._names, read)

    @cached_property
    def _names(self) -> list[str]:
        return [field.attname for field in self._fields]

    @cached_property
    def _converters(self) -> list[tuple[int, list[Callable[..., Any]]]]:
        """What Django itself would do to the values, by their places."""
        found = [(at, field.get_db_converters(connection)) for at, field in enumerate(self._fields)]
        return [(at, converters) for at, converters in found if converters]
