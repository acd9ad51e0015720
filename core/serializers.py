"""What serializers of several apps share: names in both cases, and secrets that only go in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.fields import ListField

from core.casing import with_field_names
from core.crypto import MASK, mask
from core.errors import InvalidRequest

if TYPE_CHECKING:
    BaseSerializer = serializers.Serializer[Any]
else:
    BaseSerializer = serializers.Serializer


class WireSerializer(BaseSerializer):
    """Accepts field names in snake_case and camelCase; writes them as declared."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            named = with_field_names(data, self.fields)
            data = self._plain(named, data) if isinstance(data, QueryDict) else named
        return super().to_internal_value(data)

    def _plain(self, named: dict[str, Any], form: QueryDict) -> dict[str, Any]:
        """A form's values, several only for lists; as a form, a missing flag would mean false."""
        several = with_field_names(dict(form.lists()), self.fields)
        lists = {name for name, field in self.fields.items() if isinstance(field, ListField)}
        return {name: several[name] if name in lists else named[name] for name in named}


class SecretField(serializers.CharField):
    """A secret: written in clear, shown masked. Sending the mask back means "keep it".

    Of a system row, ordinary users only learn that there is a secret.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("required", False)
        kwargs.setdefault("allow_blank", True)
        kwargs.setdefault("max_length", 1000)
        super().__init__(**kwargs)

    def get_attribute(self, instance: Any) -> str:
        secret = super().get_attribute(instance)
        if not secret:
            return ""
        principal = self.context["request"].auth
        if instance.is_system and not principal.is_operator:
            return MASK
        return mask(secret)


@contextmanager
def wire_names(serializer: serializers.BaseSerializer[Any]) -> Iterator[None]:
    """Errors about fields of the model, raised inside, name the fields that the client sent."""
    try:
        yield
    except InvalidRequest as error:
        fields: Mapping[str, Any] = getattr(serializer, "fields", {})
        names = {field.source: name for name, field in fields.items()}
        raise InvalidRequest(
            error.message,
            code=error.error_code,
            param=names.get(error.param or "", error.param),
            details={names.get(name, name): texts for name, texts in error.details.items()},
        ) from None


class OptionalText(serializers.CharField):
    """A text that clients may leave out; null and empty mean the same."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"required": False, "allow_null": True, "allow_blank": True, **options})
