"""What a principal may see of accounts. A miss and a foreign row raise the same NotFound."""

from __future__ import annotations

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from accounts.models import ApiKey, User
from accounts.principals import Principal
from core.errors import NotFound

# The highest id that Postgres can hold has 19 digits; more would be an error of the database.
_MAX_ID_DIGITS = 18


def as_row_id(text: str) -> int | None:
    """The number of an id from a URL or a body, None for what cannot be one."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _MAX_ID_DIGITS
    return int(text) if is_number else None


def access_user(principal: Principal, user_id: str) -> User:
    """The principal's own account; operators may see any. Raises NotFound."""
    number = as_row_id(user_id)
    user = None
    if number is not None and (principal.is_operator or number == principal.user_id):
        user = User.objects.filter(pk=number).first()
    if user is None:
        raise NotFound(_("Not found."), code="USER_NOT_FOUND")
    return user


def visible_api_keys(principal: Principal) -> QuerySet[ApiKey]:
    """The principal's own keys; operators see all."""
    keys = ApiKey.objects.all()
    return keys if principal.is_operator else keys.filter(owner_id=principal.user_id)
