"""Tickets: how a browser gets into `/ws` without a key in a URL."""

from __future__ import annotations

from typing import Any

from asgiref.sync import async_to_sync
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import tickets
from accounts.authentication import CredentialAuthentication
from accounts.models import Scope, User
from accounts.permissions import principal_of
from accounts.principals import Principal, no_credential, principal_for_user
from assistants.access import access_assistant_to_talk
from core.errors import InvalidRequest, NotFound
from core.viewsets import success


class ConsoleSession(SessionAuthentication):
    """The console's session, with its CSRF token: for the voice page of who is signed in there."""

    def authenticate(self, request: Request) -> tuple[User, Principal] | None:
        try:
            signed_in = super().authenticate(request)
        except PermissionDenied:
            raise no_credential() from None
        if signed_in is None or not isinstance(signed_in[0], User):
            return None
        return signed_in[0], principal_for_user(signed_in[0])


class TicketRequestSerializer(serializers.Serializer[Any]):
    assistant_id = serializers.CharField(
        max_length=64,
        required=False,
        allow_null=True,
        help_text="Restricts the ticket to this assistant.",
    )


class TicketSerializer(serializers.Serializer[Any]):
    ticket = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class TicketsView(APIView):
    """Makes a ticket for one voice socket: `/ws?assistant_id=…&ticket=…`, within 60 s."""

    authentication_classes = (CredentialAuthentication, ConsoleSession)
    required_scope = Scope.VOICE

    @extend_schema(
        operation_id="voice_tickets_create",
        request=TicketRequestSerializer,
        responses={200: TicketSerializer},
    )
    def post(self, request: Request) -> Response:
        asked = TicketRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        principal = principal_of(request)
        assistant_id: str | None = asked.validated_data.get("assistant_id")
        if assistant_id is not None:
            _check_assistant(principal, assistant_id)
        ticket = async_to_sync(tickets.issue)(principal, assistant_id)
        return success({"ticket": ticket, "expires_in": tickets.LIFETIME_S})


def _check_assistant(principal: Principal, assistant_id: str) -> None:
    try:
        access_assistant_to_talk(principal, assistant_id)
    except NotFound:
        raise InvalidRequest(_("Unknown assistant."), param="assistant_id") from None
