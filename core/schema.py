"""How the OpenAPI schema shows each family's envelope, around successes and errors alike."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import AutoField
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent

from core.families import family_for

Schema = dict[str, Any]


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _platform_success(data: Schema) -> Schema:
    return _object(success={"type": "boolean", "enum": [True]}, data=data)


def _agentchat_success(data: Schema) -> Schema:
    return _object(status_code={"type": "integer"}, status_message={"type": "string"}, data=data)


def _tasks_success(data: Schema) -> Schema:
    return {"allOf": [_object(success={"type": "boolean", "enum": [True]}), data]}


_STRING: Schema = {"type": "string"}
_SUCCESS_OF_FAMILY = {
    "platform": _platform_success,
    "agentchat": _agentchat_success,
    "tasks": _tasks_success,
}
_ERROR_OF_FAMILY: dict[str, Schema] = {
    "platform": _object(
        success={"type": "boolean", "enum": [False]},
        error={
            **_object(code=_STRING, message=_STRING),
            "properties": {
                "code": _STRING,
                "message": _STRING,
                "details": {"type": "object", "additionalProperties": {}},
            },
        },
    ),
    "tools": _object(detail=_STRING),
    "agentchat": _object(
        status_code={"type": "integer"}, status_message=_STRING, data={"nullable": True}
    ),
    "tasks": {
        "type": "object",
        "properties": {
            "success": {"type": "boolean", "enum": [False]},
            "error": _STRING,
            # Of the task that is in the way.
            "task_id": _STRING,
        },
        "required": ["success", "error"],
    },
    "gateway": _object(
        type={"type": "string", "enum": ["error"]},
        error=_object(type=_STRING, message=_STRING),
        request_id=_STRING,
    ),
}


class CredentialScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself when the class is made
    """One credential, in either of two headers."""

    target_class = "accounts.authentication.CredentialAuthentication"
    name = ["bearer", "apiKey"]  # noqa: RUF012 - as the library declares it

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        return [{"bearer": []}, {"apiKey": []}]

    def get_security_definition(self, auto_schema: Any) -> list[Schema]:
        return [
            {"type": "http", "scheme": "bearer", "description": "An API key or an access token."},
            {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        ]


class ConsoleScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # as above
    """The signed-in console; its pages prove themselves with a CSRF token."""

    target_class = "realtime.views.ConsoleSession"
    name = "console"

    def get_security_definition(self, auto_schema: Any) -> Schema:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class FamilySchema(AutoSchema):
    """Operations in the envelope of the family that their path belongs to."""

    def get_operation(self, *args: Any, **kwargs: Any) -> Schema | None:
        operation: Schema | None = super().get_operation(*args, **kwargs)
        if operation is not None:
            self._show_deletion(operation["responses"])
            operation["responses"]["default"] = {
                "description": "Any error.",
                "content": {"application/json": {"schema": self._error_component().ref}},
            }
        return operation

    def _show_deletion(self, responses: Schema) -> None:
        """The platform answers a deletion with what was deleted, not with nothing."""
        if family_for(self.path).name == "platform" and responses.pop("204", None):
            deleted = _object(id=self._id(), deleted={"type": "boolean", "enum": [True]})
            content = {"application/json": {"schema": _platform_success(deleted)}}
            responses["200"] = {"description": "Deleted.", "content": content}

    def _id(self) -> Schema:
        """How the rows of this view are named: most by a text, some by a number."""
        view: Any = self.view
        key = view.queryset.model._meta.pk
        return {"type": "integer"} if isinstance(key, AutoField) else _STRING

    def _map_basic_serializer(self, serializer: Any, direction: str) -> Schema:
        """Only who writes a row may leave fields out; its answers have all of them."""
        build: Any = super()._map_basic_serializer
        schema: Schema = build(serializer, direction)
        is_row = any(field.get("readOnly") for field in schema.get("properties", {}).values())
        if is_row and direction == "response":
            schema["required"] = sorted(schema["properties"])
        return schema

    def get_tags(self) -> list[str]:
        return [family_for(self.path).name]

    def _get_response_for_code(
        self,
        serializer: Any,
        status_code: str,
        media_types: list[str] | None = None,
        direction: str = "response",
    ) -> Schema:
        build: Any = super()._get_response_for_code
        response: Schema = build(serializer, status_code, media_types, direction)
        wrap = _SUCCESS_OF_FAMILY.get(family_for(self.path).name)
        if family_for(self.path).name == "agentchat" and "content" not in response:
            response["content"] = {"application/json": {"schema": {"nullable": True}}}
        content = response.get("content", {}).get("application/json")
        if wrap and content and status_code.startswith("2"):
            content["schema"] = wrap(content["schema"])
        return response

    def _error_component(self) -> Any:
        family = family_for(self.path).name
        make: Any = ResolvedComponent
        component = make(
            name=f"{family.capitalize()}Error",
            type=ResolvedComponent.SCHEMA,
            schema=_ERROR_OF_FAMILY[family],
            object=family,
        )
        self.registry.register_on_missing(component)
        return component
