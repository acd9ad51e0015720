"""Abstract bases only: core has no tables of its own."""

from __future__ import annotations

from typing import Self, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from core.ids import short_id


class Timestamped(models.Model):
    """When a row was made and last changed."""

    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        abstract = True


Row = TypeVar("Row", bound="OwnedRow", covariant=True)


class OwnedQuerySet(models.QuerySet[Row]):
    """Rows that belong to a user; a row without an owner is a system row."""

    def visible_to(self, user_id: int, *, is_operator: bool) -> Self:
        """What a user may read: own rows and system rows; operators read everything."""
        return self if is_operator else self.filter(Q(owner_id=user_id) | Q(owner=None))

    def with_id(self, row_id: str) -> Row | None:
        """The row of that id, or None; also for texts that no id could be."""
        if "\0" in row_id:
            return None
        # At most one: an order would only cost time.
        return next(iter(self.filter(pk=row_id).order_by()), None)


class OwnedRow(Timestamped):
    """A row of one user, or of the system (owner null: visible to all, changed by operators)."""

    id = models.CharField(max_length=64, primary_key=True, default=short_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        null=True,
        blank=True,
        verbose_name=_("owner"),
        help_text=_("Empty: a system row, visible to every user."),
    )

    class Meta:
        abstract = True

    def is_visible_to(self, user_id: int, *, is_operator: bool) -> bool:
        """Of a row that was read by other means, what `visible_to` asks of many."""
        return is_operator or self.owner_id in (user_id, None)

    @property
    def is_system(self) -> bool:
        return self.owner_id is None
