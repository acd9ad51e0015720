"""Downloads as a server of ours sends them: in pieces, off the loop, with nothing left open."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.asgi import get_asgi_application

from accounts.models import User
from conversations.files.folder import UserFolder
from conversations.files.streaming import Streamed


def client(key: str, path: str) -> Any:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/v1/files/download",
        "query_string": urlencode({"path": path}).encode(),
        "headers": [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode())],
    }
    return ApplicationCommunicator(get_asgi_application(), scope)  # type: ignore[no-untyped-call]  # asgiref's


def opened_below(base: Path) -> list[str]:
    """What this process has open of users' files."""
    held = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            held.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    return [path for path in held if path.startswith(str(base))]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["docs/a.bin", "docs"])
async def test_it_sends_in_pieces_and_leaves_nothing_open(
    alice: User, alice_key: str, base: Path, path: str
) -> None:
    content = os.urandom(3_000_000)
    await asyncio.to_thread(UserFolder.of(alice.pk).save, "docs/a.bin", [content])
    asked = client(alice_key, path)
    await asked.send_input({"type": "http.request", "body": b""})
    assert (await asked.receive_output(timeout=10))["status"] == 200
    pieces, more = [], True
    while more:
        event = await asked.receive_output(timeout=10)
        pieces.append(event.get("body", b""))
        more = event.get("more_body", False)
    await asked.wait()
    assert max(map(len, pieces)) < 400_000
    if path != "docs":
        assert b"".join(pieces) == content
    assert opened_below(base) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["docs/a.bin", "docs"])
async def test_a_client_that_goes_away_leaves_nothing_open(
    alice: User, alice_key: str, base: Path, path: str
) -> None:
    content = os.urandom(20_000_000)
    await asyncio.to_thread(UserFolder.of(alice.pk).save, "docs/a.bin", [content])
    asked = client(alice_key, path)
    await asked.send_input({"type": "http.request", "body": b""})
    await asked.receive_output(timeout=10)
    await asked.receive_output(timeout=10)
    await asked.send_input({"type": "http.disconnect"})
    await asked.wait()
    assert opened_below(base) == []


async def test_pieces_are_made_while_the_loop_goes_on() -> None:
    step, was_closed = threading.Event(), False

    def pieces() -> Generator[bytes, None, None]:
        nonlocal was_closed
        try:
            while True:
                step.wait(10)
                yield b"piece"
        finally:
            was_closed = True

    body = Streamed(pieces())
    sending = asyncio.ensure_future(anext(aiter(body)))
    # A thread waits in the middle of a piece; the loop does not.
    await asyncio.sleep(0)
    assert not sending.done()
    step.set()
    assert await sending == b"piece"

    step.clear()
    sending = asyncio.ensure_future(anext(aiter(Streamed(pieces()))))
    await asyncio.sleep(0)
    sending.cancel()
    asyncio.get_running_loop().call_soon(step.set)
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert was_closed


async def test_what_nobody_asked_for_is_closed_too() -> None:
    released: list[bool] = []
    body = Streamed((piece for piece in [b"a"]), lambda: released.append(True))
    body.close()
    assert released == [True]
