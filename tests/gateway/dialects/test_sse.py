"""Events out of pieces that were cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects.sse import EventSplitter, TooLong, data_of

_TEXT = b"event: a\ndata: 1\n\n: comment\n\nevent: b\ndata: {\ndata:2}\n\ndata: 3\n\n"


def data_in(stream: bytes, cuts: list[int]) -> list[bytes]:
    splitter = EventSplitter()
    bounds = [0, *sorted(cuts), len(stream)]
    events = [
        event
        for start, end in itertools.pairwise(bounds)
        for event in splitter.push(stream[start:end])
    ]
    assert b"".join(events) + splitter.rest() == stream
    return [data for event in events if (data := data_of(event))]


@settings(deadline=None)
@given(
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(min_value=0, max_value=len(_TEXT)), max_size=len(_TEXT)),
)
def test_it_finds_the_same_events_in_any_pieces(end: bytes, cuts: list[int]) -> None:
    assert data_in(_TEXT.replace(b"\n", end), cuts) == [b"1", b"{\n2}", b"3"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_it_finds_them_byte_by_byte(end: bytes) -> None:
    stream = _TEXT.replace(b"\n", end)
    assert data_in(stream, list(range(len(stream)))) == [b"1", b"{\n2}", b"3"]


def test_it_does_not_take_one_end_of_a_line_for_a_blank_line() -> None:
    assert EventSplitter().push(b"event: a\r\ndata: 1\r\n") == []


def test_it_holds_back_an_event_until_it_is_whole() -> None:
    splitter = EventSplitter()
    assert splitter.push(b"data: 1\n\ndata: 2") == [b"data: 1\n\n"]
    assert splitter.rest() == b"data: 2"
    assert splitter.push(b"\n\n") == [b"data: 2\n\n"]


def test_it_keeps_no_more_of_an_endless_event_than_it_may() -> None:
    splitter = EventSplitter(max_event_bytes=100)
    assert splitter.push(b"data: " + b"x" * 94) == []
    with pytest.raises(TooLong):
        splitter.push(b"x")
