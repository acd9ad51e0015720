"""What can be done with accounts and credentials."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, cast

from django.conf import settings
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
# What apps above this one own of an account and have to delete with care. They add to it when they
# are loaded; everything else goes with the row.
DELETED_FIRST: list[Callable[[User], None]] = []
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
    key = ApiKey.generate()
    row = ApiKey(
        owner=owner,
        name=_checked_name(name),
        scopes=_checked_scopes(Scope.values if scopes is None else scopes),
        requests_per_minute=requests_per_minute,
        expires_at=_checked_expiry(expires_at),
    )
    row.set_key(key)
    row.save()
    return row, key


def _checked_name(name: str) -> str:
    if not name.strip() or len(name) > 100:
        raise InvalidRequest(_("A name has 1 to 100 characters."), param="name")
    return name.strip()


def _checked_scopes(scopes: Iterable[str]) -> list[str]:
    chosen = sorted(set(scopes))
    if not chosen or any(scope not in Scope.values for scope in chosen):
        known = ", ".join(Scope.values)
        raise InvalidRequest(_("Choose scopes among: %s.") % known, param="scopes")
    return chosen


def _checked_expiry(expires_at: datetime | None) -> datetime | None:
    if expires_at is not None and expires_at <= timezone.now():
        raise InvalidRequest(_("The time of expiry is over."), param="expires_at")
    return expires_at


class KeyLimits(TypedDict, total=False):
    """What a key may take of the gateway's models; None, and no models, mean no limit."""

    tokens_per_minute: int | None
    allowed_models: list[str]
    monthly_token_budget: int | None
    monthly_cost_budget: Decimal | None


@dataclasses.dataclass(frozen=True, slots=True)
class NewKey:
    """What a user asks of a new key."""

    name: str
    scopes: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    expires_at: datetime | None = None
    limits: KeyLimits = dataclasses.field(default_factory=KeyLimits)
    is_enabled: bool = True


@transaction.atomic
def create_own_api_key(principal: Principal, wanted: NewKey) -> tuple[ApiKey, str]:
    """A key for the one who asks, never with more rights than the credential that asks.

    Raises Forbidden, InvalidRequest, Conflict (too many keys).
    """
    # The lock keeps two requests from both making the last key that is allowed.
    owner = User.objects.select_for_update().get(pk=principal.user_id)
    if owner.api_keys.count() >= MAX_KEYS_PER_USER:
        raise Conflict(_("There are %d keys already; delete some.") % MAX_KEYS_PER_USER)
    maker = _maker(principal)
    if maker is not None and _has_sum_to_spend(maker):
        # Each further key would bring a budget of its own.
        raise Forbidden(_("A key with a token budget cannot make keys."))
    scopes = principal.scopes if wanted.scopes is None else frozenset(wanted.scopes)
    _require_scopes(principal, scopes)
    row, key = create_api_key(
        owner,
        name=wanted.name,
        scopes=scopes,
        requests_per_minute=_rate_within(principal, wanted.requests_per_minute),
        expires_at=_expiry_within(maker, wanted.expires_at),
    )
    if maker is not None and maker.allowed_models:
        row.allowed_models = maker.allowed_models
    _set_limits(row, wanted.limits, may_loosen=False)
    row.is_enabled = wanted.is_enabled
    row.save()
    return row, key


def _set_limits(key: ApiKey, limits: KeyLimits, *, may_loosen: bool) -> None:
    """Sets what is given. Raises InvalidRequest for what would give the key more than it has."""
    for name, wanted in limits.items():
        present = getattr(key, name)
        if not may_loosen and _is_looser(wanted, present):
            raise InvalidRequest(_("Only operators may raise this limit."), param=name)
        setattr(key, name, wanted)


def _is_looser(wanted: Any, present: Any) -> bool:
    if isinstance(present, list):
        return bool(present) and not (wanted and set(wanted) <= set(present))
    return present is not None and (wanted is None or wanted > present)


_LIMITS = tuple(KeyLimits.__annotations__)


def _has_sum_to_spend(key: ApiKey) -> bool:
    sums = (key.tokens_per_minute, key.monthly_token_budget, key.monthly_cost_budget)
    return any(each is not None for each in sums)


def _maker(principal: Principal) -> ApiKey | None:
    """The key that asks; None for a signed-in user."""
    return ApiKey.objects.get(pk=principal.key_id) if principal.key_id else None


def _require_scopes(principal: Principal, scopes: frozenset[str]) -> None:
    """Raises Forbidden for a known scope that the credential lacks."""
    for scope in sorted(scopes - principal.scopes):
        if scope in Scope.values:
            principal.require(scope)


def _rate_within(principal: Principal, wanted: int | None) -> int | None:
    """The wish under its ceiling: the asker's own rate, else the default; operators have none."""
    own = principal.requests_per_minute
    if wanted is None:
        return own
    ceiling = settings.PLATFORM_REQUESTS_PER_MINUTE if own is None else own
    if wanted > ceiling and not (own is None and principal.is_operator):
        text = ngettext("At most %d request a minute.", "At most %d requests a minute.", ceiling)
        raise InvalidRequest(text % ceiling, param="requests_per_minute")
    return wanted


def _expiry_within(maker: ApiKey | None, wanted: datetime | None) -> datetime | None:
    """The wish, not later than the end of the key that asks."""
    end = maker.expires_at if maker else None
    if wanted is not None and end is not None and wanted > end:
        raise InvalidRequest(_("Later than the key that makes it."), param="expires_at")
    return end if wanted is None else wanted


class KeyChanges(KeyLimits, total=False):
    """What of a key is to change; what is missing stays as it is."""

    name: str
    scopes: Iterable[str]
    is_enabled: bool
    requests_per_minute: int | None
    expires_at: datetime | None


def update_api_key(principal: Principal, key: ApiKey, changes: KeyChanges) -> None:
    """Changes a key, never to more rights than the credential that asks.

    Raises Forbidden, InvalidRequest naming the field.
    """
    _require_may_change(principal, key)
    if "name" in changes:
        key.name = _checked_name(changes["name"])
    if "scopes" in changes:
        scopes = frozenset(changes["scopes"])
        # A scope that the key has already is kept, not given.
        _require_scopes(principal, scopes - set(key.scopes))
        key.scopes = _checked_scopes(scopes)
    if "is_enabled" in changes:
        key.is_enabled = changes["is_enabled"]
    if "requests_per_minute" in changes:
        key.requests_per_minute = _rate_within(principal, changes["requests_per_minute"])
    if "expires_at" in changes:
        expires_at = _expiry_within(_maker(principal), changes["expires_at"])
        key.expires_at = _checked_expiry(expires_at)
    limits = {name: changes[name] for name in _LIMITS if name in changes}  # type: ignore[literal-required]  # the names are the TypedDict's own
    _set_limits(key, cast(KeyLimits, limits), may_loosen=_may_loosen(principal))
    key.save(update_fields=[*changes, "updated_at"])


def _may_loosen(principal: Principal) -> bool:
    """An operator, unless by a key that is limited itself."""
    maker = _maker(principal)
    is_limited = maker is not None and (_has_sum_to_spend(maker) or bool(maker.allowed_models))
    return principal.is_operator and not is_limited


def _require_may_change(principal: Principal, key: ApiKey) -> None:
    """Raises Forbidden for the key of a superuser, unless a superuser asks."""
    owner = key.owner
    if owner.is_superuser and not User.objects.get(pk=principal.user_id).is_superuser:
        raise Forbidden(_("You may not do this."))


def revoke_api_key(principal: Principal, key: ApiKey) -> None:
    """Ends the key for good. Raises Forbidden."""
    _require_may_change(principal, key)
    key.delete()


# --- Accounts ----------------------------------------------------------------------------------


def register(user_name: str, password: str, *, email: str = "") -> User:
    """A new account without special rights. Raises InvalidRequest, also for a name that differs
    from another's only by case.
    """
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
    user = User.objects.named(user_name)
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


@transaction.atomic
def delete_user(user: User) -> None:
    """Deletes an account with everything that it owns.

    Raises django's RestrictedError where something of others needs a part of it.
    """
    for delete in DELETED_FIRST:
        delete(user)
    user.delete()
