"""Server-sent events: their form, and the stream that carries them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from core import leaving, sse


def test_it_writes_an_event_on_one_line() -> None:
    text = "é\n\r\x0b\x0c\x1c\x85\u2028\u2029"
    written = sse.data({"a": text}).decode()
    assert len(written.splitlines()) == 2
    assert json.loads(written.removeprefix("data: ")) == {"a": text}


def test_it_names_type_and_id_before_the_data() -> None:
    assert sse.data([1], event="tick", id=7) == b"event: tick\nid: 7\ndata: [1]\n\n"


def test_it_replaces_half_characters() -> None:
    assert sse.data("\ud800") == b'data: "?"\n\n'


class Source:
    """Gives pieces, then waits until it is let go or closed."""

    def __init__(self, pieces: Sequence[bytes], *, waits: bool = True) -> None:
        self.made = 0
        self.is_closed = False
        self.may_end = asyncio.Event()
        self._pieces = pieces
        if not waits:
            self.may_end.set()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self._pieces:
                self.made += 1
                yield piece
            await self.may_end.wait()
        finally:
            self.is_closed = True


async def taken(stream: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in stream])


async def test_it_hands_on_every_piece_in_order() -> None:
    pieces = [b"%d," % number for number in range(1000)]
    assert await taken(sse.kept_alive(Source(pieces, waits=False).stream())) == b"".join(pieces)


async def test_it_pings_while_nothing_comes() -> None:
    source = Source([b"first"])
    async with aclosing(sse.kept_alive(source.stream(), ping_every_s=0.01)) as stream:
        assert await anext(stream) == b"first"
        assert await anext(stream) == sse.PING
        assert await anext(stream) == sse.PING
        source.may_end.set()
        assert set(await taken(stream)) <= set(sse.PING)


async def test_it_closes_the_source_when_its_reader_leaves() -> None:
    source = Source([b"first"])
    async with aclosing(sse.kept_alive(source.stream())) as stream:
        await anext(stream)
        assert not source.is_closed
    assert source.is_closed


async def test_it_asks_for_no_more_than_fits_between() -> None:
    source = Source([bytes(sse.ROOM_BYTES // 4)] * 100)
    async with aclosing(sse.kept_alive(source.stream())) as stream:
        await anext(stream)
        for _ in range(10):
            await asyncio.sleep(0)
        assert source.made <= 10


async def test_it_takes_a_reader_that_reads_nothing_for_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "STALLED_S", 0.01)
    source = Source([bytes(sse.ROOM_BYTES)] * 3)
    async with aclosing(sse.kept_alive(source.stream())) as stream:
        await anext(stream)
        async with asyncio.timeout(5):
            while not source.is_closed:
                await asyncio.sleep(0.001)


async def test_it_raises_what_the_source_raises_behind_its_pieces() -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield b"first"
        raise LookupError

    async with aclosing(sse.kept_alive(failing())) as stream:
        assert await anext(stream) == b"first"
        with pytest.raises(LookupError):
            await anext(stream)


async def test_it_ends_where_the_source_is_stopped_by_its_own_side() -> None:
    async def stopping() -> AsyncGenerator[bytes, None]:
        yield b"first"
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    assert await taken(sse.kept_alive(stopping())) == b"first"


async def test_its_response_is_not_stored_on_the_way() -> None:
    answer = sse.response(Source([b"x"], waits=False).stream())
    assert answer["Content-Type"].startswith("text/event-stream")
    assert (answer["Cache-Control"], answer["X-Accel-Buffering"]) == ("no-cache", "no")


@pytest.mark.parametrize("is_told", [False, True])
async def test_it_parts_from_its_reader_when_the_process_stops(is_told: bool) -> None:
    source = Source([b"first"])
    async with aclosing(sse.kept_alive(source.stream(), parting=lambda: b"bye")) as stream:
        assert await anext(stream) == b"first"
        if is_told:
            leaving.tell()
        else:
            source.may_end.set()
        assert await taken(stream) == (b"bye" if is_told else b"")
    assert source.is_closed
