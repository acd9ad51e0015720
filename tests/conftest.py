"""People and their keys: alice owns things, bob is another user, carol is an operator."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.conf import settings as django_settings
from django.db import connections
from django.utils import translation
from rest_framework.test import APIClient

from accounts.models import ApiKey, User
from core.redis import redis_sync
from tests import emptying
from tests.browser.product import installation
from tests.upstream import upstream, upstream_server

__all__ = ["installation", "upstream", "upstream_server"]


def pytest_collection_finish() -> None:
    """Ten thousand tests are no garbage: to look through them stops everything for a while."""
    gc.collect()
    gc.freeze()


def make_user(name: str, *, is_staff: bool = False) -> User:
    return User.objects.create_user(name, password=f"{name}-password", is_staff=is_staff)


def make_key(user: User, *, scopes: Sequence[str] | None = None, **fields: Any) -> str:
    key = ApiKey.generate()
    row = ApiKey(owner=user, name="tests", **fields)
    if scopes is not None:
        row.scopes = list(scopes)
    row.set_key(key)
    row.save()
    return key


def client_with(key: str) -> APIClient:
    """An API client that sends the key."""
    return APIClient(HTTP_AUTHORIZATION=f"Bearer {key}")


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.fixture
def carol(db: None) -> User:
    return make_user("carol", is_staff=True)


@pytest.fixture
def alice_key(alice: User) -> str:
    return make_key(alice)


@pytest.fixture
def bob_key(bob: User) -> str:
    return make_key(bob)


@pytest.fixture
def carol_key(carol: User) -> str:
    return make_key(carol)


@pytest.fixture
def alice_api(alice_key: str) -> APIClient:
    return client_with(alice_key)


@pytest.fixture
def bob_api(bob_key: str) -> APIClient:
    return client_with(bob_key)


@pytest.fixture
def carol_api(carol_key: str) -> APIClient:
    return client_with(carol_key)


@pytest.fixture
def anonymous_api(db: None) -> APIClient:
    return APIClient()


@pytest.fixture
def loopback_allowed(settings: Any) -> None:
    """Lets the guarded client reach servers of this test; it refuses them otherwise."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32", "::1/128"]


# --- Isolation ---------------------------------------------------------------------------------

_LOCAL_HOSTS = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::", ""}


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a unix socket
    host = address[0]
    return host in _LOCAL_HOSTS or host.startswith("127.")


@pytest.fixture(scope="session", autouse=True)
def socket_guard() -> Iterator[None]:
    """Refuses every connection beyond this machine: no test may need the network."""
    patch = pytest.MonkeyPatch()

    def guarded(name: str) -> Callable[[socket.socket, Any], Any]:
        original = getattr(socket.socket, name)

        def connect(self: socket.socket, address: Any) -> Any:
            if not _is_local(address):
                raise PermissionError(f"a test wanted to connect to {address!r}")
            return original(self, address)

        return connect

    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, guarded(name))
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def quick_emptying() -> None:
    emptying.install()


@pytest.fixture(scope="session", autouse=True)
def static_files() -> None:
    """Whitenoise warns when the folder that `collectstatic` fills is missing."""
    django_settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> None:
    """Argon2 is slow on purpose; tests of it name it themselves."""
    django_settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        *django_settings.PASSWORD_HASHERS,
    ]


@pytest.fixture(autouse=True)
def default_language() -> None:
    """Django's test client leaves the language of its last request behind."""
    translation.deactivate()


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    """Limits, tickets and leases of one test are unknown to the next."""
    redis_sync().flushdb()


@pytest.fixture(autouse=True)
def no_connections_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Closes what asynchronous tests opened in asgiref's thread: it would block the clean-up."""
    yield
    if "transactional_db" in request.fixturenames:
        SyncToAsync.single_thread_executor.submit(connections.close_all).result()
