"""What can be done with accounts and credentials."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth.hashers import check_password, make_password
from django.contrib.auth.models import update_last_login
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts import tokens
from accounts.models import ApiKey, Scope, User
from accounts.principals import Principal
from core.errors import Conflict, Forbidden, InvalidRequest

MAX_USER_NAME_LENGTH = 20
MAX_KEYS_PER_USER = 100
_AVATAR = re.compile(r"(https?://|/(?!/))[^\s\\\"'<>]*")


# --- API keys ----------------------------------------------------------------------------------


def create_api_key(
    owner: User,
    *,
    name: str,
    scopes: Iterable[str] | None = None,
    requests_per_minute: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A new key with all scopes unless some are named; its row, and the key, shown only now.

    Raises InvalidRequest naming the field.
    """
    chosen = list(Scope.values) if scopes is None else sorted(set(scopes))
    unknown = [scope for scope in chosen if scope not in Scope.values]
    if unknown or not chosen:
        known = ", ".join(Scope.values)
        raise InvalidRequest(_("Choose scopes among: %s.") % known, param="scopes")
    if not name.strip() or len(name) > 100:
        raise InvalidRequest(_("A name has 1 to 100 characters."), param="name")
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidRequest(_("The time of expiry is over."), param="expires_at")
    key = ApiKey.generate()
    row = ApiKey(
        owner=owner,
        name=name.strip(),
        scopes=chosen,
        requests_per_minute=requests_per_minute,
        expires_at=expires_at,
    )
    row.set_key(key)
    row.save()
    return row, key


@dataclasses.dataclass(frozen=True, slots=True)
class NewKey:
    """What a user asks of a new key."""

    name: str
    scopes: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None


@transaction.atomic
def create_own_api_key(principal: Principal, wanted: NewKey) -> tuple[ApiKey, str]:
    """A key for the one who asks, never with more rights than the credential that asks.

    Raises Forbidden, InvalidRequest, Conflict (too many keys).
    """
    # The lock keeps two requests from both making the last key that is allowed.
    owner = User.objects.select_for_update().get(pk=principal.user_id)
    if owner.api_keys.count() >= MAX_KEYS_PER_USER:
        raise Conflict(_("There are %d keys already; delete some.") % MAX_KEYS_PER_USER)
    scopes = principal.scopes if wanted.scopes is None else frozenset(wanted.scopes)
    for scope in sorted(scopes - principal.scopes):
        if scope in Scope.values:
            principal.require(scope)
    maker = ApiKey.objects.get(pk=principal.key_id) if principal.key_id else None
    limits = wanted if maker is None else _within(maker, wanted)
    row, key = create_api_key(
        owner,
        name=wanted.name,
        scopes=scopes,
        requests_per_minute=limits.requests_per_minute,
        expires_at=limits.expires_at,
    )
    if maker is not None and maker.allowed_models:
        row.allowed_models = maker.allowed_models
        row.save(update_fields=["allowed_models"])
    return row, key


def _within(maker: ApiKey, wanted: NewKey) -> NewKey:
    """The wish with the maker's own limits as ceilings."""
    if maker.monthly_token_budget is not None:
        # Each further key would bring a budget of its own.
        raise Forbidden(_("A key with a token budget cannot make keys."))
    rpm, ceiling = wanted.requests_per_minute, maker.requests_per_minute
    if rpm is not None and ceiling is not None and rpm > ceiling:
        text = ngettext("At most %d request a minute.", "At most %d requests a minute.", ceiling)
        raise InvalidRequest(text % ceiling, param="requests_per_minute")
    expires_at, end = wanted.expires_at, maker.expires_at
    if expires_at is not None and end is not None and expires_at > end:
        raise InvalidRequest(_("Later than the key that makes it."), param="expires_at")
    return dataclasses.replace(
        wanted,
        requests_per_minute=ceiling if rpm is None else rpm,
        expires_at=end if expires_at is None else expires_at,
    )


def revoke_api_key(key: ApiKey) -> None:
    """Ends the key for good."""
    key.delete()


# --- Accounts ----------------------------------------------------------------------------------


def register(user_name: str, password: str, *, email: str = "") -> User:
    """A new account without special rights. Raises InvalidRequest."""
    user_name = User.normalize_username(user_name)
    if len(user_name) > MAX_USER_NAME_LENGTH:
        text = _("A user name has at most %d characters.") % MAX_USER_NAME_LENGTH
        raise InvalidRequest(text, code="USER_NAME_TOO_LONG", param="user_name")
    try:
        UnicodeUsernameValidator()(user_name)
    except ValidationError as error:
        raise InvalidRequest(error.messages[0], param="user_name") from None
    try:
        with transaction.atomic():
            return User.objects.create_user(user_name, email=email, password=password)
    except IntegrityError:
        text = _("This user name is taken.")
        raise InvalidRequest(text, code="USER_NAME_TAKEN", param="user_name") from None


def login(user_name: str, password: str) -> tuple[User, tokens.TokenPair]:
    """The user and the tokens of a new login.

    Raises Forbidden with the code WRONG_LOGIN, alike for unknown names and wrong passwords, and
    ACCOUNT_DISABLED to those who know the password.
    """
    user = User.objects.filter(username=User.normalize_username(user_name)).first()
    if user is None:
        # As slow as a real comparison, so that the time does not tell which names exist.
        make_password(password)
        is_right = False
    else:
        is_right = check_password(password, user.password)
    if user is None or not is_right:
        raise Forbidden(_("The user name or the password is wrong."), code="WRONG_LOGIN")
    if not user.is_active:
        text = _("This account is disabled; ask an operator.")
        raise Forbidden(text, code="ACCOUNT_DISABLED")
    update_last_login(User, user)
    return user, tokens.issue(user)


def logout(credentials: Iterable[str]) -> None:
    """Ends the logins that these tokens belong to; what is no token of ours is passed over."""
    for credential in credentials:
        if family := tokens.family_of(credential):
            tokens.end_login(family)


def update_user(user: User, *, avatar: str | None = None, description: str | None = None) -> None:
    """Changes what is given. Raises InvalidRequest."""
    if avatar is not None:
        if avatar and not _AVATAR.fullmatch(avatar):
            raise InvalidRequest(_("An avatar is the address of a picture."), param="user_avatar")
        user.avatar = avatar
    if description is not None:
        user.description = description
    user.save(update_fields=["avatar", "description", "updated_at"])


def set_disabled(principal: Principal, user: User, *, disabled: bool) -> None:
    """Disables an account and ends its logins, or enables it. Raises Forbidden, InvalidRequest."""
    if user.pk == principal.user_id:
        raise InvalidRequest(_("You cannot disable yourself."), param="user_id")
    if user.is_superuser and not User.objects.get(pk=principal.user_id).is_superuser:
        raise Forbidden(_("You may not do this."))
    user.is_active = not disabled
    user.save(update_fields=["is_active", "updated_at"])
    if disabled:
        tokens.end_all_logins(user)
