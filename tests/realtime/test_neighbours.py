"""Clients that come back by another web process than the one that has their session."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection
from websockets.asyncio.client import connect

from assistants.models import Assistant
from conversations.models import Call
from core.db import in_db
from providers.fakes import Behaviour, FakeUpstream
from realtime import neighbours, pipeline, relay
from realtime.admission import Whose
from tests.browser.product import Product, Web
from tests.conftest import make_key, make_user
from tests.realtime.conftest import PATIENCE_S, Client, Connect, change
from tests.realtime.test_calls import LONG, call_of, messages_of
from tests.realtime.test_resume import RESUME, TEXT_ONLY, assert_no_gap, refused, resume, wish

ALICE = Whose("asst", 1)


@pytest.fixture(scope="module")
def product(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Product:
    """The product on the tests' database."""
    folder = tmp_path_factory.mktemp("product")
    database = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}"
    environment = {
        **os.environ,
        "DATABASE_URL": database.format(**connection.settings_dict),
        "DATA_DIR": str(folder),
        "LOG_LEVEL": "WARNING",
        "OUTBOUND_ALLOW": "127.0.0.0/8",
    }
    return Product(folder, environment)


@pytest.fixture(scope="module")
def webs(product: Product) -> Iterator[tuple[Web, Web, Web]]:
    """Started at once, as one after the other takes longer."""
    with ExitStack() as running:
        one, two, three = [running.enter_context(product.web()) for _ in range(3)]
        yield one, two, three


@pytest.fixture
def home(webs: tuple[Web, Web, Web]) -> Web:
    """The process at which sessions begin."""
    return webs[0]


@pytest.fixture
def other(webs: tuple[Web, Web, Web]) -> Web:
    return webs[1]


@pytest.fixture
def doomed(webs: tuple[Web, Web, Web]) -> Web:
    """A process that one test kills."""
    return webs[2]


@pytest.fixture
async def bob_key(transactional_db: None) -> str:
    return await in_db(lambda: make_key(make_user("bob")))


@dataclasses.dataclass(frozen=True)
class Door:
    """How a caller opens sockets at their assistant."""

    assistant: Assistant
    key: str | None

    @asynccontextmanager
    async def to(self, web: Web) -> AsyncIterator[Client]:
        address = f"ws{web.url.removeprefix('http')}/ws?assistant_id={self.assistant.pk}"
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        async with connect(
            address,
            additional_headers=headers,
            compression=None,
            max_size=None,
            proxy=None,
            # A process may just be starting.
            open_timeout=60,
        ) as client:
            yield Client(client)


@pytest.fixture
def door(assistant: Assistant, alice_key: str) -> Door:
    return Door(assistant, alice_key)


async def finish(client: Client) -> str:
    """Stops the session and waits until everything is written; its id."""
    await client.send("session.stop", reason="done")
    assert await client.closed() == 1000
    session_id = str(client.events[-1]["sessionId"])
    async with asyncio.timeout(PATIENCE_S):
        while (await call_of(session_id)).ended_at is None:
            await asyncio.sleep(0.02)
    return session_id


async def begin_reading(client: Client) -> None:
    """Has a long answer written, of which something has come."""
    await client.start(**RESUME, **TEXT_ONLY)
    await client.send("input.text", text="Tell me.")
    await client.wait("assistant.response.delta")


pytestmark = pytest.mark.processes


async def test_a_written_reply_goes_on_at_another_process(
    home: Web, other: Web, door: Door, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=20))
    async with door.to(home) as client:
        await begin_reading(client)
        client.socket.transport.abort()
    async with door.to(other) as again:
        resumed = await resume(again, client)
        final = await again.wait("assistant.response.final")
        await again.send("output.audio.played", tts_id="none")
        await again.send("session.resume", **wish(client))
        await again.wait("error", code="protocol.order")
        again.socket.transport.abort()
    async with door.to(other) as third:
        assert (await resume(third, again))["data"]["received"] == 3
        await third.send("input.text", text="More.")
        await third.wait("assistant.response.final", turn=2)
        session_id = await finish(third)
    assert resumed["data"]["received"] == 1
    assert resumed["sessionId"] == client.events[0]["sessionId"] == session_id
    assert final["text"] == LONG
    assert_no_gap(client, again, third)
    roles = [(m.role, m.is_interrupted) for m in await messages_of(session_id)]
    assert roles == [("user", False), ("assistant", False)] * 2
    # What is only passed on is no call, and needs no record.
    assert await in_db(Call.objects.count) == 1
    assert (await call_of(session_id)).metadata == {"resumed": 2}


async def test_a_spoken_reply_goes_on_at_another_process_which_hears_the_answer(
    home: Web, other: Web, door: Door, speech: bytes, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(
        Behaviour(reply="One two three four five. Six seven eight nine.", transcript="Thank you.")
    )
    async with door.to(home) as client:
        await client.start(**RESUME)
        await client.send("input.text", text="Count.")
        while len(client.audio) < 32 * 700:
            await client.wait_audio()
        client.socket.transport.abort()
    async with door.to(other) as again:
        place = (await resume(again, client))["data"]["audio"]
        await again.wait("output.audio.end")
        whole = client.audio[: 32 * place["offset_ms"]] + again.audio
        await again.say(speech)
        await again.wait("transcript.final", text="Thank you.")
        await finish(again)
    assert place["tts_id"] == "tts_1"
    assert again.audio.startswith(client.audio[32 * place["offset_ms"] :])
    last = [e for e in again.of("output.audio.segment_end") if e["data"]["turn"] == 1][-1]
    assert len(whole) == 32 * last["data"]["audio_end_ms"]
    assert_no_gap(client, again)


async def test_a_client_that_hesitates_is_not_taken_for_a_new_one(
    home: Web, other: Web, door: Door
) -> None:
    async with door.to(home) as client:
        await client.start(**RESUME)
        client.socket.transport.abort()
    async with door.to(other) as again, httpx.AsyncClient(trust_env=False) as http:
        for _ in range(10):
            assert (await http.get(f"{other.url}/health")).status_code == 200
        await resume(again, client)
        await finish(again)
    assert await in_db(Call.objects.count) == 1


async def test_the_older_socket_is_closed_wherever_it_is(home: Web, other: Web, door: Door) -> None:
    async with door.to(home) as client:
        await client.start(**RESUME)
        async with door.to(other) as again:
            await resume(again, client)
            assert await client.closed() == 4409
            async with door.to(home) as third:
                await resume(third, again)
                assert await again.closed() == 4409
                await finish(third)


async def test_who_says_goodbye_at_another_process_is_gone(
    home: Web, other: Web, door: Door
) -> None:
    async with door.to(home) as client:
        await client.start(**RESUME)
        client.socket.transport.abort()
    async with door.to(other) as again:
        await resume(again, client)
        await again.socket.close(1000)
    session_id = client.events[0]["sessionId"]
    async with asyncio.timeout(PATIENCE_S):
        while (await call_of(session_id)).ended_at is None:
            await asyncio.sleep(0.02)
    async with door.to(other) as late:
        await refused(late, wish(again))


async def test_only_the_caller_with_the_token_is_let_through(
    home: Web, other: Web, door: Door, bob_key: str
) -> None:
    await change(door.assistant, is_public=True)
    async with door.to(home) as client:
        await client.start(**RESUME)
        client.socket.transport.abort()
    token = wish(client)["resume_token"]
    wrong = f"{token.partition('.')[0]}.{'x' * 32}"
    nobody = f"{'0' * 16}.{token.partition('.')[2]}"
    for bad in ({"resume_token": wrong}, {"resume_token": nobody}, {"session_id": "another"}):
        async with door.to(other) as foreign:
            await refused(foreign, wish(client, **bad))
    for key in (bob_key, None):
        async with Door(door.assistant, key).to(other) as foreign:
            await refused(foreign, wish(client))
    async with door.to(other) as again:
        assert (await resume(again, client))["data"]["missed"] == 0
        await finish(again)


async def test_a_stranger_comes_back_as_a_stranger(home: Web, other: Web, door: Door) -> None:
    await change(door.assistant, is_public=True)
    stranger = Door(door.assistant, None)
    async with stranger.to(home) as client:
        await client.start(**RESUME)
        client.socket.transport.abort()
    async with door.to(other) as known:
        await refused(known, wish(client))
    async with stranger.to(other) as again:
        await resume(again, client)
        # The same size is too big as at any socket.
        await again.send("input.text", text="x" * 70_000)
        assert await again.closed() == 1009
    assert again.of("error")[0]["data"]["code"] == "protocol.invalid_message"


async def test_with_a_process_go_its_own_sessions_and_none_that_it_passes_on(
    home: Web, other: Web, doomed: Web, door: Door, upstream: FakeUpstream
) -> None:
    upstream.set_behaviour(Behaviour(reply=LONG * 4, llm_token_ms=20))
    async with door.to(doomed) as lost, door.to(doomed) as own, door.to(home) as client:
        for each in (lost, own, client):
            await begin_reading(each)
            each.socket.transport.abort()
    async with door.to(other) as passed_on, door.to(doomed) as again:
        await resume(passed_on, own)
        await resume(again, client)
        await passed_on.wait("assistant.response.delta")
        await again.wait("assistant.response.delta")
        doomed.kill()
        # Whoever comes back then learns that it is over.
        assert await passed_on.closed() == 1001
        assert await again.closed() == 1006
    assert passed_on.of("error") == []
    for gone in (lost, passed_on):
        async with door.to(other) as late:
            await refused(late, wish(gone))
    async with door.to(other) as third:
        await resume(third, again)
        await third.send("response.cancel")
        await third.wait("response.interrupted")
        await finish(third)
    assert_no_gap(client, again, third)


async def test_a_process_that_stops_sends_away_whom_it_only_passes_on(
    product: Product,
    home: Web,
    other: Web,
    door: Door,
    connect_to: Connect,
    upstream: FakeUpstream,
    settings: Any,
) -> None:
    """Between the client and the session is the application in this process."""
    settings.DATA_DIR = product.folder
    upstream.set_behaviour(Behaviour(reply=LONG, llm_token_ms=20))
    async with door.to(home) as client:
        await begin_reading(client)
        client.socket.transport.abort()
    with neighbours.listening():  # or it would not know that there is a session to wait for
        async with connect_to(door.assistant, key=door.key) as again:
            await resume(again, client)
            await again.wait("assistant.response.delta")
            assert pipeline._calls == set()
            await relay.stop_all()
            assert await again.closed() == 1001
    assert relay._relays == set()
    assert again.of("session.stopped") == []
    async with door.to(other) as third:
        await resume(third, again)
        final = await third.wait("assistant.response.final")
        await finish(third)
    assert final["text"] == LONG
    assert_no_gap(client, again, third)


# --- how processes find each other ---------------------------------------------------------------
def test_a_token_names_its_process_and_nothing_else_is_taken_for_one() -> None:
    token = neighbours.new_token()
    _home, _, secret = token.partition(".")
    assert neighbours.home_of(token) is None
    assert neighbours.home_of(f"{'0' * 16}.{secret}") == "0" * 16
    assert neighbours.home_of(f"../../{'0' * 10}.{secret}") is None
    assert neighbours.home_of(secret) is None
    assert len(secret) >= 32
    assert neighbours.new_token() != token


def test_what_a_dead_process_left_is_removed(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    folder = neighbours._folder()
    with neighbours.listening():
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(folder / f"{'0' * 16}.sock"))
        note = neighbours.Note(ALICE)
        of_dead = folder / f"{neighbours._digest(ALICE)}.{'0' * 16}.7"
        of_dead.touch()
        assert neighbours.may_have(ALICE)
        neighbours._remove_stale(folder)
        own = {f"{neighbours.PROCESS_ID}.sock"}
        assert {path.name for path in folder.iterdir()} > own
        # What is here, it knows without a note.
        assert not neighbours.may_have(ALICE)
        note.remove()
        assert {path.name for path in folder.iterdir()} == own
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / own.pop()).stat().st_mode & 0o777 == 0o600
    assert list(folder.iterdir()) == []


def test_a_note_is_about_one_caller_at_one_assistant(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = tmp_path
    with neighbours.listening():
        note = neighbours.Note(ALICE)
        monkeypatch.setattr(neighbours, "PROCESS_ID", "1" * 16)
        assert neighbours.may_have(ALICE)
        assert not neighbours.may_have(Whose("asst", 2))
        assert not neighbours.may_have(Whose("asst", None))
        assert not neighbours.may_have(Whose("other", 1))
        note.remove()
        assert not neighbours.may_have(ALICE)
    assert not neighbours.may_have(ALICE)


def test_a_folder_with_a_long_name_does_not_stand_in_the_way(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path / ("a" * 100)
    folder = neighbours._folder()
    assert tmp_path not in folder.parents
    with neighbours.listening():
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(list(folder.iterdir())) == 1
    folder.rmdir()


def test_a_folder_that_others_may_enter_is_not_used(tmp_path: Path, settings: Any) -> None:
    settings.DATA_DIR = tmp_path
    folder = neighbours._folder()
    neighbours._make(folder)
    folder.chmod(0o750)
    with pytest.raises(PermissionError), neighbours.listening():
        pass
    folder.chmod(0o700)
    with neighbours.listening():
        pass
