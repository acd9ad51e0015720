"""Values replaced at the top level of a JSON text, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.splice import known_value, value_spans, with_members, with_value

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["model", '"model"']),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("model"), inner),
    max_leaves=12,
)
_members = st.dictionaries(st.text() | st.sampled_from(['x"model', "\\model", "data"]), _json)


def joined(text: bytes, *members: dict[str, bytes]) -> bytes:
    return b"".join(bytes(piece) for piece in with_members(text, *members))


@settings(deadline=None, max_examples=40)
@given(_members, _json, st.booleans(), st.sampled_from([None, 2]))
def test_it_replaces_what_is_there_and_nothing_else(
    members: dict[str, Any], old: Any, is_ascii: bool, indent: int | None
) -> None:
    text = json.dumps({**members, "model": old}, ensure_ascii=is_ascii, indent=indent).encode()
    new = joined(text, {"model": b'"other"'})
    assert json.loads(new) == {**members, "model": "other"}
    spans = value_spans(text, "model")
    assert new == text[: spans[0][0]] + b'"other"' + text[spans[0][1] :]


@settings(deadline=None, max_examples=40)
@given(_members, st.booleans())
def test_it_adds_what_is_not_there(members: dict[str, Any], is_ascii: bool) -> None:
    text = json.dumps(members, ensure_ascii=is_ascii).encode()
    assert json.loads(joined(text, {}, {"new": b"[1]"})) == {**members, "new": [1]}


@pytest.mark.parametrize("text", [b"{}", b' \n{ "a" : 1 }\n', b'{"a":{"new":1}}'])
def test_it_adds_to_any_object(text: bytes) -> None:
    assert json.loads(joined(text, {}, {"new": b"true"})) == {**json.loads(text), "new": True}


def test_it_replaces_a_name_in_all_its_spellings() -> None:
    text = rb'{"model":"a","mod\u0065l" : "b", "inner": {"model": "c"}, "text": "\"model\": 1"}'
    expected = text.replace(b'"a"', b'"z"').replace(b'"b"', b'"z"')
    assert joined(text, {"model": b'"z"'}) == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_it_takes_all_kinds_of_bytes(kind: Any) -> None:
    pieces = with_members(kind(b'{"messages":[{"model":1}],"model":"a","n":1}'), {"model": b'"z"'})
    assert b"".join(pieces) == b'{"messages":[{"model":1}],"model":"z","n":1}'


def test_it_copies_nothing_of_a_large_text() -> None:
    text = b'{"data":"' + b"A" * 1_000_000 + b'","model":"a"}'
    views = [p for p in with_members(text, {"model": b'"z"'}) if isinstance(p, memoryview)]
    assert all(view.obj is text for view in views)


@pytest.mark.parametrize(
    "odd", [rb'"mod\u0065l":"b"', b'"model":"b"', b'"tools":[{"model":1}]'], ids=str
)
def test_it_replaces_a_name_that_is_hard_to_find_in_a_large_text(odd: bytes) -> None:
    # Looked through token by token, it would take longer than any test may.
    text = b'{"model":"a","x":[' + b"[]," * 1_000_000 + b"0]," + odd + b',"n":1.50}'
    new = joined(text, {"model": b'"z"'})
    assert json.loads(new) == {**json.loads(text), "model": "z"}
    assert b'"n":1.50' in new
    assert known_value(text, "model") == (b'"a"' if b"tools" in odd else b'"b"')


def test_a_large_text_of_another_alphabet_is_not_written_anew() -> None:
    text = json.dumps({"text": "é" * 100_000, "model": "a"}).encode()
    assert joined(text, {"model": b'"z"'}) == text.replace(b'"a"', b'"z"')


def test_it_replaces_inside_of_another_value() -> None:
    text = b'{"model":"a","message":{"model":"b","usage":{"model":"c"}},"type":"message"}'
    pieces = with_value(text, ("message", "model"), b'"z"')
    assert b"".join(pieces) == text.replace(b'"b"', b'"z"')


@pytest.mark.parametrize("text", [b'{"message":null}', b'{"message":[{"model":1}]}', b"{}", b"5"])
def test_it_leaves_alone_what_has_no_such_member(text: bytes) -> None:
    assert b"".join(with_value(text, ("message", "model"), b'"z"')) == text
