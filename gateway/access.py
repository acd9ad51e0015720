"""Which records, sums and public models a principal may see."""

from __future__ import annotations

from django.db.models import OuterRef, QuerySet, Subquery

from accounts.principals import Principal
from gateway.models import PublicModel, UsageDay, UsageRecord
from providers.access import visible_llms


def visible_records(principal: Principal) -> QuerySet[UsageRecord]:
    """The requests that were made with the principal's keys; operators see all."""
    rows = UsageRecord.objects.all()
    return rows if principal.is_operator else rows.filter(owner_id=principal.user_id)


def with_models(principal: Principal, records: QuerySet[UsageRecord]) -> QuerySet[UsageRecord]:
    """The records with id and name of the model that answered, where the principal may see it."""
    answered = visible_llms(principal).filter(pk=OuterRef("target_row"))
    return records.annotate(
        llm_id=Subquery(answered.values("pk")[:1]), llm_name=Subquery(answered.values("name")[:1])
    )


def visible_days(principal: Principal) -> QuerySet[UsageDay]:
    """The sums by day of the principal's keys; operators see all."""
    rows = UsageDay.objects.all()
    return rows if principal.is_operator else rows.filter(owner_id=principal.user_id)


def visible_models(principal: Principal) -> QuerySet[PublicModel]:
    """The public names with where they lead; they are the operators' alone."""
    rows = PublicModel.objects.all()
    return rows if principal.is_operator else rows.none()
