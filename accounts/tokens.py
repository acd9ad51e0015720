"""Access and refresh tokens (JWT, HS256).

Every token belongs to a login, its `family`. A login lives as long as its rows in `RefreshToken`
are not revoked: logging out, and using a refresh token twice, end all of its tokens at once, the
access tokens included. A token also names the password it was made under, and dies with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import time
from datetime import timedelta
from typing import Any, Literal

import jwt
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext as _

from accounts.models import RefreshToken, User
from core.errors import Unauthenticated

Kind = Literal["access", "refresh"]
_ALGORITHM = "HS256"
_CLAIMS = ("sub", "iat", "exp", "jti", "type", "family", "version")


@dataclasses.dataclass(frozen=True, slots=True)
class TokenPair:
    """What a login gives: both tokens, and how long the access token lives."""

    access: str
    refresh: str
    expires_in_s: int


def _signing_key() -> bytes:
    return hashlib.sha256(b"accounts.tokens:" + settings.SECRET_KEY.encode()).digest()


def _version(user: User) -> str:
    """Changes with the password, however that was changed."""
    return salted_hmac("accounts.tokens", user.password, algorithm="sha256").hexdigest()[:16]


def _encode(user: User, kind: Kind, *, family: str, jti: str, lifetime_s: int) -> str:
    now = int(time.time())
    claims = {
        "sub": str(user.pk),
        "iat": now,
        "exp": now + lifetime_s,
        "jti": jti,
        "type": kind,
        "family": family,
        "version": _version(user),
    }
    return jwt.encode(claims, _signing_key(), algorithm=_ALGORITHM)


def _refused() -> Unauthenticated:
    return Unauthenticated(_("A valid credential is needed."))


def _decode(token: str, kind: Kind) -> dict[str, Any]:
    try:
        claims = jwt.decode(
            token, _signing_key(), algorithms=[_ALGORITHM], options={"require": list(_CLAIMS)}
        )
    except jwt.InvalidTokenError:
        raise _refused() from None
    if claims["type"] != kind or not str(claims["sub"]).isdigit():
        raise _refused()
    return claims


def _user_of(claims: dict[str, Any]) -> User:
    user = User.objects.filter(pk=int(claims["sub"]), is_active=True).first()
    if user is None or not constant_time_compare(str(claims["version"]), _version(user)):
        raise _refused()
    return user


def _is_live(family: str, user: User) -> bool:
    return RefreshToken.objects.filter(family=family, user=user, revoked_at=None).exists()


def issue(user: User, *, family: str | None = None) -> TokenPair:
    """A new pair of tokens: of a new login, or the next of a running one."""
    family = family or secrets.token_hex(16)
    jti = secrets.token_hex(16)
    lifetime_s = settings.REFRESH_TOKEN_LIFETIME_S
    RefreshToken.objects.filter(user=user, expires_at__lt=timezone.now()).delete()
    RefreshToken.objects.create(
        jti=jti,
        family=family,
        user=user,
        expires_at=timezone.now() + timedelta(seconds=lifetime_s),
    )
    access_s = settings.ACCESS_TOKEN_LIFETIME_S
    return TokenPair(
        access=_encode(
            user, "access", family=family, jti=secrets.token_hex(16), lifetime_s=access_s
        ),
        refresh=_encode(user, "refresh", family=family, jti=jti, lifetime_s=lifetime_s),
        expires_in_s=access_s,
    )


def login_of(user: User, token: str = "") -> str:
    """Names a login: of a token's family, or (without a token) of whoever knows the password."""
    return f"{family_of(token) or ''}:{_version(user)}"


def is_live_login(user: User, login: str) -> bool:
    """Whether the login goes on: not logged out, and the password still the same."""
    family, _colon, version = login.partition(":")
    is_same = constant_time_compare(version, _version(user))
    return is_same and (not family or _is_live(family, user))


def user_of_access_token(token: str) -> User:
    """The user of an access token of a running login. Raises Unauthenticated."""
    claims = _decode(token, "access")
    user = _user_of(claims)
    if not _is_live(claims["family"], user):
        raise _refused()
    return user


def rotate(refresh_token: str) -> tuple[User, TokenPair]:
    """Exchanges a refresh token for the next pair. Raises Unauthenticated.

    A refresh token that was used before was copied: its whole login ends.
    """
    claims = _decode(refresh_token, "refresh")
    user = _user_of(claims)
    now = timezone.now()
    unused = RefreshToken.objects.filter(
        jti=claims["jti"], user=user, used_at=None, revoked_at=None
    )
    with transaction.atomic():
        if unused.update(used_at=now):
            return user, issue(user, family=claims["family"])
    end_login(claims["family"])
    raise _refused()


def family_of(token: str) -> str | None:
    """The login that a token of either kind belongs to, also of an expired one; None if forged."""
    try:
        claims = jwt.decode(
            token, _signing_key(), algorithms=[_ALGORITHM], options={"verify_exp": False}
        )
    except jwt.InvalidTokenError:
        return None
    family = claims.get("family")
    return family if isinstance(family, str) else None


def end_login(family: str) -> None:
    """Revokes every token of a login."""
    RefreshToken.objects.filter(family=family, revoked_at=None).update(revoked_at=timezone.now())


def end_all_logins(user: User) -> None:
    """Revokes every token of a user."""
    RefreshToken.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())
