"""Commands that work on the database."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.models import ApiKey, User, hash_key
from config.migrations import DatabaseIsNewer, migrate

pytestmark = pytest.mark.django_db


def create_api_key(*arguments: str) -> str:
    output = StringIO()
    call_command("create_api_key", *arguments, stdout=output)
    return output.getvalue()


def test_create_api_key_prints_the_key_alone(alice: User) -> None:
    printed = create_api_key(
        "alice",
        "--name",
        "robot",
        "--scopes",
        "chat,voice",
        "--rpm",
        "7",
        "--expires",
        "2999-12-31",
    )
    assert printed.count("\n") == 1
    key = ApiKey.objects.get(digest=hash_key(printed.strip()))
    assert (key.owner, key.name, key.requests_per_minute) == (alice, "robot", 7)
    assert set(key.scopes) == {"chat", "voice"}
    assert key.expires_at is not None
    assert key.expires_at.year >= 2999


def test_create_api_key_makes_the_user_only_when_asked() -> None:
    with pytest.raises(CommandError, match="no user 'dora'"):
        create_api_key("dora")
    assert not ApiKey.objects.exists()
    printed = create_api_key("dora", "--create-user")
    dora = User.objects.get(username="dora")
    assert not dora.has_usable_password()
    assert not dora.is_operator
    assert ApiKey.objects.get(digest=hash_key(printed.strip())).owner == dora
    # One account, however its name is written.
    create_api_key("DORA", "--create-user")
    assert User.objects.count() == 1
    assert dora.api_keys.count() == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--scopes", "chat,everything"), "everything"),
        (("--scopes", ""), "none given"),
        (("--rpm", "0"), "at least 1"),
        (("--expires", "tomorrow"), "2030-12-31"),
        (("--expires", "2026-13-45"), "2030-12-31"),
        (("--expires", str((timezone.now() - timedelta(days=2)).date())), "is over"),
    ],
)
def test_create_api_key_refuses_what_makes_no_sense(
    alice: User, options: tuple[str, ...], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        create_api_key("alice", *options)
    assert not ApiKey.objects.exists()


def test_create_api_key_refuses_a_name_that_no_user_can_have() -> None:
    with pytest.raises(CommandError):
        create_api_key("no spaces allowed", "--create-user")
    assert not User.objects.exists()


def test_migrations_of_a_newer_version_are_refused_and_known_ones_are_not() -> None:
    assert migrate() == 0
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('accounts', '9999_later', now()), ('removed_app', '0001_initial', now())"
        )
    with pytest.raises(DatabaseIsNewer, match=r"accounts\.9999_later"):
        migrate()
