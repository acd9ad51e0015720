"""Which assistants somebody may see and change."""

from __future__ import annotations

from django.utils.translation import gettext as _

from accounts.principals import Principal
from assistants.models import Assistant, AssistantQuerySet
from core.errors import Forbidden, NotFound

NOT_FOUND_CODE = "ASSISTANT_NOT_FOUND"


def visible_assistants(principal: Principal) -> AssistantQuerySet:
    """Own assistants and the system's; operators see all."""
    return Assistant.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def not_found() -> NotFound:
    return NotFound(_("Assistant not found."), code=NOT_FOUND_CODE)


def access_assistant(principal: Principal, assistant_id: str) -> Assistant:
    """The assistant, if it may be seen. Raises NotFound alike for unknown and foreign ids."""
    row = visible_assistants(principal).with_id(assistant_id)
    if row is None:
        raise not_found()
    return row


def require_editable(principal: Principal, row: Assistant) -> None:
    """Raises Forbidden where a visible assistant may not be changed: the system's, by a user."""
    if not principal.is_operator and row.owner_id != principal.user_id:
        raise Forbidden(_("System assistants can be changed by operators only."))


def access_assistant_to_talk(principal: Principal | None, assistant_id: str) -> Assistant:
    """The assistant, if the caller may talk to it; a public one needs no credential."""
    row = Assistant.objects.filter(is_public=True).with_id(assistant_id)
    if row is not None:
        return row
    if principal is None:
        raise not_found()
    return access_assistant(principal, assistant_id)
