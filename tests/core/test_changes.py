"""Word of changed rows reaches every loop, also after Postgres was away."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from django.db import connection, transaction

from config.supervisor import postgres
from config.supervisor.process import free_port
from core import changes
from core.db import in_db


async def until(is_so: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Waits for what is about to be so."""
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.01)


class Heard:
    """A subscriber and what it was told."""

    def __init__(self, topic: str) -> None:
        self.words: list[str] = []
        self.gaps = 0
        changes.subscribe(topic, self.words.append, self._on_gap)

    def _on_gap(self) -> None:
        self.gaps += 1


def say(payload: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify('changes', %s)", [payload])


def say_and_roll_back(payload: str) -> None:
    with transaction.atomic():
        say(payload)
        transaction.set_rollback(True)


def listening_connections() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            [changes.APPLICATION],
        )
        return [pid for (pid,) in cursor.fetchall()]


def end_listening_connections() -> int:
    with connection.cursor() as cursor:
        for pid in (found := listening_connections()):
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    return len(found)


@pytest.mark.django_db(transaction=True)
async def test_it_hears_of_its_topic_what_was_committed() -> None:
    fruit, others = Heard("fruit"), Heard("others")
    await until(changes.is_listening)
    await in_db(say_and_roll_back, "fruit:taken back")
    await in_db(say, "others:x")
    await in_db(say, "fruit:a:b")
    await in_db(say, "fruit:")
    await until(lambda: len(fruit.words) == 2)
    assert fruit.words == ["a:b", ""]
    assert others.words == ["x"]


@pytest.mark.django_db(transaction=True)
async def test_it_tells_of_the_gap_and_goes_on_after_its_connection_broke() -> None:
    fruit = Heard("fruit")
    await until(changes.is_listening)
    assert fruit.gaps == 1
    assert await in_db(end_listening_connections)
    await until(lambda: fruit.gaps == 2)
    await until(changes.is_listening)
    await in_db(say, "fruit:late")
    await until(lambda: fruit.words == ["late"])


@pytest.mark.django_db(transaction=True)
async def test_it_does_not_listen_while_it_cannot_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    good = changes._parameters()
    fruit = Heard("fruit")
    await until(changes.is_listening)
    monkeypatch.setattr(changes, "_parameters", lambda: {**good, "port": 1})
    await in_db(end_listening_connections)
    await until(lambda: not changes.is_listening())
    assert fruit.gaps == 1
    monkeypatch.setattr(changes, "_parameters", lambda: good)
    await until(lambda: fruit.gaps == 2)


class Server:
    """A Postgres of this test's own, which can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.parameters: dict[str, Any] = {
            **{"host": "127.0.0.1", "port": self.port, "user": "app", "password": "test"},
            **{"dbname": "postgres", "autocommit": True},
        }

    def start(self) -> None:
        if self.folder.exists():
            postgres.clear_the_way(self.folder)
        self.process = postgres.start(self.folder, port=self.port, password="test")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "postgres")
    server.start()
    yield server
    server.kill()


@pytest.mark.processes
async def test_it_comes_back_after_postgres_was_killed(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_parameters", lambda: server.parameters)
    fruit = Heard("fruit")
    await until(changes.is_listening)
    await asyncio.to_thread(server.kill)
    await until(lambda: not changes.is_listening())
    await asyncio.to_thread(server.start)
    await until(changes.is_listening, within_s=60)
    assert fruit.gaps == 2
    async with await psycopg.AsyncConnection.connect(**server.parameters) as other:
        await other.execute("NOTIFY changes, 'fruit:late'")
    await until(lambda: fruit.words == ["late"])


@pytest.mark.processes
async def test_it_knows_soon_that_postgres_says_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "_parameters", lambda: server.parameters)
    fruit = Heard("fruit")
    await until(changes.is_listening)
    main = psutil.Process(server.process.pid)
    silent = [main, *main.children(recursive=True)]
    for each in silent:
        each.suspend()
    try:
        # Sooner than its connection is given up.
        await until(lambda: not changes.is_listening())
    finally:
        for each in silent:
            each.resume()
    await until(lambda: fruit.gaps == 2, within_s=60)


@pytest.mark.django_db(transaction=True)
def test_it_ends_with_its_loop() -> None:
    async def listen() -> int:
        Heard("fruit")
        await until(changes.is_listening)
        return len(await in_db(listening_connections))

    assert asyncio.run(listen())
    gc.collect()
    with psycopg.connect(**changes._parameters()) as other:
        # The server notices a moment later than the client.
        for _attempt in range(1000):
            found = other.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name = %s AND datname = current_database() AND pid <> %s",
                [changes.APPLICATION, other.info.backend_pid],
            ).fetchone()
            if found == (0,):
                break
        assert found == (0,)
