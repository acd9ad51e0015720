"""Form fields of the tools' pages: JSON that is checked, rows that are edited one by one, headers.

A field of rows holds a list of dicts. Its widget names each row with a key of its own
(`steps-row=2`, `steps-2-say=Hello`), so that the page may move, add and drop rows freely.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from django import forms
from django.forms.widgets import Widget
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget

from core.crypto import MASK, is_masked, mask
from tooling.secrecy import is_secret

ColumnKind = Literal["line", "text", "words", "choice", "tick", "secret"]
Row = dict[str, Any]
MAX_ROWS = 200
_BETWEEN_WORDS = re.compile(r"[,，\n]")
_TICKED = ("on", "true", "1")


# --- JSON ----------------------------------------------------------------------------------------
class JsonWidget(UnfoldAdminTextareaWidget):  # type: ignore[misc]  # unfold ships no types
    """A text area that says while one types whether it is JSON."""

    template_name = "tooling/json_widget.html"

    class Media:
        js = ("tooling/json.js",)

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        code = {"class": "json-text", "spellcheck": "false", "data-json": ""}
        super().__init__({"rows": 8, **code, **(attrs or {})})


class JsonField(forms.JSONField):
    """JSON shown over several lines. `problem` says what is wrong with a value, or None."""

    widget = JsonWidget

    def __init__(
        self, *, problem: Callable[[object], str | None] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.problem = problem

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, forms.fields.InvalidJSONInput):
            return value
        return json.dumps(value, indent=2, ensure_ascii=False)

    def validate(self, value: Any) -> None:
        super().validate(value)
        if self.problem and value is not None and (text := self.problem(value)):
            raise forms.ValidationError(text)


# --- Rows ----------------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """One value of each row. `words` are a list, written with commas; a `secret` is not shown."""

    name: str
    label: Any
    kind: ColumnKind = "line"
    is_required: bool = False
    choices: Sequence[tuple[str, Any]] = ()
    hint: Any = ""

    @property
    def empty(self) -> Any:
        match self.kind:
            case "words":
                return []
            case "tick":
                return False
            case "choice":
                return self.choices[0][0]
            case _:
                return ""

    def sent(self, data: Any, key: str) -> Any:
        """The value as a form sent it."""
        text = str(data.get(key, "")).strip()
        match self.kind:
            case "words":
                return [word.strip() for word in _BETWEEN_WORDS.split(text) if word.strip()]
            case "tick":
                return text in _TICKED
            case _:
                return text

    def shown(self, value: Any) -> Any:
        """The value as a form shows it."""
        return ", ".join(map(str, value or [])) if self.kind == "words" else value


class RowsWidget(Widget):
    """A list of rows, with buttons to add, move and drop them; without scripts one empty row."""

    template_name = "tooling/rows_widget.html"

    class Media:
        js = ("tooling/rows.js",)

    def __init__(self, columns: Sequence[Column], *, is_ordered: bool = False) -> None:
        super().__init__()
        self.columns, self.is_ordered = columns, is_ordered

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, None, attrs)
        rows = [row for row in value or [] if isinstance(row, dict)]
        blank = {column.name: column.empty for column in self.columns}
        context["widget"] |= {
            "rows": [self._row(name, number, row) for number, row in enumerate([*rows, blank])],
            "template": self._row(name, "__row__", blank),
            "columns": self.columns,
            "is_ordered": self.is_ordered,
        }
        return context

    def _row(self, name: str, key: object, row: Row) -> dict[str, Any]:
        return {
            "key": key,
            "cells": [
                self._cell(f"{name}-{key}-{column.name}", column, row) for column in self.columns
            ],
        }

    def _cell(self, name: str, column: Column, row: Row) -> dict[str, Any]:
        value = column.shown(row.get(column.name, column.empty))
        return {"name": name, "column": column, "value": value, "mask": "", "was": ""}

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[Row]:
        keys = data.getlist(f"{name}-row")[: MAX_ROWS + 1]
        return [
            {
                column.name: column.sent(data, f"{name}-{key}-{column.name}")
                for column in self.columns
            }
            for key in dict.fromkeys(keys)
        ]

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        # Nothing is sent of a list whose last row was dropped.
        return False

    def id_for_label(self, id_: str) -> str:
        # No single box is the field.
        return ""


class RowsField(forms.Field):
    """A list of dicts with the columns as keys. Rows without any value are dropped."""

    def __init__(
        self, columns: Sequence[Column], *, is_ordered: bool = False, **kwargs: Any
    ) -> None:
        self.columns = columns
        kwargs.setdefault("widget", RowsWidget(columns, is_ordered=is_ordered))
        super().__init__(**kwargs)

    def to_python(self, value: Any) -> list[Row]:
        return [row for row in value or [] if any(row[c.name] != c.empty for c in self._telling)]

    @property
    def _telling(self) -> Iterator[Column]:
        return (column for column in self.columns if column.kind != "choice")

    def validate(self, value: Any) -> None:
        super().validate(value)
        if len(value) > MAX_ROWS:
            raise forms.ValidationError(_("At most %(most)d rows."), params={"most": MAX_ROWS})
        for number, row in enumerate(value, 1):
            for column in self.columns:
                if column.is_required and not row[column.name]:
                    text = _("Row %(number)d: “%(name)s” is missing.")
                    raise forms.ValidationError(
                        text, params={"number": number, "name": column.label}
                    )

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(data) != (initial or []))


# --- Headers and secrets -------------------------------------------------------------------------
class MaskedRowsWidget(RowsWidget):
    """Names and values. What is secret of them is never put on the page.

    `is_secret(name, value)` tells what that is.
    """

    def __init__(self, columns: Sequence[Column], is_secret: Callable[[str, str], bool]) -> None:
        super().__init__(columns)
        self.is_secret = is_secret

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        if isinstance(value, Mapping):
            value = [self._stored(key, str(text)) for key, text in value.items()]
        return super().get_context(name, value, attrs)

    def _stored(self, name: str, value: str) -> Row:
        shown = mask(value) if self.is_secret(name, value) else value
        return {"name": name, "value": shown, "was": name}

    def _cell(self, name: str, column: Column, row: Row) -> dict[str, Any]:
        cell = super()._cell(name, column, row)
        if column.name != "value":
            return cell
        if is_masked(row["value"]):
            return {**cell, "value": "", "mask": row["value"], "was": row["was"]}
        if self.is_secret(row["name"], row["value"]):
            # Typed on a page that was refused: it is typed again, and nothing stored stands for it.
            return {**cell, "value": ""}
        return cell

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[Row]:
        rows = super().value_from_datadict(data, files, name)
        keys = dict.fromkeys(data.getlist(f"{name}-row")[: MAX_ROWS + 1])
        for key, row in zip(keys, rows, strict=True):
            # The name under which the masked value is stored.
            row["was"] = data.get(f"{name}-{key}-value-was", "")
            if row["was"] and not row["value"]:
                row["value"] = MASK
        return rows


class MaskedRowsField(RowsField):
    """Names and values as a dict; a value that is the mask means: keep what is stored."""

    def __init__(
        self, *, is_secret: Callable[[str, str], bool], hints: tuple[str, str], **kwargs: Any
    ) -> None:
        columns = (
            Column("name", _("Name"), is_required=True, hint=hints[0]),
            Column("value", _("Value"), "secret", is_required=True, hint=hints[1]),
        )
        super().__init__(columns, widget=MaskedRowsWidget(columns, is_secret), **kwargs)

    def clean(self, value: Any) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for row in super().clean(value):
            if is_masked(row["value"]) and row["name"] != row["was"]:
                text = _("Enter the value of %(name)s anew: a stored one cannot be renamed.")
                raise forms.ValidationError(text, params={"name": row["name"]})
            if row["name"] in pairs:
                text = _("%(name)s is there twice.")
                raise forms.ValidationError(text, params={"name": row["name"]})
            pairs[row["name"]] = row["value"]
        return pairs

    def has_changed(self, initial: Any, data: Any) -> bool:
        sent = {row["name"]: row["value"] for row in self.to_python(data)}
        stored = initial or {}
        return sent.keys() != stored.keys() or any(
            not is_masked(value) and value != stored[name] for name, value in sent.items()
        )


def headers_field(**kwargs: Any) -> MaskedRowsField:
    """A field of headers, of which those that hold secrets are masked."""
    return MaskedRowsField(
        is_secret=is_secret, hints=("Authorization", "Bearer {api_key}"), required=False, **kwargs
    )


def secrets_field(**kwargs: Any) -> MaskedRowsField:
    """A field of secrets by name."""
    return MaskedRowsField(
        is_secret=lambda name, value: True, hints=("api_key", ""), required=False, **kwargs
    )
