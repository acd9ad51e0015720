from __future__ import annotations

from typing import Any

import pytest

from tooling.pointers import is_pointer, resolved

# The example of RFC 6901, section 5.
DOCUMENT: dict[str, Any] = {
    "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6,
    " ": 7, "m~n": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", DOCUMENT), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1),
        ("/c%d", 2), ("/e^f", 3), ("/g|h", 4), ("/i\\j", 5), ('/k"l', 6), ("/ ", 7), ("/m~0n", 8),
    ],
)  # fmt: skip
def test_it_finds_what_the_standard_says(pointer: str, value: Any) -> None:
    assert is_pointer(pointer)
    assert resolved(DOCUMENT, pointer) == value


@pytest.mark.parametrize(
    ("pointer", "step"),
    [
        ("/nothing", "/nothing"), ("/foo/2", "/foo/2"), ("/foo/-", "/foo/-"),
        ("/foo/00", "/foo/00"), ("/foo/-1", "/foo/-1"), ("/foo/0/x/y", "/foo/0/x"),
        ("/foo/1e0", "/foo/1e0"), ("/foo/9999999999999", "/foo/9999999999999"),
    ],
)  # fmt: skip
def test_it_names_the_step_that_fails(pointer: str, step: str) -> None:
    assert is_pointer(pointer)
    with pytest.raises(LookupError) as raised:
        resolved(DOCUMENT, pointer)
    assert raised.value.args == (step,)


@pytest.mark.parametrize("text", ["foo", "foo/bar", "/a~b", "/a~2", "/~", "#/foo"])
def test_it_knows_what_is_no_pointer(text: str) -> None:
    assert not is_pointer(text)
    with pytest.raises(LookupError):
        resolved(DOCUMENT, text)
