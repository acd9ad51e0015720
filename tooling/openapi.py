"""One operation of an OpenAPI 3 document as the request of a tool. Pure.

What a tool cannot do (forms, cookies, bodies that are no object) is refused, not left out, wherever
the operation needs it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from django.utils.translation import gettext as _

from core.errors import InvalidRequest
from core.rest import is_storable
from tooling.placeholders import names_in

Json = dict[str, Any]

MAX_DOCUMENT_LENGTH = 500_000
# References may unfold a small document to any size.
MAX_NODES = 5000
_PLAIN_SCHEMA = frozenset({"type", "properties", "required"})
_METHODS = ("get", "post", "put", "patch", "delete")
_IN_QUERY = frozenset({"get", "delete"})
_NOT_ARGUMENTS = frozenset({"accept", "content-type", "authorization"})
_NOT_IN_SCHEMAS = frozenset(
    {"nullable", "example", "xml", "externalDocs", "discriminator", "deprecated", "readOnly",
     "writeOnly"}
)  # fmt: skip
_RAW = frozenset({"enum", "const", "default", "required", "examples"})
_BY_NAME = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_EXCLUSIVE_LIMITS = {"minimum": "exclusiveMinimum", "maximum": "exclusiveMaximum"}
_PATH_NAME = re.compile(r"\{([^{}]*)\}")
_NOT_IN_PLACEHOLDERS = re.compile(r"[^A-Za-z0-9_]")


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where the service wants its API key: a header, or a name in the query."""

    is_header: bool = True
    name: str = "X-API-Key"


@dataclasses.dataclass(frozen=True, slots=True)
class Operation:
    """What a tool takes over. `schema` describes its arguments as JSON Schema."""

    id: str
    description: str
    method: str
    url: str
    headers: dict[str, str]
    body: str
    schema: Json
    defaults: Json
    key_place: KeyPlace


def imported(document: object, *, wanted: str = "") -> Operation:
    """The document's operation, the `wanted` one where there are several.

    Raises InvalidRequest naming `openapi_schema`.
    """
    spec = _Document(_parsed(document))
    try:
        return _Import(spec, *spec.operation(wanted)).operation()
    except RecursionError:
        raise _problem(_("This is nested too deeply.")) from None


def _problem(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="openapi_schema")


def _parsed(document: object) -> Json:
    try:
        text = document if isinstance(document, str) else json.dumps(document)
        if len(text) > MAX_DOCUMENT_LENGTH:
            raise _problem(_("This is longer than %d characters.") % MAX_DOCUMENT_LENGTH)
        parsed = json.loads(text)
        # Python reads NaN, and numbers too large for it as infinite; neither can be stored.
        json.dumps(parsed, allow_nan=False)
    except (ValueError, RecursionError):
        raise _problem(_("This is not JSON.")) from None
    if not is_storable(parsed):
        raise _problem(_("The JSON contains characters that cannot be stored."))
    if not isinstance(parsed, dict) or not str(parsed.get("openapi", "")).startswith("3."):
        raise _problem(_("Expected an OpenAPI 3 document."))
    return parsed


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


class _Document:
    """A document whose references can be followed."""

    def __init__(self, root: Json) -> None:
        self.root = root
        self._nodes_left = MAX_NODES

    def operation(self, wanted: str) -> tuple[str, str, Json, Json]:
        """Path, method, path item and operation."""
        found = list(self._operations())
        named = [each for each in found if each[3].get("operationId") == wanted]
        if len(found) != 1 and not named:
            names = ", ".join(str(each[3].get("operationId", each[0])) for each in found[:20])
            text = _("Expected one operation, or one whose operationId is the name. Found: %s.")
            raise _problem(text % (names or "-"))
        return (named or found)[0]

    def _operations(self) -> Iterator[tuple[str, str, Json, Json]]:
        for path, item in _dict(self.root.get("paths")).items():
            item = self.followed(item)
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    yield path, method, item, item[method]

    def followed(self, node: object) -> Json:
        """The object, or what its reference leads to. Raises InvalidRequest."""
        for _hop in range(10):
            reference = _dict(node).get("$ref")
            if not isinstance(reference, str):
                return _dict(node)
            node = self._at(reference)
        raise _problem(_("A reference leads in a circle."))

    def _at(self, reference: str) -> object:
        node: object = self.root
        steps = reference.removeprefix("#/").split("/") if reference.startswith("#/") else [""]
        for step in steps:
            node = _dict(node).get(step.replace("~1", "/").replace("~0", "~"))
        if node is None:
            raise _problem(_("A reference leads nowhere: %s.") % reference[:100])
        return node

    def schema(self, node: object, *above: str) -> Any:
        """A schema without references, in the words of JSON Schema; what recurs may be anything."""
        self._nodes_left -= 1
        if self._nodes_left < 0:
            raise _problem(_("The operation's schemas are too large."))
        if not isinstance(node, dict):
            return node if isinstance(node, bool) else {}
        reference = node.get("$ref")
        if isinstance(reference, str):
            return {} if reference in above else self.schema(self._at(reference), reference, *above)
        plain = {
            name: self._inner(name, value, above)
            for name, value in node.items()
            if name not in _NOT_IN_SCHEMAS and not name.startswith("x-")
        }
        return _in_new_words(plain, is_nullable=node.get("nullable") is True)

    def _inner(self, name: str, value: Any, above: tuple[str, ...]) -> Any:
        if name in _RAW:
            return value
        if name in _BY_NAME:
            return {key: self.schema(each, *above) for key, each in _dict(value).items()}
        if isinstance(value, dict):
            return self.schema(value, *above)
        if isinstance(value, list):
            return [self.schema(each, *above) if isinstance(each, dict) else each for each in value]
        return value


def _in_new_words(schema: Json, *, is_nullable: bool) -> Json:
    """OpenAPI 3.0 says in words of its own what JSON Schema has others for."""
    for limit, exclusive in _EXCLUSIVE_LIMITS.items():
        is_exclusive = schema.get(exclusive)
        if isinstance(is_exclusive, bool):
            del schema[exclusive]
        if is_exclusive is True and limit in schema:
            schema[exclusive] = schema.pop(limit)
    if is_nullable and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    return schema


class _Import:
    """The making of one operation."""

    def __init__(
        self, document: _Document, path: str, method: str, item: Json, operation: Json
    ) -> None:
        self._document = document
        self._path, self._method = path, method
        self._item, self._source = item, operation
        self._query: list[str] = []
        self._headers: dict[str, str] = {}
        self._properties: Json = {}
        self._required: list[str] = []
        self._defaults: Json = {}

    def operation(self) -> Operation:
        for parameter in self._parameters():
            self._add_parameter(parameter)
        for name in map(_placeholder, _PATH_NAME.findall(self._path)):
            if name not in self._properties:
                self._add_argument(name, {"type": "string"}, is_required=True)
        self._add_body()
        query = f"?{'&'.join(self._query)}" if self._query else ""
        path = _PATH_NAME.sub(lambda match: f"{{{_placeholder(match[1])}}}", self._path)
        source = self._source
        return Operation(
            id=str(source.get("operationId", "")),
            description=str(source.get("description") or source.get("summary") or ""),
            method=self._method.upper(),
            url=f"{self._server().rstrip('/')}/{path.lstrip('/')}{query}",
            headers=self._headers,
            body="",
            schema={
                "type": "object",
                "properties": self._properties,
                "required": self._required,
            },
            defaults=self._defaults,
            key_place=self._key_place(),
        )

    def _server(self) -> str:
        for place in (self._source, self._item, self._document.root):
            for server in _list(place.get("servers")):
                url = _with_variables(_dict(server))
                # What else is wrong with it is found where the tool is checked.
                if url.lower().startswith(("http://", "https://")):
                    return url
        raise _problem(_("“servers” must name an address such as https://host/path."))

    def _parameters(self) -> list[Json]:
        """All parameters; those of the operation over those of its path."""
        found: dict[tuple[object, object], Json] = {}
        for place in (self._item, self._source):
            for each in _list(place.get("parameters")):
                parameter = self._document.followed(each)
                found[str(parameter.get("name")), str(parameter.get("in"))] = parameter
        return list(found.values())

    def _add_parameter(self, parameter: Json) -> None:
        name, place = str(parameter.get("name", "")), parameter.get("in")
        is_required = parameter.get("required") is True
        argument = _placeholder(name)
        schema = self._schema_of(parameter)
        match place:
            case "path":
                self._add_argument(argument, schema, is_required=True)
            case "query":
                if self._method in _IN_QUERY and name == argument:
                    # What no placeholder took goes into the query by itself.
                    self._add_argument(name, schema, is_required=is_required)
                else:
                    self._query.append(f"{quote(name, safe='')}={{{argument}}}")
                    self._add_argument(argument, schema, is_required=is_required)
            case "header" if name.lower() not in _NOT_ARGUMENTS:
                self._add_header(name, schema, is_required=is_required)
            case "cookie" if is_required:
                raise _problem(_("Cookies (%s) are not supported.") % name[:100])

    def _add_header(self, name: str, schema: Any, *, is_required: bool) -> None:
        has_default = isinstance(schema, dict) and "default" in schema
        # A header is always sent: one that nobody fills could only be sent empty.
        if is_required or has_default:
            argument = _placeholder(name)
            self._headers[name] = f"{{{argument}}}"
            self._add_argument(argument, schema, is_required=is_required)
            if has_default:
                self._defaults[argument] = schema["default"]

    def _schema_of(self, parameter: Json) -> Any:
        schema = parameter.get("schema")
        if schema is None:
            kinds = list(_dict(parameter.get("content")).values())
            schema = _dict(kinds[0]).get("schema") if kinds else {}
        schema = self._document.schema(schema)
        described = parameter.get("description")
        if isinstance(schema, dict) and isinstance(described, str) and "description" not in schema:
            schema["description"] = described
        return schema

    def _add_argument(self, name: str, schema: Any, *, is_required: bool) -> None:
        if name in self._properties:
            raise _problem(_("Two parameters are named %s.") % name[:100])
        self._properties[name] = schema
        if is_required:
            self._required.append(name)

    def _add_body(self) -> None:
        body = self._document.followed(self._source.get("requestBody"))
        if not body:
            return
        if self._method == "get":
            raise _problem(_("A GET request has no body."))
        schema = self._merged(self._document.schema(_json_schema(body)))
        needed = {str(name) for name in _list(schema.get("required"))}
        taken = set(self._properties)
        for name, each in _dict(schema.get("properties")).items():
            if name in taken and name in needed:
                raise _problem(_("Two parameters are named %s.") % name[:100])
            if name not in taken:
                self._add_argument(
                    name, each, is_required=name in needed and body.get("required") is not False
                )

    def _merged(self, schema: Any) -> Json:
        """An object's schema with the parts of `allOf` in it. Raises InvalidRequest."""
        merged = dict(_dict(schema))
        for part in map(self._merged, _list(merged.pop("allOf", []))):
            merged["properties"] = {
                **_dict(merged.get("properties")),
                **_dict(part.get("properties")),
            }
            merged["required"] = [*_list(merged.get("required")), *_list(part.get("required"))]
        if "properties" not in merged and merged.get("type") != "object":
            raise _problem(_("The body must be a JSON object."))
        return merged

    def _key_place(self) -> KeyPlace:
        schemes = _dict(_dict(self._document.root.get("components")).get("securitySchemes"))
        for each in schemes.values():
            scheme = self._document.followed(each)
            place = scheme.get("type"), scheme.get("in")
            if place in {("apiKey", "header"), ("apiKey", "query")} and scheme.get("name"):
                return KeyPlace(is_header=place[1] == "header", name=str(scheme["name"]))
        return KeyPlace()


def _with_variables(server: Json) -> str:
    """The server's address. In one go: a variable of variables could unfold to any size."""
    variables = _dict(server.get("variables"))

    def default(match: re.Match[str]) -> str:
        if match[1] not in variables:
            return match[0]
        return str(_dict(variables[match[1]]).get("default", ""))

    return _PATH_NAME.sub(default, str(server.get("url", "")))


def _placeholder(name: str) -> str:
    """The name as `{name}` can be written."""
    plain = _NOT_IN_PLACEHOLDERS.sub("_", name)[:64]
    return f"_{plain}"[:64] if not plain or plain[0].isdigit() else plain


def _json_schema(body: Mapping[str, Any]) -> Any:
    for kind, content in _dict(body.get("content")).items():
        media_type = kind.partition(";")[0].strip().lower()
        if media_type in {"application/json", "*/*"} or media_type.endswith("+json"):
            return _dict(content).get("schema", {"type": "object"})
    raise _problem(_("Only bodies in JSON are supported."))


# --- Back to a document ------------------------------------------------------------------------


def exported(operation: Operation) -> Json | None:
    """A document of this one operation; None for a request that none can say.

    Such are templates of bodies, headers and queries that are partly fixed, and schemas with
    definitions of their own.
    """
    if not operation.url or operation.body or set(operation.schema) - _PLAIN_SCHEMA:
        return None
    address = urlsplit(operation.url)
    places: dict[str, tuple[str, str]] = {name: ("path", name) for name in names_in(address.path)}
    pairs = [pair.partition("=") for pair in address.query.split("&") if pair]
    named = [("query", unquote(name), value) for name, _equals, value in pairs]
    named += [("header", name, value) for name, value in operation.headers.items()]
    for place, name, value in named:
        argument = names_in(value)[0] if names_in(value) else ""
        if value != f"{{{argument}}}" or argument in places:
            return None
        places[argument] = (place, name)
    if not places.keys() <= operation.schema["properties"].keys():
        return None
    origin = f"{address.scheme}://{address.netloc}"
    return _document_of(operation, origin, address.path or "/", places)


def _document_of(
    operation: Operation, origin: str, path: str, places: dict[str, tuple[str, str]]
) -> Json:
    properties, required = operation.schema["properties"], operation.schema.get("required", [])
    method = operation.method.lower()
    rest = {name: each for name, each in properties.items() if name not in places}
    if method in _IN_QUERY:
        places = {**places, **{name: ("query", name) for name in rest}}
    described: Json = {"operationId": operation.id, "description": operation.description}
    described["parameters"] = [
        {
            "name": name,
            "in": place,
            "required": argument in required or place == "path",
            "schema": _with_default(properties[argument], operation.defaults, argument),
        }
        for argument, (place, name) in places.items()
    ]
    if rest and method not in _IN_QUERY:
        schema = {
            "type": "object",
            "properties": rest,
            "required": [name for name in required if name in rest],
        }
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    key = operation.key_place
    scheme = {"type": "apiKey", "in": "header" if key.is_header else "query", "name": key.name}
    return {
        "openapi": "3.1.0",
        "info": {"title": operation.id, "version": "1.0.0"},
        "servers": [{"url": origin}],
        "paths": {path: {method: described}},
        "components": {"securitySchemes": {"key": scheme}},
    }


def _with_default(schema: Any, defaults: Json, argument: str) -> Any:
    if argument not in defaults or not isinstance(schema, dict):
        return schema
    return {**schema, "default": defaults[argument]}
