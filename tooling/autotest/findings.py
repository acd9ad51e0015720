"""What testers of models share: finding the row, and saying so."""

from __future__ import annotations

from typing import TypeVar, cast

from django.utils.translation import gettext as _

from providers.models import ModelRow

R = TypeVar("R", bound=ModelRow)


def one_of(model: type[R], row_id: str) -> R | None:
    """The row with its provider, or None; also for texts that no id could be."""
    # The query set's type is of its base; its rows are of the model.
    return cast(R | None, model.objects.select_related("provider").with_id(row_id))


def found_model(row: ModelRow) -> str:
    """That the model exists."""
    return _("Found model: %(name)s") % {"name": row.name}
