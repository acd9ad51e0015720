"""The REST framework's door: an API key or an access token, from either header or the cookie."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.keyring import key_for
from accounts.models import KEY_PREFIX, User
from accounts.principals import Principal, credential_in, identity_for_request, note_principal


class CredentialAuthentication(BaseAuthentication):
    """Sets `request.user` to the user and `request.auth` to the principal."""

    def authenticate(self, request: Request | HttpRequest) -> tuple[User, Principal] | None:
        http_request: HttpRequest = getattr(request, "_request", request)
        identity = identity_for_request(http_request)
        return (identity.user, identity.principal) if identity else None

    async def prepare(self, request: HttpRequest) -> None:
        """Notes who asks with an API key, from memory if it is known. Raises as `key_for` does."""
        credential = credential_in(
            request.headers.get("Authorization"), request.headers.get("X-Api-Key")
        )
        if credential is not None and credential.strip().startswith(KEY_PREFIX):
            note_principal(request, (await key_for(credential)).principal)

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
