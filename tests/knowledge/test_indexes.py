"""Indexes of large spaces: built once, repaired after a kill, used by searches."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from knowledge import indexes
from knowledge.indexes import (
    build_index,
    drop_index,
    drop_stray_indexes,
    index_is_wanted,
    index_name,
)
from knowledge.models import IndexState, VectorSpace
from knowledge.search import search
from knowledge.types import SearchRequest
from tests.knowledge.corpus import drop_indexes, fill, make_base, make_embedder, make_space
from tests.knowledge.threads import elsewhere

pytestmark = pytest.mark.django_db(transaction=True)

LARGE = 300


@pytest.fixture(autouse=True)
def no_indexes_left(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(indexes, "INDEXED_FROM", LARGE - 1)
    drop_indexes()
    yield
    drop_indexes()


def make(owner: User, *, count: int = LARGE, dimensions: int = 384) -> VectorSpace:
    base = make_base(owner)
    space = make_space(
        base, make_embedder(owner, dimensions=dimensions), np.empty((0, dimensions), np.float32)
    )
    fill(base, space, count=count)
    return space


@pytest.fixture
def space(alice: User) -> VectorSpace:
    return make(alice)


def indexes_of(space: VectorSpace) -> list[bool]:
    """For each index of that name, whether it is valid."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select indisvalid from pg_index join pg_class on pg_class.oid = indexrelid"
            " where relname = %s",
            [index_name(space.pk)],
        )
        return [bool(row[0]) for row in cursor.fetchall()]


def state_of(space: VectorSpace) -> tuple[str, str]:
    space.refresh_from_db()
    return space.index_state, space.index_error


def test_it_builds_and_searches_use_it(space: VectorSpace) -> None:
    request = SearchRequest("anything", (space.knowledge_base_id,), limit=20)
    exact = asyncio.run(search(request))
    assert index_is_wanted(space)

    build_index(space.pk)

    assert state_of(space) == (IndexState.READY, "")
    assert indexes_of(space) == [True]
    assert not index_is_wanted(space)
    by_index = asyncio.run(search(request))
    assert [hit.chunk_id for hit in by_index.hits] == [hit.chunk_id for hit in exact.hits]
    assert by_index.notes == ()


def test_a_small_space_needs_none(alice: User) -> None:
    small = make(alice, count=LARGE - 1)
    assert not index_is_wanted(small)
    build_index(small.pk)
    assert state_of(small) == (IndexState.NONE, "")
    assert indexes_of(small) == []


def test_more_dimensions_than_an_index_takes_are_searched_exactly(alice: User) -> None:
    wide = make(alice, dimensions=4001)
    assert not index_is_wanted(wide)
    build_index(wide.pk)
    assert indexes_of(wide) == []


def test_to_build_again_changes_nothing(space: VectorSpace) -> None:
    build_index(space.pk)
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass(%s)::oid", [index_name(space.pk)])
        first = cursor.fetchone()
        build_index(space.pk)
        cursor.execute("select to_regclass(%s)::oid", [index_name(space.pk)])
        assert cursor.fetchone() == first


def test_a_space_that_is_gone_gets_none() -> None:
    build_index(10**9)
    assert drop_stray_indexes() == 0


class TestKilledBuilds:
    def test_what_a_killed_build_left_is_replaced(self, space: VectorSpace) -> None:
        build_index(space.pk)
        with connection.cursor() as cursor:
            # What Postgres leaves when it is killed in the middle.
            cursor.execute(
                "update pg_index set indisvalid = false where indexrelid = %s::regclass",
                [index_name(space.pk)],
            )
        VectorSpace.objects.update(index_state=IndexState.BUILDING)
        space.refresh_from_db()
        assert index_is_wanted(space)

        build_index(space.pk)

        assert indexes_of(space) == [True]
        assert state_of(space) == (IndexState.READY, "")

    def test_a_backend_killed_in_the_middle_is_followed_by_a_good_index(
        self, space: VectorSpace
    ) -> None:
        # An open transaction that may have written keeps the build waiting until it is killed.
        holding = threading.Event()

        def hold() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("lock table knowledge_chunkvector in row exclusive mode")
                holding.set()
                _kill_the_build()

        holder = threading.Thread(target=elsewhere, args=[hold])
        holder.start()
        assert holding.wait(10)
        elsewhere(lambda: build_index_and_fail(space.pk))
        holder.join()
        assert indexes_of(space) == [False]
        assert state_of(space)[0] == IndexState.BUILDING
        assert index_is_wanted(space)

        build_index(space.pk)

        assert indexes_of(space) == [True]
        assert state_of(space) == (IndexState.READY, "")

    def test_an_index_that_an_orphan_finished_is_taken(self, space: VectorSpace) -> None:
        build_index(space.pk)
        VectorSpace.objects.update(index_state=IndexState.BUILDING)
        build_index(space.pk)
        assert state_of(space) == (IndexState.READY, "")


def build_index_and_fail(space_id: int) -> None:
    """A build whose session dies."""
    with pytest.raises(Exception):  # whichever of the errors of a lost connection comes first
        build_index(space_id)


def _kill_the_build() -> None:
    """Ends the session that builds, once it waits for us."""
    deadline = time.monotonic() + 20
    with connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("select pg_stat_clear_snapshot()")
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where query like 'create index concurrently%%' and wait_event_type = 'Lock'"
                " and datname = current_database()"
            )
            if cursor.fetchone():
                return


class TestOtherBuilds:
    def test_two_workers_do_not_build_at_once(self, space: VectorSpace) -> None:
        with indexes._alone() as is_alone:
            assert is_alone
            elsewhere(lambda: build_index(space.pk))
            assert indexes_of(space) == []
            assert not index_is_wanted(space)
        assert index_is_wanted(space)
        elsewhere(lambda: build_index(space.pk))
        assert state_of(space) == (IndexState.READY, "")

    def test_a_build_that_is_on_is_not_wanted_again(self, space: VectorSpace) -> None:
        space.index_state = IndexState.BUILDING
        with indexes._alone():
            assert not index_is_wanted(space)
        assert index_is_wanted(space)

    def test_an_index_is_not_dropped_while_another_is_built(self, space: VectorSpace) -> None:
        build_index(space.pk)
        gone = VectorSpace(pk=space.pk)
        space.delete()
        with indexes._alone():
            elsewhere(lambda: drop_index(gone.pk))
            elsewhere(lambda: indexes.set_aside(gone.pk))
            assert indexes_of(gone) == [True]
        elsewhere(lambda: drop_index(gone.pk))
        assert indexes_of(gone) == []

    def test_strays_stay_while_an_index_is_built(self, space: VectorSpace) -> None:
        build_index(space.pk)
        gone = VectorSpace(pk=space.pk)
        space.delete()
        with indexes._alone():
            elsewhere(assert_no_strays_dropped)
        assert indexes_of(gone) == [True]
        assert drop_stray_indexes() == 1


def assert_no_strays_dropped() -> None:
    assert drop_stray_indexes() == 0


class TestFailures:
    def test_the_error_is_on_the_row_and_it_is_tried_again_later(self, space: VectorSpace) -> None:
        VectorSpace.objects.update(dimensions=385)
        build_index(space.pk)
        state, error = state_of(space)
        assert state == IndexState.FAILED
        assert "385" in error
        assert not index_is_wanted(space)
        space.updated_at = timezone.now() - timedelta(hours=2)
        assert index_is_wanted(space)

        VectorSpace.objects.update(dimensions=384)
        build_index(space.pk)
        assert state_of(space) == (IndexState.READY, "")

    def test_the_session_is_given_back_as_it_was(self, space: VectorSpace) -> None:
        with connection.cursor() as cursor:
            cursor.execute("show maintenance_work_mem")
            before = cursor.fetchone()
            build_index(space.pk)
            cursor.execute("show maintenance_work_mem")
            assert cursor.fetchone() == before
            # Other workers' tests have locks of their own on this server.
            cursor.execute(
                "select count(*) from pg_locks"
                " where locktype = 'advisory' and pid = pg_backend_pid()"
            )
            assert cursor.fetchone() == (0,)


class TestDropping:
    def test_a_space_that_shrank_keeps_nothing_of_a_killed_build(
        self, space: VectorSpace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        build_index(space.pk)
        VectorSpace.objects.update(index_state=IndexState.BUILDING)
        monkeypatch.setattr(indexes, "INDEXED_FROM", LARGE)
        build_index(space.pk)
        assert state_of(space) == (IndexState.NONE, "")
        assert indexes_of(space) == []

    def test_an_index_that_is_set_aside_is_wanted_again(self, space: VectorSpace) -> None:
        build_index(space.pk)
        indexes.set_aside(space.pk)
        assert state_of(space) == (IndexState.NONE, "")
        assert indexes_of(space) == []
        assert index_is_wanted(space)

    def test_an_index_goes_after_the_transaction_of_its_space(self, space: VectorSpace) -> None:
        build_index(space.pk)
        space_id = space.pk
        with transaction.atomic():
            VectorSpace.objects.filter(pk=space_id).delete()
            drop_index(space_id)
            assert indexes_of(VectorSpace(pk=space_id)) == [True]
        assert indexes_of(VectorSpace(pk=space_id)) == []

    def test_strays_go_and_others_stay(self, space: VectorSpace, alice: User) -> None:
        other = make(alice)
        for each in (space, other):
            build_index(each.pk)
        space_id = space.pk
        space.delete()
        assert drop_stray_indexes() == 1
        assert indexes_of(VectorSpace(pk=space_id)) == []
        assert indexes_of(other) == [True]
