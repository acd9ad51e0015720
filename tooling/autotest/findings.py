"""What testers of models share: finding the row, saying so, and noting what came of it."""

from __future__ import annotations

from typing import TypeVar, cast

from django.utils.translation import gettext as _

from providers.models import ModelRow
from tooling.autotest.cases import Check, Prepared

R = TypeVar("R", bound=ModelRow)


def one_of(model: type[R], row_id: str) -> R | None:
    """The row with its provider, or None; also for texts that no id could be."""
    # The query set's type is of its base; its rows are of the model.
    return cast(R | None, model.objects.select_related("provider").with_id(row_id))


def prepared_model(row: ModelRow, *checks: Check) -> Prepared:
    """The model as something to be tested; the outcome is noted on its row."""
    return Prepared(
        name=row.name,
        owner_id=row.owner_id,
        found=_("Found model: %(name)s") % {"name": row.name},
        checks=checks,
        note=lambda is_ok, message: row.note_check(is_ok=is_ok, message=message),
    )
