"""Operations of OpenAPI documents, to requests of tools and back."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from core.errors import InvalidRequest
from tests.tooling.openapi_documents import ORDERS
from tooling.openapi import KeyPlace, exported, imported
from tooling.schema import schema_problem


def document(operation: dict[str, Any], *, method: str = "get", **more: Any) -> dict[str, Any]:
    """A document of one operation at /things/{id}."""
    return {
        "openapi": "3.1.0",
        "servers": [{"url": "https://api.example.com"}],
        "paths": {"/things/{id}": {method: {"operationId": "thing", **operation}}},
        **more,
    }


def body_of(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"requestBody": {"content": {"application/json": {"schema": schema}}, **more}}


def object_of(*names: str, required: tuple[str, ...] = ()) -> dict[str, Any]:
    properties = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": properties, "required": list(required)}


def parameter(name: str, place: str, *, required: bool = False, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": required,
        "schema": schema or {"type": "string"},
    }


def refusal(value: object, wanted: str = "") -> str:
    with pytest.raises(InvalidRequest) as caught:
        imported(value, wanted=wanted)
    assert caught.value.param == "openapi_schema"
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("null", "Expected an OpenAPI 3 document."),
        ("[]", "Expected an OpenAPI 3 document."),
        ('{"openapi": "3.0", "x": NaN}', "This is not JSON."),
        ('{"openapi": "3.0", "x": 1e999}', "This is not JSON."),
        ('{"openapi": "3.0", "x": "\\u0000"}', "The JSON contains characters"),
        ('{"openapi": "3.0", "x": "\\ud800"}', "The JSON contains characters"),
        (f'{{"openapi": "3.0", "x": "{"x" * 500_000}"}}', "This is longer than 500000"),
    ],
    ids=range(7),
)
def test_it_says_what_is_wrong_with_a_text(text: str, told: str) -> None:
    assert imported(json.dumps(ORDERS)).id == "find_order"
    assert refusal(text).startswith(told)


def test_it_imports_a_request() -> None:
    operation = imported(ORDERS)
    assert (operation.id, operation.method) == ("find_order", "GET")
    assert operation.url == "https://api.example.com/v1/orders/{order_id}"
    assert operation.description == "Finds an order"
    assert operation.schema == {
        "type": "object",
        "properties": {
            "order_id": {"type": "string", "description": "Its number"},
            "lang": {"type": ["string", "null"], "enum": ["zh", "en", None]},
        },
        "required": ["order_id"],
    }
    assert operation.key_place == KeyPlace(is_header=True, name="X-Shop-Key")
    assert imported(json.dumps(ORDERS)) == operation


def test_it_puts_each_parameter_in_its_place() -> None:
    operation = imported(
        document(
            {
                "parameters": [
                    parameter("id", "path", required=True),
                    parameter("dry-run", "query", type="boolean"),
                    parameter("X-Region", "header", required=True),
                    parameter("X-Lang", "header", type="string", default="zh"),
                    parameter("X-Trace", "header"),
                    parameter("Authorization", "header", required=True),
                    parameter("session", "cookie"),
                ],
                **body_of(object_of("note", "when", required=("note",))),
            },
            method="put",
        )
    )
    assert operation.url == "https://api.example.com/things/{id}?dry-run={dry_run}"
    assert operation.headers == {"X-Region": "{X_Region}", "X-Lang": "{X_Lang}"}
    assert list(operation.schema["properties"]) == [
        "id", "dry_run", "X_Region", "X_Lang", "note", "when",
    ]  # fmt: skip
    assert operation.schema["required"] == ["id", "X_Region", "note"]
    assert operation.defaults == {"X_Lang": "zh"}


def test_parameters_of_the_path_hold_for_its_operations() -> None:
    spec = document({"parameters": [{**parameter("lang", "query"), "required": True}]})
    spec["paths"]["/things/{id}"]["parameters"] = [
        parameter("lang", "query"),
        {"$ref": "#/components/parameters/id"},
    ]
    spec["components"] = {"parameters": {"id": parameter("id", "path", type="integer")}}
    schema = imported(spec).schema
    assert schema["required"] == ["lang", "id"]
    assert schema["properties"]["id"] == {"type": "integer"}


def test_a_name_in_the_path_is_an_argument_even_where_it_is_not_declared() -> None:
    spec = document({})
    spec["paths"] = {"/a/{thing-id}/{2nd}": {"get": {}}}
    operation = imported(spec)
    assert operation.url == "https://api.example.com/a/{thing_id}/{_2nd}"
    assert operation.schema["required"] == ["thing_id", "_2nd"]


def test_it_merges_the_parts_of_a_body() -> None:
    schema = {"allOf": [object_of("a", required=("a",)), {"$ref": "#/components/schemas/B"}]}
    spec = document(body_of(schema), method="post", components={"schemas": {"B": object_of("b")}})
    operation = imported(spec)
    assert list(operation.schema["properties"]) == ["id", "a", "b"]
    assert operation.schema["required"] == ["id", "a"]


def test_it_says_in_json_schema_what_openapi_has_words_of_its_own_for() -> None:
    properties = {
        "price": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "nullable": True},
        "count": {"type": "number", "maximum": 9, "exclusiveMaximum": False},
        "example": {"type": "string", "example": "x", "x-order": 1},
    }
    schema = {"type": "object", "properties": properties, "discriminator": {"propertyName": "t"}}
    found = imported(document(body_of(schema), method="post")).schema
    assert found["properties"]["price"] == {"type": ["number", "null"], "exclusiveMinimum": 0}
    assert found["properties"]["count"] == {"type": "number", "maximum": 9}
    assert found["properties"]["example"] == {"type": "string"}
    assert schema_problem(found) is None


def test_a_schema_that_holds_itself_ends() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/components/schemas/Node"}}}
    spec = document(
        body_of({"$ref": "#/components/schemas/Node"}),
        method="post",
        components={"schemas": {"Node": node}},
    )
    assert imported(spec).schema["properties"]["next"] == {}


def test_servers_have_variables_and_places() -> None:
    spec = document({})
    spec["servers"] = [
        {"url": "/v1"},
        {"url": "https://{region}.example.com", "variables": {"region": {"default": "eu"}}},
    ]
    assert imported(spec).url == "https://eu.example.com/things/{id}"
    spec["paths"]["/things/{id}"]["get"]["servers"] = [{"url": "https://own.example.com/v2"}]
    assert imported(spec).url == "https://own.example.com/v2/things/{id}"


def test_it_takes_the_operation_of_the_name_where_there_are_several() -> None:
    spec = document({})
    spec["paths"]["/others"] = {"post": {"operationId": "other"}}
    assert "thing, other" in refusal(spec)
    assert "thing, other" in refusal(spec, "third")
    assert imported(spec, wanted="other").method == "POST"
    assert imported(document({}), wanted="whatever").id == "thing"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("{", "not JSON"),
        ("[]", "OpenAPI 3"),
        ({"swagger": "2.0"}, "OpenAPI 3"),
        ({"openapi": "3.0.0"}, "one operation"),
        ({"openapi": "3.0.0", "paths": []}, "one operation"),
        ({"openapi": "3.0.0", "paths": {"/": {"trace": {}}}}, "one operation"),
        ("x" * 500_001, "longer"),
        (document({}, servers=[]), "servers"),
        (document({}, servers=[{"url": "/v1"}]), "servers"),
        (document({}, servers=[{"url": "file:///etc"}]), "servers"),
        (document({"parameters": [{"$ref": "#/components/parameters/no"}]}), "nowhere"),
        (document({"parameters": [{"$ref": "http://10.0.0.1/p.json"}]}), "nowhere"),
        (document({"parameters": [parameter("sid", "cookie", required=True)]}), "Cookies"),
        (document(body_of(object_of("a"))), "no body"),
        (document(body_of({"type": "array"}), method="post"), "JSON object"),
        (document(body_of(object_of("id", required=("id",))), method="post"), "named id"),
        (
            document({"requestBody": {"content": {"multipart/form-data": {}}}}, method="post"),
            "bodies in JSON",
        ),
        (
            document(
                {"parameters": [{"$ref": "#/components/parameters/a"}]},
                components={"parameters": {"a": {"$ref": "#/components/parameters/a"}}},
            ),
            "circle",
        ),
    ],
)
def test_it_says_why_it_cannot_import(value: object, why: str) -> None:
    assert why in refusal(value)


def test_references_cannot_unfold_without_end() -> None:
    schemas: dict[str, Any] = {"S0": object_of("x")}
    for level in range(1, 30):
        below = {"$ref": f"#/components/schemas/S{level - 1}"}
        schemas[f"S{level}"] = {"type": "object", "properties": {"a": below, "b": below}}
    spec = document(
        body_of({"$ref": "#/components/schemas/S29"}),
        method="post",
        components={"schemas": schemas},
    )
    assert "too large" in refusal(spec)


def test_deep_documents_are_refused() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _level in range(400):
        schema = {"type": "object", "properties": {"a": schema}}
    assert refusal(document(body_of(schema), method="post"))


# --- Back --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        ORDERS,
        document({}),
        document({"parameters": [parameter("page", "query", type="integer")]}, method="delete"),
        document(
            {
                "parameters": [
                    parameter("dry_run", "query", type="boolean"),
                    parameter("X-Lang", "header", type="string", default="zh"),
                ],
                **body_of(object_of("note", "when", required=("note",))),
            },
            method="patch",
        ),
    ],
)
def test_what_was_imported_is_exported_as_the_same(spec: dict[str, Any]) -> None:
    operation = imported(spec)
    again = exported(operation)
    assert again is not None
    assert imported(again) == operation


def test_it_does_not_export_what_no_document_can_say() -> None:
    operation = imported(document({}, method="post"))
    assert exported(operation) is not None
    for change in (
        {"body": '{"a": 1}'},
        {"url": ""},
        {"url": "https://api.example.com/things?fixed=1"},
        {"url": "https://api.example.com/{unknown}"},
        {"headers": {"X-Fixed": "1"}},
        {"schema": {**operation.schema, "$defs": {}}},
    ):
        assert exported(dataclasses.replace(operation, **change)) is None
