"""Connections of the pool: one that died is never handed out; statements are planned once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest
from django.db import DataError, NotSupportedError, connection, transaction
from django.test.utils import CaptureQueriesContext
from psycopg_pool import ConnectionPool

from core.postgres import base
from core.statements import prepared_cursor

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


# --- Prepared statements -------------------------------------------------------------------------

_SUM = "select %(one)s::int + %(other)s::int"


def added(one: int, other: int) -> int:
    with prepared_cursor() as cursor:
        cursor.execute(_SUM, {"one": one, "other": other})
        result: int = cursor.fetchone()[0]
    return result


def kept_plans() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("select statement from pg_prepared_statements order by prepare_time")
        return [row[0] for row in cursor.fetchall()]


def test_it_plans_a_statement_once_whatever_its_values(
    asked: list[psycopg.Connection[Any]],
) -> None:
    assert [added(1, number) for number in (1, 2, 40_000, 3)] == [2, 3, 40_001, 4]
    # The types of values are part of what is planned.
    assert kept_plans() == ["select $1::int + $2::int"] * 2
    connection.close()
    assert added(2, 2) == 4
    assert len(kept_plans()) == 2


def test_it_keeps_no_other_statement(asked: list[psycopg.Connection[Any]]) -> None:
    added(1, 1)
    for number in range(20):
        with connection.cursor() as cursor:
            cursor.execute("select %s", [number % 2])
    assert len(kept_plans()) == 1


def test_it_goes_on_after_a_transaction_that_was_rolled_back(
    asked: list[psycopg.Connection[Any]],
) -> None:
    added(1, 1)
    with transaction.atomic():
        added(1, 1)
        transaction.set_rollback(True)
    assert added(1, 1) == 2


def test_it_goes_on_after_a_table_got_another_column() -> None:
    def row() -> tuple[Any, ...]:
        with prepared_cursor() as cursor:
            cursor.execute("select a from changing where a = %(a)s", {"a": 1})
            found: tuple[Any, ...] = cursor.fetchone()
        return found

    with connection.cursor() as cursor:
        cursor.execute("create table changing as select 1 as a")
    try:
        assert row() == (1,)
        with connection.cursor() as cursor:
            cursor.execute("alter table changing add column b int default 2")
        assert row() == (1,)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("drop table changing")


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_connection_whose_plans_a_migration_has_made_void_is_replaced(
    asked: list[psycopg.Connection[Any]], in_transaction: bool
) -> None:
    def first() -> Any:
        with transaction.atomic() if in_transaction else nullcontext(), prepared_cursor() as cursor:
            cursor.execute("select a from changing")
            return cursor.fetchone()[0]

    with connection.cursor() as cursor:
        cursor.execute("create table changing as select 1 as a")
    try:
        assert first() == 1
        with connection.cursor() as cursor:
            cursor.execute("alter table changing alter column a type text")
        with pytest.raises(NotSupportedError, match="cached plan"):
            first()
        connection.close()
        assert first() == "1"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("drop table changing")


def test_errors_of_prepared_statements_are_djangos() -> None:
    with pytest.raises(DataError), prepared_cursor() as cursor:
        cursor.execute("select %(text)s::int", {"text": "no number"})


def test_prepared_statements_are_shown_with_the_others() -> None:
    with CaptureQueriesContext(connection) as captured:
        added(1, 1)
    assert [query["sql"] for query in captured] == [_SUM]
