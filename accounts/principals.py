"""Who is asking: from a credential to a `Principal`, the same way at every door."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from datetime import timedelta
from typing import cast

from django.conf import settings
from django.db import connection
from django.db.models import Model, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import tokens
from accounts.models import KEY_PREFIX, ApiKey, Scope, User, hash_key
from core.errors import CredentialUnusable, Forbidden, Unauthenticated

ACCESS_COOKIE = "access_token_cookie"
REFRESH_COOKIE = "refresh_token_cookie"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# The longest credential is an access token of a few hundred bytes.
_MAX_CREDENTIAL_LENGTH = 4096
_LAST_USED_STEP = timedelta(minutes=1)


@dataclasses.dataclass(frozen=True, slots=True)
class Principal:
    """The one who asks and what the credential allows.

    `key_id` is None for tokens and sessions, which have a `login` instead; `requests_per_minute` is
    the key's own limit; `assistant_id`, from a ticket, restricts the principal to talking to that
    assistant.
    """

    user_id: int
    username: str
    is_operator: bool
    scopes: frozenset[str]
    key_id: int | None = None
    requests_per_minute: int | None = None
    assistant_id: str | None = None
    login: str = ""

    def require(self, scope: str) -> None:
        """Raises Forbidden unless the credential has the scope."""
        if scope not in self.scopes:
            raise Forbidden(_("The credential lacks the scope “%(scope)s”.") % {"scope": scope})


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """A principal with its user row, for code on the database's side."""

    principal: Principal
    user: User


def principal_for_user(user: User, *, login: str | None = None) -> Principal:
    """A signed-in user (session or token) with all scopes."""
    return Principal(
        user_id=user.pk,
        username=user.username,
        is_operator=user.is_operator,
        scopes=frozenset(Scope.values),
        login=tokens.login_of(user) if login is None else login,
    )


def principal_for_credential(credential: str) -> Principal:
    """The principal of an API key or an access token. Raises Unauthenticated."""
    return identify(credential).principal


def no_credential() -> Unauthenticated:
    return Unauthenticated(_("A valid credential is needed."))


def identity_for_request(request: HttpRequest) -> Identity | None:
    """The identity of a request, None without any credential. Raises Unauthenticated."""
    # DRF hands out its own wrapper; the cache belongs on the one real request.
    request = cast(HttpRequest, getattr(request, "_request", request))
    known: Identity | None = getattr(request, "_identity", None)
    if known is None:
        headers = request.headers
        credential = credential_in(headers.get("Authorization"), headers.get("X-Api-Key"))
        if credential is None:
            credential = _cookie_credential(request)
        if credential is None:
            return None
        known = identify(credential)
        request._identity = known  # type: ignore[attr-defined]  # ours, on Django's object
    return known


def note_principal(request: HttpRequest, principal: Principal) -> None:
    """Notes on a request whose it is, where that is known by other means."""
    values = [principal.user_id, principal.username, principal.is_operator, True]
    known = dict(zip(("id", "username", "is_staff", "is_active"), values, strict=True))
    user = User.from_db(connection.alias, _OWNER_COLUMNS, [known[name] for name in _OWNER_COLUMNS])
    request._identity = Identity(principal, user)  # type: ignore[attr-defined]  # as above


def credential_in(authorization: str | None, x_api_key: str | None) -> str | None:
    """The credential of the two headers, None when neither was sent. Raises Unauthenticated."""
    if authorization is None:
        return x_api_key
    scheme, _space, bearer = authorization.strip().partition(" ")
    if scheme.lower() != "bearer":
        raise no_credential()
    bearer = bearer.strip()
    if x_api_key is not None and x_api_key.strip() != bearer:
        raise Unauthenticated(_("Authorization and X-Api-Key name different credentials."))
    return bearer


def _cookie_credential(request: HttpRequest) -> str | None:
    """The login's cookie; requests that change something must come from our own pages."""
    credential = request.COOKIES.get(ACCESS_COOKIE)
    if credential and request.method not in _SAFE_METHODS and not has_own_origin(request):
        return None
    return credential


def has_own_origin(request: HttpRequest) -> bool:
    """Whether the browser says that a page of ours (or of a trusted origin) sent the request."""
    origin = request.headers.get("Origin")
    if not origin:
        return False
    own = f"{request.scheme}://{request.get_host()}"
    return origin == own or origin in settings.CSRF_TRUSTED_ORIGINS


def identify(credential: str) -> Identity:
    """The identity behind an API key or an access token. Raises Unauthenticated."""
    credential = checked(credential)
    if credential.startswith(KEY_PREFIX):
        return _identify_key(credential)
    user = tokens.user_of_access_token(credential)
    login = tokens.login_of(user, credential)
    return Identity(principal_for_user(user, login=login), user)


def checked(credential: str) -> str:
    """The credential without blanks around it. Raises Unauthenticated for what can be none."""
    credential = credential.strip()
    if not credential or len(credential) > _MAX_CREDENTIAL_LENGTH or not credential.isascii():
        raise no_credential()
    return credential


def refreshed(principal: Principal) -> Principal:
    """What the principal may by now. Raises Unauthenticated when its key or login has ended."""
    if principal.key_id is not None:
        current = principal_of_key(_key(_KEY_OF_ID, principal.key_id))
    else:
        user = User.objects.filter(pk=principal.user_id, is_active=True).first()
        if user is None or not tokens.is_live_login(user, principal.login):
            raise no_credential()
        current = principal_for_user(user, login=principal.login)
    return dataclasses.replace(
        current,
        scopes=principal.scopes & current.scopes,
        assistant_id=principal.assistant_id,
    )


def _columns(model: type[Model], *wanted: str) -> list[str]:
    """Names of columns, in the order in which Django makes a row of them."""
    return [each.attname for each in model._meta.concrete_fields if each.attname in wanted]


# Asked for every request with a key, so it is written out: to compose it and to make whole rows
# took ten times as long as Postgres does.
_KEY_COLUMNS = _columns(
    ApiKey,
    *("id", "owner_id", "scopes", "is_enabled", "expires_at", "requests_per_minute"),
    "last_used_at",
)
_OWNER_COLUMNS = _columns(User, "id", "username", "is_staff", "is_active")
_KEY = f"""
select {", ".join(f"k.{name}" for name in _KEY_COLUMNS)},
  {", ".join(f"u.{name}" for name in _OWNER_COLUMNS)}
from accounts_apikey k join accounts_user u on u.id = k.owner_id
"""  # noqa: S608 - names of columns, from above
_KEY_OF_DIGEST = f"{_KEY} where k.digest = %s"
_KEY_OF_ID = f"{_KEY} where k.id = %s"


def _key(statement: str, wanted: str | int) -> ApiKey:
    """The key with its owner; what else they have is read when it is asked for.

    Raises Unauthenticated where there is none.
    """
    with connection.cursor() as cursor:
        cursor.execute(statement, [wanted])
        row = cursor.fetchone()
    if row is None:
        raise no_credential()
    key = ApiKey.from_db(connection.alias, _KEY_COLUMNS, row[: len(_KEY_COLUMNS)])
    key.owner = User.from_db(connection.alias, _OWNER_COLUMNS, row[len(_KEY_COLUMNS) :])
    return key


def _identify_key(credential: str) -> Identity:
    key = _key(_KEY_OF_DIGEST, hash_key(credential))
    principal = principal_of_key(key)
    if key.last_used_at is None or key.last_used_at <= timezone.now() - _LAST_USED_STEP:
        mark_used([key.pk])
    return Identity(principal, key.owner)


def principal_of_key(key: ApiKey) -> Principal:
    """What the key allows. Raises CredentialUnusable while it, or its owner, may not be used."""
    if not key.is_enabled or not key.owner.is_active:
        raise CredentialUnusable(_("The key is disabled."))
    if key.is_expired:
        raise key_has_expired()
    return Principal(
        user_id=key.owner_id,
        username=key.owner.username,
        is_operator=key.owner.is_operator,
        scopes=frozenset(key.scopes),
        key_id=key.pk,
        requests_per_minute=key.requests_per_minute,
    )


def key_has_expired() -> CredentialUnusable:
    return CredentialUnusable(_("The key has expired."))


def mark_used(key_ids: Collection[int]) -> None:
    """Notes the use of keys, with one write a minute however many requests come."""
    now = timezone.now()
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - _LAST_USED_STEP)
    ApiKey.objects.filter(stale, pk__in=key_ids).update(last_used_at=now)
