"""The REST framework's door: an API key or an access token, from either header or the cookie."""

from __future__ import annotations

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.models import User
from accounts.principals import Principal, identity_for_request


class CredentialAuthentication(BaseAuthentication):
    """Sets `request.user` to the user and `request.auth` to the principal."""

    def authenticate(self, request: Request | HttpRequest) -> tuple[User, Principal] | None:
        http_request: HttpRequest = getattr(request, "_request", request)
        identity = identity_for_request(http_request)
        return (identity.user, identity.principal) if identity else None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
