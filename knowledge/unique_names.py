"""Names of knowledge bases that are unique per user, as one family of the API wants them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from core.errors import Conflict
from knowledge.models import KnowledgeBase


@contextmanager
def reserved_name(
    owner_id: int | None, name: str, *, by: KnowledgeBase | None = None
) -> Iterator[None]:
    """Keeps the name free for what is stored inside. Raises Conflict if another base has it."""
    with transaction.atomic():
        # Two requests of one user must not both find the name free.
        if owner_id is not None:
            User.objects.select_for_update(no_key=True).get(pk=owner_id)
        same = KnowledgeBase.objects.filter(owner_id=owner_id, name=name)
        if same.exclude(pk=by.pk if by else None).exists():
            text = _("There is a knowledge base of this name already; choose another one.")
            raise Conflict(text, code="NAME_TAKEN", param="knowledge_name")
        yield
