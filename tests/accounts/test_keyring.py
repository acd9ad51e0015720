"""Keys in memory: fast, and never good for longer than the database says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone

from accounts import keyring
from accounts.keyring import KeyRecord, cached_key, key_for
from accounts.models import KEY_PREFIX, ApiKey, User, hash_key
from core import changes, remembered
from core.db import in_db
from core.errors import CredentialUnusable, Unauthenticated, Unavailable
from tests.conftest import make_key, make_user
from tests.core.test_changes import end_listening_connections, until

pytestmark = pytest.mark.django_db(transaction=True)


async def warmed(credential: str) -> KeyRecord:
    """The key's record, read and kept, with word of changes coming."""
    record = await key_for(credential)
    await until(changes.is_listening)
    await key_for(credential)
    assert cached_key(credential) is not None
    return record


async def until_refused(credential: str) -> Unauthenticated:
    async with asyncio.timeout(10):
        while True:
            try:
                await key_for(credential)
            except Unauthenticated as error:
                return error
            await asyncio.sleep(0.01)


async def test_it_knows_what_a_key_may() -> None:
    alice = await in_db(make_user, "alice")
    credential = await in_db(
        lambda: make_key(
            alice,
            scopes=["gateway"],
            requests_per_minute=7,
            tokens_per_minute=100,
            monthly_token_budget=1_000,
            allowed_models=["a", "b"],
        )
    )
    assert cached_key(credential) is None
    record = await warmed(credential)
    assert cached_key(credential) == record
    assert record.principal.user_id == alice.pk
    assert record.principal.scopes == {"gateway"}
    assert record.principal.key_id == record.key_id
    assert record.requests_per_minute == 7
    assert record.tokens_per_minute == 100
    assert record.monthly_token_budget == 1_000
    assert record.allowed_models == {"a", "b"}
    assert record.expires_at is None


async def test_a_key_without_limits_of_its_own_has_the_default() -> None:
    record = await key_for(await in_db(lambda: make_key(make_user("alice"))))
    assert record.requests_per_minute == 60
    assert record.tokens_per_minute is None


@pytest.mark.parametrize("credential", ["", "sk-gw-unknown", "eyJhbGciOi.x.y", "ключ", "a" * 5000])
async def test_it_refuses_what_is_no_key(credential: str) -> None:
    good = await in_db(lambda: make_key(make_user("alice")))
    assert await key_for(f" {good} ")
    with pytest.raises(Unauthenticated) as caught:
        await key_for(credential)
    assert not isinstance(caught.value, CredentialUnusable)


async def test_a_key_that_was_refused_works_as_soon_as_it_is_made() -> None:
    alice = await in_db(make_user, "alice")
    await warmed(await in_db(make_key, alice))
    credential = ApiKey.generate()
    with pytest.raises(Unauthenticated):
        await key_for(credential)

    def make() -> None:
        row = ApiKey(owner=alice, name="late")
        row.set_key(credential)
        row.save()

    await in_db(make)
    async with asyncio.timeout(remembered.FRESH_S / 2):
        while True:
            try:
                assert (await key_for(credential)).key_name == "late"
            except Unauthenticated:
                await asyncio.sleep(0.01)
            else:
                break


def by_raw_sql(credential: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE accounts_apikey SET is_enabled = false WHERE digest = %s",
            [hash_key(credential)],
        )


def by_bulk_update(credential: str) -> None:
    ApiKey.objects.filter(digest=hash_key(credential)).update(is_enabled=False)


def by_deleting(credential: str) -> None:
    ApiKey.objects.get(digest=hash_key(credential)).delete()


def by_disabling_the_owner(credential: str) -> None:
    User.objects.filter(api_keys__digest=hash_key(credential)).update(is_active=False)


def in_the_console(credential: str) -> None:
    root = User.objects.create_superuser("root", password="root-password")
    client = Client()
    client.force_login(root)
    key = ApiKey.objects.get(digest=hash_key(credential))
    response = client.post(
        "/admin/accounts/apikey/",
        {"action": "disable", "_selected_action": [str(key.pk)]},
    )
    assert response.status_code == 302


@pytest.mark.parametrize(
    "disable",
    [by_raw_sql, by_bulk_update, by_deleting, by_disabling_the_owner, in_the_console],
)
async def test_a_key_that_is_taken_away_ends_at_once(disable: Callable[[str], None]) -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    other = await in_db(lambda: make_key(make_user("bob")))
    await warmed(credential)
    await warmed(other)
    await in_db(disable, credential)
    error = await until_refused(credential)
    assert isinstance(error, CredentialUnusable) == (disable is not by_deleting)
    assert cached_key(credential) is None
    assert cached_key(other) is not None


async def test_changed_limits_and_rights_are_known_at_once() -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    await warmed(credential)
    rows = ApiKey.objects.filter(digest=hash_key(credential))
    await in_db(lambda: rows.update(requests_per_minute=5))
    await until(lambda: cached_key(credential) is None)
    assert (await key_for(credential)).requests_per_minute == 5
    await in_db(lambda: User.objects.update(is_staff=True))
    await until(lambda: cached_key(credential) is None)
    assert (await key_for(credential)).principal.is_operator


async def test_a_key_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    end = timezone.now() + timedelta(hours=1)
    credential = await in_db(lambda: make_key(make_user("alice"), expires_at=end))
    await warmed(credential)
    monkeypatch.setattr(time, "time", lambda: end.timestamp())
    assert cached_key(credential) is None
    monkeypatch.setattr(timezone, "now", lambda: end)
    with pytest.raises(CredentialUnusable, match="expired"):
        await key_for(credential)


async def test_the_use_of_a_key_is_noted_and_is_no_news() -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    record = await warmed(credential)
    row = ApiKey.objects.filter(pk=record.key_id, last_used_at=None)
    async with asyncio.timeout(10):
        while await in_db(row.exists):
            await asyncio.sleep(0.05)
    other = await in_db(lambda: make_key(make_user("bob")))
    # Word comes in order: that of the use would have come before that of the new key.
    with pytest.raises(TimeoutError):
        await until(lambda: cached_key(credential) is None, within_s=0.2)
    assert await key_for(other)


async def test_many_who_ask_at_once_ask_the_database_once(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    asked: list[str] = []
    read = keyring._record_of

    def counted(digest: str) -> KeyRecord:
        asked.append(digest)
        return read(digest)

    monkeypatch.setattr(keyring, "_record_of", counted)
    records = await asyncio.gather(*(key_for(credential) for _number in range(20)))
    assert len(asked) == 1
    assert len(set(map(id, records))) == 1


# --- While word or the database is missing -----------------------------------------------------


async def break_the_listener(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    good = changes._parameters()
    monkeypatch.setattr(changes, "_parameters", lambda: {**good, "port": 1})
    await in_db(end_listening_connections)
    await until(lambda: not changes.is_listening())
    return lambda: monkeypatch.setattr(changes, "_parameters", lambda: good)


def away(_digest: str) -> KeyRecord:
    raise OperationalError("the database is away")


async def test_without_word_a_key_is_read_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    await warmed(credential)
    await break_the_listener(monkeypatch)
    await in_db(by_bulk_update, credential)
    monkeypatch.setattr(remembered, "FRESH_S", 0.0)
    with pytest.raises(CredentialUnusable):
        await key_for(credential)


async def test_what_changed_unheard_is_read_again_when_word_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    await warmed(credential)
    mend = await break_the_listener(monkeypatch)
    await in_db(by_bulk_update, credential)
    mend()
    await until(changes.is_listening)
    with pytest.raises(CredentialUnusable):
        await key_for(credential)


async def test_known_keys_are_served_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    unknown = await in_db(lambda: make_key(make_user("bob")))
    keys = keyring._KEYRINGS.get()._records
    record = await warmed(credential)
    await break_the_listener(monkeypatch)
    monkeypatch.setattr(remembered, "FRESH_S", 0.0)
    monkeypatch.setattr(keys, "_read", away)
    for _number in range(3):
        assert await key_for(credential) == record
    assert cached_key(credential) == record
    with pytest.raises(Unavailable):
        await key_for(unknown)
    assert len([each for each in caplog.records if "API keys cannot be read" in each.message]) == 1
    monkeypatch.setattr(keys, "_read", keyring._record_of)
    assert await key_for(unknown)


async def test_a_database_that_says_nothing_does_not_hold_up_known_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    record = await warmed(credential)
    await break_the_listener(monkeypatch)
    monkeypatch.setattr(remembered, "FRESH_S", 0.0)
    answer = asyncio.Event()

    async def silent(*_arguments: object) -> KeyRecord:
        await answer.wait()
        return record

    monkeypatch.setattr(remembered, "in_db", silent)
    assert await key_for(credential) == record
    assert cached_key(credential) == record
    # One waited to find that out; from now on nobody does.
    monkeypatch.setattr(remembered, "_PATIENCE_S", 3600)
    monkeypatch.setattr(remembered, "_REST_S", 0)
    async with asyncio.timeout(10):
        for _number in range(3):
            assert await key_for(credential) == record
    answer.set()


async def test_a_database_that_says_nothing_is_asked_for_so_many_unknown_keys_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credential = await in_db(lambda: make_key(make_user("alice")))
    record = await warmed(credential)
    answer, asked = asyncio.Event(), 0

    async def silent(*_arguments: object) -> KeyRecord:
        nonlocal asked
        asked += 1
        await answer.wait()
        return record

    monkeypatch.setattr(remembered, "in_db", silent)
    monkeypatch.setattr(remembered, "_LONGEST_WAIT_S", 0.01)
    monkeypatch.setattr(remembered, "_PATIENCE_S", 0.01)
    monkeypatch.setattr(remembered, "_MOST_WAITING", 3)
    for number in range(6):
        with pytest.raises(Unavailable):
            await key_for(f"{KEY_PREFIX}{number:040}")
    assert asked == 3
    answer.set()
