"""A tool on the wire of the tools family: snake_case out, both cases in, secrets only in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from accounts.principals import Principal
from core.serializers import WireSerializer
from tooling.access import may_edit
from tooling.catalogue import BUILTIN_TOOLS, Language, is_builtin
from tooling.models import Category, Method, Tool, empty_object_schema
from tooling.secrecy import missing_secrets, shown, shown_headers
from tooling.validation import MAX_HEADER_LENGTH

MIN_TIMEOUT_MS, MAX_TIMEOUT_MS = 1000, 60_000
# What null stands for, as clients send it for what they leave empty.
_EMPTY: dict[str, Callable[[], Any]] = {
    "http_url": str,
    "http_headers": dict,
    "http_body": str,
    "parameter_schema": empty_object_schema,
    "parameter_defaults": dict,
    "secrets": dict,
}


class HeadersField(serializers.DictField):
    """Headers by name; the values of those that hold secrets are shown masked."""

    def __init__(self, **kwargs: Any) -> None:
        child = serializers.CharField(max_length=MAX_HEADER_LENGTH, allow_blank=True)
        super().__init__(child=child, **kwargs)

    def get_attribute(self, instance: Tool) -> dict[str, str]:
        return shown_headers(instance.http_headers, shows_ends=_shows_ends(self, instance))


class SecretsField(serializers.DictField):
    """Secrets by name, shown masked. Null or an empty text deletes one; the mask keeps it."""

    def __init__(self, **kwargs: Any) -> None:
        child = serializers.CharField(allow_blank=True, allow_null=True)
        super().__init__(child=child, **kwargs)

    def get_attribute(self, instance: Tool) -> dict[str, str]:
        shows_end = _shows_ends(self, instance)
        rows = instance.secrets.all()
        return {row.name: shown(row.value, shows_end=shows_end) for row in rows}


def _shows_ends(field: serializers.Field[Any, Any, Any, Any], tool: Tool) -> bool:
    principal: Principal = field.context["request"].auth
    return may_edit(principal, tool)


class ToolResourceSerializer(WireSerializer):
    """A tool. Its `name` and `category` are needed to make one, of the server also `http_url`."""

    id = serializers.CharField(
        required=False,
        max_length=64,
        help_text=_("Of a new tool: letters, digits and _; made up if not given."),
    )
    user_id = serializers.IntegerField(
        source="owner_id", read_only=True, allow_null=True, help_text=_("Null: the system's.")
    )
    name = serializers.CharField(max_length=100)
    function_name = serializers.CharField(
        max_length=64,
        required=False,
        allow_blank=True,
        help_text=_("What the model calls it by. Empty: the id."),
    )
    description = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    category = serializers.ChoiceField(
        Category.choices, help_text=_("query runs on the server, system on the client.")
    )
    icon = serializers.CharField(max_length=64, required=False, allow_blank=True)
    logo_url = serializers.CharField(max_length=1000, required=False, allow_blank=True)
    http_method = serializers.ChoiceField(Method.choices, required=False)
    http_url = serializers.CharField(
        max_length=2000,
        required=False,
        allow_blank=True,
        allow_null=True,
        help_text=_("{name} inserts an argument or a secret."),
    )
    http_headers = HeadersField(
        required=False,
        allow_null=True,
        help_text=_("Those with secrets are masked in answers; the mask sent back keeps one."),
    )
    http_body = serializers.CharField(
        max_length=20_000,
        required=False,
        allow_blank=True,
        allow_null=True,
        trim_whitespace=False,
        help_text=_("A template for the JSON body. Empty: an object of all arguments."),
    )
    http_timeout_ms = serializers.IntegerField(
        min_value=MIN_TIMEOUT_MS, max_value=MAX_TIMEOUT_MS, required=False
    )
    result_pointer = serializers.CharField(
        max_length=500,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        help_text=_("A JSON pointer such as /data/items. Empty: all of it."),
    )
    parameter_schema = serializers.JSONField(
        required=False, allow_null=True, help_text="A JSON Schema object."
    )
    parameter_defaults = serializers.JSONField(
        required=False, allow_null=True, help_text="Arguments by name."
    )
    wait_for_response = serializers.BooleanField(
        required=False,
        help_text=_("Tools of the client only: the answer waits for what the client returns."),
    )
    enabled = serializers.BooleanField(source="is_enabled", required=False)
    secrets = SecretsField(
        required=False,
        allow_null=True,
        help_text=_("Values of {name}, sent to the host of http_url only; masked in answers."),
    )
    missing_secrets = serializers.SerializerMethodField(
        help_text=_("Names in the request that neither an argument nor a secret fills.")
    )
    is_system = serializers.BooleanField(read_only=True)
    last_checked_at = serializers.DateTimeField(
        source="checked_at", read_only=True, allow_null=True
    )
    last_check_ok = serializers.BooleanField(source="check_ok", read_only=True, allow_null=True)
    last_check_message = serializers.CharField(source="check_message", read_only=True)
    created_at = serializers.DateTimeField(read_only=True)
    updated_at = serializers.DateTimeField(read_only=True)

    def get_missing_secrets(self, tool: Tool) -> list[str]:
        return missing_secrets(tool, tool.secrets.all())

    def to_internal_value(self, data: Any) -> Any:
        values = super().to_internal_value(data)
        return {
            name: _EMPTY[name]() if value is None and name in _EMPTY else value
            for name, value in values.items()
        }

    def to_representation(self, tool: Tool) -> dict[str, Any]:
        data = super().to_representation(tool)
        data["http_url"] = data["http_url"] or None
        return {**data, **_in_language(tool, self.context["language"])}


def _in_language(tool: Tool, language: Language) -> dict[str, Any]:
    """What a built-in tool says of itself in the language."""
    if not is_builtin(tool):
        return {}
    builtin = BUILTIN_TOOLS[tool.pk]
    return {
        "name": builtin.name.get(language),
        "description": builtin.description.get(language),
        "parameter_schema": builtin.parameters(language),
    }


class DeletedSerializer(WireSerializer):
    message = serializers.CharField()
