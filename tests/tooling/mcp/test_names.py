"""What models call the tools of servers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooling.mcp.names import called, digest_of, is_prefix, prefix_for

PREFIXES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9-]{0,31}", fullmatch=True)


def test_a_name_that_models_take_is_kept() -> None:
    assert called("orders", "get_status") == "orders__get_status"


@given(PREFIXES, st.text(min_size=1, max_size=200))
def test_every_tool_gets_a_name_that_models_take(prefix: str, tool_name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", called(prefix, tool_name))


@pytest.mark.parametrize(
    ("one", "other"),
    [("a.b", "a/b"), ("a.b", "a_b"), ("x" * 100 + "1", "x" * 100 + "2"), ("查", "询")],
)
def test_two_tools_never_become_one(one: str, other: str) -> None:
    assert called("orders", one) != called("orders", other)


@given(st.text(max_size=100), st.sets(PREFIXES, max_size=4))
def test_every_name_gives_a_free_prefix(name: str, taken: set[str]) -> None:
    prefix = prefix_for(name, taken)
    assert is_prefix(prefix)
    assert prefix not in taken


def test_a_prefix_resembles_the_name() -> None:
    assert prefix_for("My Orders (new)", set()) == "my_orders_new"
    assert prefix_for("My Orders", {"my_orders", "my_orders_2"}) == "my_orders_3"
    assert prefix_for("订单", set()) == "mcp"


@pytest.mark.parametrize("text", ["", "_a", "a_", "a__b", "a b", "a" * 33, "é", "a.b"])
def test_what_would_be_no_prefix(text: str) -> None:
    assert not is_prefix(text)


def test_a_digest_changes_with_all_that_a_model_reads() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": "x"}}}
    deeper = {"type": "object", "properties": {"a": {"type": "string", "description": "y"}}}
    digests = {
        digest_of("a", "b", schema),
        digest_of("b", "b", schema),
        digest_of("a", "c", schema),
        digest_of("a", "b", deeper),
    }
    assert len(digests) == 4
    reordered = dict(reversed(schema.items()))
    assert digest_of("a", "b", reordered) == digest_of("a", "b", schema)
