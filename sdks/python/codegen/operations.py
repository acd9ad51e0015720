"""Turns operations of the schema into methods, once for the sync and once for the async client."""

from __future__ import annotations

import dataclasses
import keyword
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from codegen.names import (
    DESCRIPTIONS,
    EXTRA_MODELS,
    PARAMETERS,
    PARTS,
    REPEATABLE,
    USUAL,
    type_name,
)
from codegen.schema import Json, Schema, component_of, prose

Place = Literal["path", "query", "body", "form", "file"]
Paging = Literal["", "pages", "offsets"]

_KEY = re.compile(r"(\w+) (\S+)(?: \((.+)\))?")
_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
_ENVELOPES = {"success", "status_code", "status_message"}
_PAGING_PARAMETERS = {"page", "offset"}


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One argument of a method."""

    wire: str
    place: Place
    type: str
    is_required: bool
    description: str = ""

    @property
    def name(self) -> str:
        name = PARAMETERS.get(self.wire, self.wire)
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")
        return f"{name}_" if keyword.iskeyword(name) else name

    @property
    def declaration(self) -> str:
        return f"{self.name}: {self.type}" + ("" if self.is_required else " | Omit = OMIT")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a method returns. `item` is set where it is one page of a list; `unwrap` is its key."""

    type: str = "None"
    models: frozenset[str] = frozenset()
    unwrap: str = ""
    item: str = ""


@dataclasses.dataclass(frozen=True)
class Method:
    """One operation as a method of a resource."""

    resource: str
    name: str
    verb: str
    path: str
    family: str
    parameters: tuple[Parameter, ...]
    answer: Answer
    description: str
    is_repeatable: bool

    @property
    def paging(self) -> Paging:
        if not self.answer.item:
            return ""
        return "offsets" if any(p.wire == "offset" for p in self.parameters) else "pages"


def collect(schema: Schema, resources: dict[str, dict[str, str]]) -> list[Method]:
    """The methods of all resources, in their order."""
    return [
        _method(schema, resource, name, key)
        for resource, operations in resources.items()
        for name, key in operations.items()
    ]


def models_in(methods: Iterable[Method]) -> set[str]:
    """The components of the schema that answers need."""
    return set(EXTRA_MODELS).union(*(method.answer.models for method in methods))


def _method(schema: Schema, resource: str, name: str, key: str) -> Method:
    parsed = _KEY.fullmatch(key)
    assert parsed is not None, key
    verb, path, media_type = parsed.groups()
    operation = schema.operation(verb, path)
    parameters = [*_addressed(schema, operation, path), *_sent(schema, operation, media_type)]
    positional = [p for p in parameters if p.place == "path"]
    # What the address says, the body of a change need not say again.
    taken = {parameter.wire for parameter in positional}
    others = [p for p in parameters if p.place != "path" and p.wire not in taken]
    others.sort(key=lambda parameter: not parameter.is_required)
    return Method(
        resource=resource,
        name=name,
        verb=verb,
        path=path,
        family=operation["tags"][0],
        parameters=(*positional, *others),
        answer=Answer() if verb == "DELETE" else _answer(schema, operation),
        description=_description(operation, name, f"{verb} {path}"),
        is_repeatable=verb != "POST" or f"{verb} {path}" in REPEATABLE,
    )


def _description(operation: Json, name: str, address: str) -> str:
    text = " ".join(prose(operation.get("description", "")).split())
    # Of the usual operations the schema describes the resource only.
    if text and address.split()[1].count("{") < 2 and name in USUAL:
        text = f"{text} {USUAL[name]}"
    return text or address


# --- arguments -----------------------------------------------------------------------------------
def _addressed(schema: Schema, operation: Json, path: str) -> Iterator[Parameter]:
    """Those in the address: of the path in its order, then those of the query."""
    declared = {(p["in"], p["name"]): p for p in operation.get("parameters", ())}
    for name in re.findall(r"{(\w+)}", path):
        kind = _type(schema, declared["path", name]["schema"])
        yield Parameter(name, "path", kind, is_required=True)
    for (place, name), parameter in declared.items():
        # `limit` is another name of `page_size`.
        if place == "query" and not (name == "limit" and ("query", "page_size") in declared):
            yield Parameter(
                name,
                "query",
                _type(schema, parameter["schema"]),
                is_required=parameter.get("required", False),
                description=prose(parameter.get("description", "")),
            )


def _sent(schema: Schema, operation: Json, media_type: str | None) -> Iterator[Parameter]:
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        return
    # JSON where it is taken; files need a form.
    chosen = media_type or next(iter(content))
    body = schema.resolved(content[chosen]["schema"])
    is_form = chosen == "multipart/form-data"
    for name, field in body["properties"].items():
        is_file = schema.resolved(field).get("format") == "binary"
        yield Parameter(
            name,
            "file" if is_file else "form" if is_form else "body",
            "File" if is_file else _type(schema, field),
            is_required=name in body.get("required", ()),
            description=prose(field.get("description", "")),
        )


def _type(schema: Schema, field: Json) -> str:
    """The annotation of an argument."""
    kind = _kind(schema, field)
    return f"{kind} | None" if field.get("nullable") and kind != "Any" else kind


def _kind(schema: Schema, field: Json) -> str:
    if "oneOf" in field:
        parts = [schema.resolved(part) for part in field["oneOf"]]
        words = [word for part in parts for word in part.get("enum", ()) if word]
        return _literal(words) if words else "Any"
    field = schema.resolved(field)
    if words := [word for word in field.get("enum", ()) if word is not None]:
        return _literal(words)
    match field.get("type"):
        case "array":
            return f"Sequence[{_type(schema, field['items'])}]"
        case "object":
            values = field.get("additionalProperties")
            described = _type(schema, values) if isinstance(values, dict) and values else "Any"
            return f"Mapping[str, {described}]"
        case "string" if field.get("format") == "date-time":
            return "datetime | str"
        case "string" if field.get("format") == "date":
            return "date | str"
        case str(simple):
            return _SIMPLE[simple]
    return "Any"


def _literal(words: list[Any]) -> str:
    return f"Literal[{', '.join(repr(word) for word in words if word != '')}]"


# --- answers -------------------------------------------------------------------------------------
def _answer(schema: Schema, operation: Json) -> Answer:
    content = next(
        operation["responses"][code].get("content", {})
        for code in ("200", "201", "202")
        if code in operation["responses"]
    )
    media_type, described = next(iter(content.items()))
    if media_type != "application/json":
        return Answer("bytes")
    answer, unwrap = _inside_envelope(schema, described["schema"])
    component = component_of(answer.get("$ref", ""))
    if component.startswith("Paginated"):
        items = schema.components[component]["properties"]
        return _page(items.get("items") or items["list"])
    if "total" in (fields := schema.resolved(answer).get("properties", {})) and "data" in fields:
        return _page(fields["data"])
    return dataclasses.replace(_returned(answer), unwrap=unwrap)


def _inside_envelope(schema: Schema, described: Json) -> tuple[Json, str]:
    """What the envelope holds, and the key of the only thing in it, if that is what is wanted."""
    if "data" in described.get("properties", {}):
        return described["properties"]["data"], ""
    if "allOf" not in described:
        return described, ""
    inner: Json = described["allOf"][-1]
    fields = schema.resolved(inner)["properties"]
    (only, *more) = [name for name in fields if name not in _ENVELOPES]
    if more or only not in ("data", "items"):
        return inner, ""
    return fields[only], only


def _page(items: Json) -> Answer:
    item = component_of(items["items"]["$ref"])
    kind = f"models.{type_name(item)}"
    return Answer(f"Page[{kind}]", frozenset({item}), item=kind)


def _returned(answer: Json) -> Answer:
    if "$ref" in answer:
        component = component_of(answer["$ref"])
        return Answer(f"models.{type_name(component)}", frozenset({component}))
    match answer.get("type"):
        case "array":
            item = _returned(answer["items"])
            return Answer(f"builtins.list[{item.type}]", item.models)
        case "string":
            return Answer("str")
    return Answer("None")


# --- text ----------------------------------------------------------------------------------------
def module(methods: list[Method], *, is_async: bool) -> str:
    """The source of the module with all classes of one client."""
    prefix, iterator = ("Async", "AsyncIterator") if is_async else ("", "Iterator")
    base = "asynchronous" if is_async else "sync"
    kind = "asynchronous" if is_async else "synchronous"
    lines = [
        f'"""The resources of the product\'s API, for the {kind} client."""',
        "from __future__ import annotations",
        "import builtins",
        f"from collections.abc import {iterator}, Mapping, Sequence",
        "from datetime import date, datetime",
        "from typing import Any, Literal",
        "from ai_video_assistant import models",
        "from ai_video_assistant._operation import OMIT, File, Omit, Operation, segment",
        f"from ai_video_assistant._transport.{base} import {prefix}Resource, {prefix}Transport",
        "from ai_video_assistant.pages import Page",
    ]
    resource = ""
    for method in methods:
        if method.resource != resource:
            resource = method.resource
            lines += ["", "", *_beginning(resource, prefix)]
        lines += ["", textwrap.indent(_definition(method, is_async=is_async), "    ")]
        if method.paging:
            lines += ["", textwrap.indent(_iteration(method, iterator), "    ")]
    return "\n".join(lines) + "\n"


def _beginning(resource: str, prefix: str) -> list[str]:
    """The first lines of a resource's class, with the resources that belong to it."""
    lines = [
        f"class {prefix}{resource}({prefix}Resource):",
        f'    """{DESCRIPTIONS[resource]}"""',
    ]
    if parts := PARTS.get(resource):
        lines += [
            "",
            f"    def __init__(self, transport: {prefix}Transport) -> None:",
            "        super().__init__(transport)",
            *(f"        self.{name} = {prefix}{part}(transport)" for name, part in parts.items()),
        ]
    return lines


def _signature(parameters: Iterable[Parameter]) -> str:
    positional = [p.declaration for p in parameters if p.place == "path"]
    others = [p.declaration for p in parameters if p.place != "path"]
    return ", ".join(["self", *positional, *(["*", *others] if others else [])])


def _definition(method: Method, *, is_async: bool) -> str:
    head = "async def" if is_async else "def"
    call = "await self._call" if is_async else "self._call"
    given = "" if method.answer.type == "None" else "return "
    return "\n".join(
        [
            f"{head} {method.name}({_signature(method.parameters)}) -> {method.answer.type}:",
            textwrap.indent(_docstring(method), "    "),
            f"    {given}{call}({_operation(method)})",
        ]
    )


def _operation(method: Method) -> str:
    """The expression that says what to send and what comes back."""
    path = re.sub(r"{(\w+)}", lambda found: f"{{segment({_variable(found[1])})}}", method.path)
    parts = [repr(method.verb), f'{"f" if path != method.path else ""}"{path}"', method.answer.type]
    parts.append(f"family={method.family!r}")
    for place, name in (("query", "query"), ("body", "body"), ("form", "form"), ("file", "files")):
        fields = [p for p in method.parameters if p.place == place]
        if fields:
            entries = ", ".join(f"{p.wire!r}: {p.name}" for p in fields)
            parts.append(f"{name}={{{entries}}}")
    if method.answer.unwrap:
        parts.append(f"unwrap={method.answer.unwrap!r}")
    if method.is_repeatable:
        parts.append("is_repeatable=True")
    return f"Operation({', '.join(parts)})"


def _variable(wire: str) -> str:
    return Parameter(wire, "path", "str", is_required=True).name


def _iteration(method: Method, iterator: str) -> str:
    moved = "offset" if method.paging == "offsets" else "page"
    rest = [p for p in method.parameters if p.wire not in _PAGING_PARAMETERS]
    arguments = [p.name if p.place == "path" else f"{p.name}={p.name}" for p in rest]
    call = ", ".join([*arguments, f"{moved}=at"])
    item = method.answer.item
    return "\n".join(
        [
            f"def iterate({_signature(rest)}) -> {iterator}[{item}]:",
            '    """All of what `list` finds, asked for page by page as it is read."""',
            f"    return self._{method.paging}(lambda at: self.list({call}))",
        ]
    )


def _docstring(method: Method) -> str:
    lines = textwrap.wrap(" ".join(method.description.split()), 92)
    described = [p for p in method.parameters if p.description]
    if described:
        lines += [""]
    for parameter in described:
        text = f"{parameter.name}: {' '.join(parameter.description.split())}"
        lines += textwrap.wrap(text, 88, subsequent_indent="    ")
    text = "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''")
    if text[-1] == '"':
        text += " "
    return f'"""{text}\n"""' if len(lines) > 1 else f'"""{text}"""'
