"""What the console's home page tells of the gateway."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.db.models import Sum
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from gateway.models import UsageDay
from gateway.standing import failing_models, spent_keys
from tooling.admin.links import link_to

MAX_KEYS = 3


def cards(since: dt.datetime) -> Iterator[dict[str, Any]]:
    """Figures of the days since then, with the way to what they count."""
    sums = UsageDay.objects.filter(day__gte=since.astimezone(dt.UTC).date()).aggregate(
        requests=Sum("requests", default=0), errors=Sum("errors", default=0)
    )
    yield {
        "title": _("Gateway requests in 7 days"),
        "value": sums["requests"],
        "note": ngettext("%(n)d error", "%(n)d errors", sums["errors"]) % {"n": sums["errors"]},
        "url": reverse("admin:gateway_usagerecord_changelist"),
    }


def troubles() -> Iterator[tuple[str, str]]:
    """What an operator should act on, and where."""
    for row, problem in failing_models():
        yield (
            _("Nobody is answered under the public name %(name)s: %(problem)s")
            % {"name": row.name, "problem": problem},
            link_to("gateway_publicmodel_change", str(row.pk)),
        )
    for month in spent_keys(MAX_KEYS):
        yield (
            _("The key %(name)s has used up its budget of this month.") % {"name": month.key.name},
            link_to("accounts_apikey_change", str(month.key.pk)),
        )
