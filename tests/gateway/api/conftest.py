"""Records of requests, as the meter writes them; and users in the transaction of the test."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from accounts.models import ApiKey, User
from core.ids import prefixed_id
from gateway.metering import write_lines
from gateway.types import Metered
from tests.conftest import make_key, make_user


@pytest.fixture
def alice(db: None) -> User:
    return make_user("alice")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.fixture
def journal() -> None:
    """Nothing is put down here."""


def key_of(user: User, **fields: Any) -> ApiKey:
    make_key(user, **fields)
    return ApiKey.objects.order_by("-pk")[0]


def put_down(key: ApiKey, *, day: str = "2026-10-05", **values: Any) -> str:
    """A request with the key on that day; its id."""
    at = datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)
    fields: dict[str, Any] = {
        "request_id": prefixed_id("req"),
        "endpoint": "messages",
        "key_id": key.pk,
        "owner_id": key.owner_id,
        "started_at": at.timestamp(),
        "model": "fast",
        "status": 200,
        "input_tokens": 100,
        "output_tokens": 20,
        "cost": Decimal("0.5"),
        **values,
    }
    encoder = msgspec.json.Encoder(decimal_format="string")
    write_lines([encoder.encode(Metered(**fields))])
    return str(fields["request_id"])
