"""What is deleted when its time is over."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from gateway import tasks
from gateway.models import UsageDay, UsageRecord
from tests.gateway.api.conftest import key_of, put_down

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_deletes_old_records_and_keeps_their_sums(
    alice: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "BATCH", 2)
    settings.GATEWAY_RECORD_RETENTION_DAYS = 10
    key = key_of(alice)
    today = timezone.now().date()
    for age in (0, 9, 12, 13, 14):
        put_down(key, day=(today - datetime.timedelta(days=age)).isoformat())
    assert tasks.delete_old_records() == 3
    assert UsageRecord.objects.count() == 2
    assert UsageDay.objects.count() == 5
    assert tasks.delete_old_records() == 0
