"""Background work of the gateway."""

from __future__ import annotations

import datetime
import logging

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from gateway.models import UsageRecord

logger = logging.getLogger(__name__)

# One statement's share, so that no lock is held for long.
BATCH = 10_000


@shared_task(name="gateway.delete_old_records")
def delete_old_records() -> int:
    """Deletes records of requests that are past their time; the sums by day stay."""
    before = timezone.now() - datetime.timedelta(days=settings.GATEWAY_RECORD_RETENTION_DAYS)
    old = UsageRecord.objects.filter(created_at__lt=before).order_by("created_at")
    deleted = 0
    while ids := list(old.values_list("pk", flat=True)[:BATCH]):
        deleted += UsageRecord.objects.filter(pk__in=ids).delete()[0]
    if deleted:
        logger.info("Deleted %d old records of requests", deleted)
    return deleted
