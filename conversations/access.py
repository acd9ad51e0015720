"""Which calls somebody may see and delete."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts.principals import Principal
from assistants.access import access_assistant
from conversations.models import Call
from core.errors import NotFound

NOT_FOUND_CODE = "CALL_NOT_FOUND"


def visible_calls(principal: Principal) -> QuerySet[Call]:
    """The principal's own calls, with their conversations; operators see all."""
    calls = Call.objects.select_related("conversation")
    if principal.is_operator:
        return calls
    return calls.filter(conversation__owner_id=principal.user_id)


def access_call(principal: Principal, call_id: str) -> Call:
    """The call, if it may be seen. Raises NotFound alike for unknown and foreign ids."""
    call = visible_calls(principal).filter(pk=call_id).first()
    if call is None:
        raise NotFound(_("Call not found."), code=NOT_FOUND_CODE)
    return call


def visible_calls_with(principal: Principal, assistant_id: str) -> QuerySet[Call]:
    """The visible calls with one assistant, which may be deleted or another's since.

    Raises NotFound where there are none and the assistant may not be seen either.
    """
    calls = visible_calls(principal).filter(conversation__assistant_key=assistant_id)
    if not calls.exists():
        access_assistant(principal, assistant_id)
    return calls
