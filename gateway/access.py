"""Which records, sums and public models a principal may see."""

from __future__ import annotations

from django.db.models import QuerySet

from accounts.principals import Principal
from gateway.models import PublicModel, UsageDay, UsageRecord


def visible_records(principal: Principal) -> QuerySet[UsageRecord]:
    """The requests that were made with the principal's keys; operators see all."""
    rows = UsageRecord.objects.all()
    return rows if principal.is_operator else rows.filter(owner_id=principal.user_id)


def visible_days(principal: Principal) -> QuerySet[UsageDay]:
    """The sums by day of the principal's keys; operators see all."""
    rows = UsageDay.objects.all()
    return rows if principal.is_operator else rows.filter(owner_id=principal.user_id)


def visible_models(principal: Principal) -> QuerySet[PublicModel]:
    """The public names with where they lead; they are the operators' alone."""
    rows = PublicModel.objects.all()
    return rows if principal.is_operator else rows.none()
