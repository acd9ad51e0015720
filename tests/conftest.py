"""People and their keys: alice owns things, bob is another user, carol is an operator."""

from __future__ import annotations

import pytest

from accounts.models import ApiKey, User


def make_user(name: str, *, is_staff: bool = False) -> User:
    return User.objects.create_user(name, password=f"{name}-password", is_staff=is_staff)


def make_key(user: User) -> str:
    key = ApiKey.generate()
    row = ApiKey(owner=user, name="tests")
    row.set_key(key)
    row.save()
    return key


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.fixture
def carol(db: None) -> User:
    return make_user("carol", is_staff=True)
