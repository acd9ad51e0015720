"""The form fields of the console's tool pages."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.http import QueryDict

from tests.tooling.admin.conftest import rows
from tooling.admin.arguments import arguments_form
from tooling.admin.fields import Column, JsonField, RowsField, headers_field

COLUMNS = (
    Column("say", "Say", "text", is_required=True),
    Column("words", "Words", "words"),
    Column("kind", "Kind", "choice", choices=(("a", "A"), ("b", "B"))),
    Column("loud", "Loud", "tick"),
)


class RowsForm(forms.Form):
    steps = RowsField(COLUMNS, required=False)
    headers = headers_field()


def sent(values: dict[str, Any]) -> QueryDict:
    data = QueryDict(mutable=True)
    for name, value in values.items():
        data.setlist(name, value if isinstance(value, list) else [value])
    return data


def form_of(*steps: dict[str, str], headers: Any = (), stored: Any = None) -> RowsForm:
    data = sent({**rows("steps", steps), **rows("headers", headers)})
    return RowsForm(data, initial={"headers": stored or {}})


def test_it_reads_rows_in_the_order_of_the_page_and_drops_empty_ones() -> None:
    form = form_of(
        {"say": "Hello", "words": "one, two，three", "kind": "b", "loud": "on"},
        {"say": " ", "words": "", "kind": "a"},
        {"say": "Bye", "words": "", "kind": "a"},
    )
    assert form.is_valid()
    assert form.cleaned_data["steps"] == [
        {"say": "Hello", "words": ["one", "two", "three"], "kind": "b", "loud": True},
        {"say": "Bye", "words": [], "kind": "a", "loud": False},
    ]


def test_it_says_which_row_lacks_what() -> None:
    form = form_of({"say": "Hello", "words": ""}, {"say": "", "words": "one"})
    assert form.errors["steps"] == ["Row 2: “Say” is missing."]


def test_a_list_whose_last_row_was_dropped_is_empty() -> None:
    form = form_of()
    assert form.is_valid()
    assert form.cleaned_data == {"steps": [], "headers": {}}


STORED = {"Authorization": "Bearer tok-1234567890", "Accept": "text/plain"}


def test_it_never_shows_a_secret_header_and_shows_the_others() -> None:
    page = str(RowsForm(initial={"headers": STORED})["headers"])
    assert "tok-" not in page
    assert "************7890" in page
    assert "text/plain" in page
    plain = str(RowsForm(initial={"headers": {"Authorization": "Bearer {key}"}})["headers"])
    assert "Bearer {key}" in plain


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"name": "Authorization", "value": "", "value-was": "Authorization"}, "************"),
        ({"name": "Authorization", "value": "new", "value-was": "Authorization"}, "new"),
        ({"name": "X-Other", "value": "", "value-was": "Authorization"}, None),
        ({"name": "X-Other", "value": "new", "value-was": "Authorization"}, "new"),
    ],
)
def test_an_empty_box_keeps_a_secret_under_its_own_name_only(
    row: dict[str, str], expected: str | None
) -> None:
    form = form_of(headers=[row], stored=STORED)
    assert form.is_valid() is (expected is not None)
    if expected is None:
        assert "anew" in form.errors["headers"][0]
    else:
        assert form.cleaned_data["headers"] == {row["name"]: expected}


def test_an_empty_box_keeps_nothing_of_a_header_that_is_shown() -> None:
    page = str(RowsForm(initial={"headers": STORED})["headers"])
    # Only of the secret one it is said that its value is stored.
    assert page.count("-was") == 1
    form = form_of(headers=[{"name": "Accept", "value": ""}], stored=STORED)
    assert form.errors["headers"] == ["Row 1: “Value” is missing."]


def test_a_page_with_errors_shows_no_secret_either() -> None:
    form = form_of(
        {"say": "", "words": "one"},
        headers=[{"name": "Authorization", "value": "", "value-was": "Authorization"}],
        stored=STORED,
    )
    assert not form.is_valid()
    assert "************" in str(form["headers"])
    assert "tok-" not in str(form["headers"])


def test_it_refuses_what_is_no_json_and_keeps_it_on_the_page() -> None:
    class Form(forms.Form):
        schema = JsonField()

    form = Form({"schema": '{"a": '})
    assert form.errors["schema"] == ["Enter a valid JSON."]
    assert "{&quot;a&quot;: " in str(form["schema"])
    assert Form({"schema": '{"a": 1}'}).is_valid()


def test_a_secret_that_was_typed_on_a_refused_page_is_typed_again() -> None:
    typed = {"name": "Authorization", "value": "tok-new", "value-was": "Authorization"}
    form = form_of({"say": "", "words": "one"}, headers=[typed], stored=STORED)
    assert not form.is_valid()
    page = str(form["headers"])
    assert "tok-" not in page
    # Nothing stored stands for it: an empty box is refused then.
    assert "-was" not in page
    again = form_of(headers=[{"name": "Authorization", "value": ""}], stored=STORED)
    assert again.errors["headers"] == ["Row 1: “Value” is missing."]


# --- Arguments -----------------------------------------------------------------------------------
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "count": {"type": "integer", "minimum": 1},
        "share": {"type": ["number", "null"]},
        "fast": {"type": "boolean"},
        "unit": {"enum": ["kg", 5]},
        "items": {"type": "array"},
        "odd": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "city": {"type": "string", "description": "Which"},
    },
    "required": ["city", "count"],
}


def test_it_makes_a_form_of_a_schema_and_arguments_of_the_form() -> None:
    form = arguments_form(SCHEMA, {})(
        {
            "city": "Paris",
            "count": "3",
            "share": "0.5",
            "fast": "false",
            "unit": "5",
            "items": '["a"]',
            "odd": '"x"',
            "note": "",
        }
    )
    assert form.is_valid(), form.errors
    assert form.arguments() == {
        "city": "Paris",
        "count": 3,
        "share": 0.5,
        "fast": False,
        "unit": 5,
        "items": ["a"],
        "odd": "x",
    }


def test_it_asks_for_what_is_required_first_and_leaves_out_what_is_empty() -> None:
    make = arguments_form(SCHEMA, {"count": 2})
    assert list(make.base_fields)[:2] == ["count", "city"]
    assert make.base_fields["count"].initial == 2
    assert make({"city": ""}).errors.keys() == {"city"}
    form = make({"city": "Paris"})
    assert form.is_valid()
    assert form.arguments() == {"city": "Paris"}


def test_a_schema_of_nothing_makes_a_form_of_nothing() -> None:
    form = arguments_form({"type": "object"}, {})({})
    assert form.is_valid()
    assert form.arguments() == {}
