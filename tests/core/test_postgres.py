"""Connections of the pool: one that died is never handed out, and few are asked for that."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection
from psycopg_pool import ConnectionPool

from core.postgres import base

pytestmark = pytest.mark.django_db(transaction=True)


def backend() -> int:
    """The server's process that answers, on a connection that is given back afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
    connection.close()
    return pid


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[psycopg.Connection[Any]]]:
    """The connections whose server was asked whether it lives, in a new pool, of one connection."""
    found: list[psycopg.Connection[Any]] = []
    ask = ConnectionPool.check_connection

    def noted(checked: psycopg.Connection[Any]) -> None:
        found.append(checked)
        ask(checked)

    connection.close()
    getattr(connection, "close_pool")()  # noqa: B009 - of this backend only
    monkeypatch.setattr(ConnectionPool, "check_connection", noted)
    # Whoever has to wait for the first one has another one opened.
    getattr(connection, "pool").open(wait=True)  # noqa: B009 - as above
    yield found
    connection.close()
    getattr(connection, "close_pool")()  # noqa: B009 - of this backend only


def raw() -> psycopg.Connection[Any]:
    """The connection that is used now."""
    connection.ensure_connection()
    assert isinstance(connection.connection, psycopg.Connection)
    return connection.connection


def end_from_elsewhere(pid: int) -> None:
    parameters = connection.get_connection_params()
    with psycopg.connect(**parameters, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s, 5000)", [pid])


def test_it_asks_a_server_that_has_just_answered_only_once(
    asked: list[psycopg.Connection[Any]],
) -> None:
    pids = {backend() for _number in range(20)}
    assert len(pids) == 1
    assert len(asked) == 1


def test_it_asks_again_after_a_while(
    asked: list[psycopg.Connection[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "TRUSTED_S", 0.0)
    backend()
    backend()
    assert len(asked) == 2


def test_it_replaces_a_connection_that_its_server_has_just_ended(
    asked: list[psycopg.Connection[Any]],
) -> None:
    pid = backend()
    end_from_elsewhere(pid)
    assert backend() != pid
    assert len(set(asked)) == len(asked), "the end was seen without asking"


def test_it_replaces_a_connection_that_broke_without_a_word(
    asked: list[psycopg.Connection[Any]],
) -> None:
    pid = backend()
    with socket.socket(fileno=raw().fileno()) as ours:
        ours.shutdown(socket.SHUT_RDWR)
        ours.detach()
    connection.close()
    assert backend() != pid
