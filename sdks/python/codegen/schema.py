"""Reads an OpenAPI schema: what of it answers consist of, made fit for a client."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from typing import Any

from codegen.names import type_name

Json = dict[str, Any]

# What the server checks of what it is sent. A client takes answers as they are.
_LIMITS = {
    *("maxLength", "minLength", "maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"),
    *("maxItems", "minItems", "pattern", "readOnly", "writeOnly", "default", "title"),
}
# Texts, whatever they look like: ids and addresses are passed on, not computed with.
_TEXTS = ("uuid", "uri", "decimal")
_CHOICES = re.compile(r"\n*(?:\* `[^`]*` - .*\n?)+\Z")


class Schema:
    """A schema with its references resolved on demand."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.components: dict[str, Json] = document["components"]["schemas"]

    def operation(self, method: str, path: str) -> Json:
        """Raises KeyError for an operation that the schema does not have."""
        operation: Json = self.document["paths"][path][method.lower()]
        return operation

    def resolved(self, schema: Json) -> Json:
        """The schema that a reference leads to, also one in an `allOf` of its own."""
        while True:
            if len(schema.get("allOf", ())) == 1:
                schema = {**schema, **schema["allOf"][0]}
                del schema["allOf"]
            elif "$ref" in schema:
                schema = self.components[component_of(schema["$ref"])]
            else:
                return schema

    def document_of(self, names: Iterable[str]) -> Json:
        """A schema of these components and what they consist of, under the names of Python."""
        found: dict[str, Json] = {}
        waiting = sorted(names)
        while waiting:
            name = waiting.pop(0)
            if name in found:
                continue
            found[name] = self._opened(copy.deepcopy(self.components[name]))
            waiting += sorted(_references(found[name]))
        taken = [type_name(name) for name in found]
        if doubled := {name for name in taken if taken.count(name) > 1}:
            raise ValueError(f"two types called {', '.join(doubled)}: rename one in codegen/names")
        schemas = {type_name(name): _renamed(found[name]) for name in sorted(found, key=type_name)}
        info = {"title": "models", "version": "1"}
        return {"openapi": "3.0.3", "info": info, "paths": {}, "components": {"schemas": schemas}}

    def _opened(self, schema: Any) -> Any:
        """Without limits, and with vocabularies that may grow: a newer server is no error."""
        if isinstance(schema, list):
            return [self._opened(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        values = self._vocabulary(schema)
        if values is not None:
            return _open_vocabulary(schema, values)
        opened: Json = {}
        for key, value in schema.items():
            if key == "properties":
                opened[key] = {name: self._opened(field) for name, field in value.items()}
            elif key not in _LIMITS:
                opened[key] = self._opened(value)
        if "description" in opened:
            opened["description"] = prose(opened["description"])
        if opened.get("format") in _TEXTS:
            del opened["format"]
        return {key: value for key, value in opened.items() if value != ""}

    def _vocabulary(self, schema: Json) -> list[Any] | None:
        """The words that a field may have, where it is one of a fixed vocabulary."""
        if "oneOf" in schema:
            parts = [self._vocabulary(part) for part in schema["oneOf"]]
            if any(part is None for part in parts):
                return None
            return [value for part in parts for value in part or ()]
        if not {"$ref", "allOf", "enum"} & set(schema):
            return None
        values: list[Any] | None = self.resolved(schema).get("enum")
        return values


def _open_vocabulary(schema: Json, values: list[Any]) -> Json:
    words = [value for value in values if value]
    text: Json = {"type": "boolean"} if words == [True] else {"type": "string"}
    if words != [True] and words:
        text = {"anyOf": [{"type": "string", "enum": words}, {"type": "string"}]}
    if schema.get("nullable") or None in values:
        text["nullable"] = True
    if description := prose(schema.get("description", "")):
        text["description"] = description
    return text


def prose(description: str) -> str:
    """A description without the list of choices, which the type says."""
    return _CHOICES.sub("", description).strip()


def component_of(reference: str) -> str:
    return reference.rpartition("/")[2]


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield component_of(schema["$ref"])
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _renamed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_renamed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {key: _renamed(value) for key, value in schema.items()}
    if isinstance(renamed.get("$ref"), str):
        renamed["$ref"] = f"#/components/schemas/{type_name(component_of(renamed['$ref']))}"
    return renamed
