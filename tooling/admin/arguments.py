"""A form that asks for the arguments of a tool, made from its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from django import forms
from django.utils.html import escape
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminExpandableTextareaWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
)

from tooling.admin.fields import JsonField, JsonWidget

MAX_FIELDS = 100
_BOOLEANS = [("true", _("Yes")), ("false", _("No"))]


class ArgumentsForm(forms.Form):
    """The arguments of one call; what is left empty is not sent."""

    def arguments(self) -> dict[str, Any]:
        """What a valid form holds, as the tool expects it."""
        given = {
            name: value for name, value in self.cleaned_data.items() if value not in (None, "")
        }
        return {
            name: json.loads(value) if isinstance(self.fields[name], _JsonChoice) else value
            for name, value in given.items()
        }


class _JsonChoice(forms.ChoiceField):
    """One of several JSON values; the choices are their JSON texts."""


def arguments_form(schema: Mapping[str, Any], defaults: Mapping[str, Any]) -> type[ArgumentsForm]:
    """The form for a tool's parameters, filled with the defaults."""
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or []
    # The database does not keep the order of an object's keys.
    parts = sorted(properties.items(), key=lambda item: item[0] not in required)
    fields = {
        str(name): _field(
            str(name),
            part if isinstance(part, dict) else {},
            is_required=name in required and name not in defaults,
            default=defaults.get(name),
        )
        for name, part in parts[:MAX_FIELDS]
    }
    return cast(type[ArgumentsForm], type("ArgumentsForm", (ArgumentsForm,), fields))


def _field(name: str, part: dict[str, Any], *, is_required: bool, default: Any) -> forms.Field:
    initial = part.get("default") if default is None else default
    common: dict[str, Any] = {
        "label": name,
        "required": is_required,
        # The form shows help as markup; this is anybody's.
        "help_text": escape(str(part.get("description", ""))),
        "initial": initial,
    }
    if isinstance(part.get("enum"), list):
        values = [json.dumps(value, ensure_ascii=False) for value in part["enum"]]
        texts = [value if isinstance(value, str) else json.dumps(value) for value in part["enum"]]
        return _choice(common, list(zip(values, texts, strict=True)))
    match _type_of(part):
        case "string":
            return forms.CharField(
                **common, strip=False, widget=UnfoldAdminExpandableTextareaWidget
            )
        case "integer":
            return forms.IntegerField(
                **common,
                min_value=_bound(part, "minimum"),
                max_value=_bound(part, "maximum"),
                widget=UnfoldAdminIntegerFieldWidget,
            )
        case "number":
            return forms.FloatField(
                **common,
                min_value=_bound(part, "minimum"),
                max_value=_bound(part, "maximum"),
                widget=UnfoldAdminDecimalFieldWidget({"step": "any"}),
            )
        case "boolean":
            return _choice(common, _BOOLEANS)
        case _:
            if initial is None and is_required:
                common["initial"] = _sketch(part)
            return JsonField(**common, widget=JsonWidget({"rows": 4}))


def _choice(common: dict[str, Any], choices: list[tuple[str, Any]]) -> forms.Field:
    initial = common.pop("initial")
    return _JsonChoice(
        **common,
        initial=None if initial is None else json.dumps(initial, ensure_ascii=False),
        choices=[("", "–"), *choices],
        widget=UnfoldAdminSelectWidget,
    )


def _type_of(part: dict[str, Any]) -> str:
    """The type of a value, where it is a simple one; several alternatives are typed as JSON."""
    kinds = part.get("type")
    named = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    return str(named[0]) if len(named) == 1 else ""


def _bound(part: dict[str, Any], key: str) -> Any:
    value = part.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _sketch(part: dict[str, Any]) -> Any:
    """Something to start from, of a value that is written as JSON."""
    return {"array": [], "object": {}}.get(_type_of(part))
