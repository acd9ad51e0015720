"""Users in the agentchat family: register, sign in and out, profiles, and the operators' list."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db.models import Q
from django.templatetags.static import static
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import actions, limits, tokens
from accounts.access import access_user
from accounts.models import User
from accounts.permissions import IsOperator, principal_of
from accounts.principals import (
    ACCESS_COOKIE,
    REFRESH_COOKIE,
    credential_in,
    has_own_origin,
    no_credential,
)
from core.families import AgentChat
from core.viewsets import positive_query

DEFAULT_AVATARS = tuple(f"accounts/avatar-{number}.svg" for number in range(1, 7))


def answer(data: Any = None) -> Response:
    return Response(AgentChat.success(data))


def user_data(user: User) -> dict[str, Any]:
    """A user as this family shows one: ids are strings, the password's hash never appears."""
    return {
        "user_id": str(user.pk),
        "user_name": user.username,
        "user_email": user.email,
        "user_avatar": user.avatar,
        "user_description": user.description,
        "role": "admin" if user.is_operator else "user",
        "delete": not user.is_active,
        "create_time": user.date_joined.isoformat(),
        "update_time": user.updated_at.isoformat(),
    }


class UserShape(serializers.Serializer[Any]):
    """What `user_data` gives."""

    user_id = serializers.CharField()
    user_name = serializers.CharField()
    user_email = serializers.CharField()
    user_avatar = serializers.CharField()
    user_description = serializers.CharField()
    role = serializers.ChoiceField(choices=["admin", "user"])
    delete = serializers.BooleanField()
    create_time = serializers.DateTimeField()
    update_time = serializers.DateTimeField()


class TokensShape(serializers.Serializer[Any]):
    access_token = serializers.CharField()
    refresh_token = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class LoginShape(TokensShape):
    user_id = serializers.CharField()


class UserId(serializers.CharField):
    """A user id as a string or as the number that it is."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=32, **kwargs)


class OpenView(APIView):
    """A door without a credential: a stale cookie or header must not keep anybody out."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    throttle_classes = ()


class RegisterBody(serializers.Serializer[Any]):
    user_name = serializers.CharField(max_length=1000)
    user_email = serializers.EmailField(required=False, allow_blank=True, allow_null=True)
    user_password = serializers.CharField(max_length=256, trim_whitespace=False)


class RegisterView(OpenView):
    serializer_class = RegisterBody

    @extend_schema(responses={200: None})
    def post(self, request: Request) -> Response:
        body = RegisterBody(data=request.data)
        body.is_valid(raise_exception=True)
        limits.limit_registrations(limits.address_of(request))
        fields = body.validated_data
        actions.register(
            fields["user_name"], fields["user_password"], email=fields.get("user_email") or ""
        )
        return answer()


class LoginBody(serializers.Serializer[Any]):
    user_name = serializers.CharField(max_length=150)
    user_password = serializers.CharField(max_length=256, trim_whitespace=False)


class LoginView(OpenView):
    serializer_class = LoginBody

    @extend_schema(responses=LoginShape)
    def post(self, request: Request) -> Response:
        body = LoginBody(data=request.data)
        body.is_valid(raise_exception=True)
        user_name, password = body.validated_data["user_name"], body.validated_data["user_password"]
        limits.limit_logins(limits.address_of(request), user_name)
        user, pair = actions.login(user_name, password)
        return _with_tokens({"user_id": str(user.pk)}, pair)


class RefreshBody(serializers.Serializer[Any]):
    refresh_token = serializers.CharField(required=False, max_length=4096)


class RefreshView(OpenView):
    """Takes the refresh token from the body, the Authorization header or the login's cookie."""

    serializer_class = RefreshBody

    @extend_schema(responses=TokensShape)
    def post(self, request: Request) -> Response:
        body = RefreshBody(data=request.data)
        body.is_valid(raise_exception=True)
        token = body.validated_data.get("refresh_token") or _header_credential(request)
        if token is None and has_own_origin(request._request):
            token = request.COOKIES.get(REFRESH_COOKIE)
        if not token:
            raise no_credential()
        _user, pair = tokens.rotate(token)
        return _with_tokens({}, pair)


def _header_credential(request: Request) -> str | None:
    return credential_in(request.headers.get("Authorization"), request.headers.get("X-Api-Key"))


def _with_tokens(data: dict[str, Any], pair: tokens.TokenPair) -> Response:
    """The tokens in the body, for clients, and in cookies that scripts cannot read."""
    response = answer(
        {
            **data,
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "expires_in": pair.expires_in_s,
        }
    )
    cookies = (
        (ACCESS_COOKIE, pair.access, pair.expires_in_s),
        (REFRESH_COOKIE, pair.refresh, settings.REFRESH_TOKEN_LIFETIME_S),
    )
    for name, value, max_age_s in cookies:
        response.set_cookie(
            name,
            value,
            max_age=max_age_s,
            path="/api/",
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return response


class LogoutView(APIView):
    """Ends the login of every token that the request carries."""

    serializer_class = RefreshBody

    @extend_schema(responses={200: None})
    def post(self, request: Request) -> Response:
        body = RefreshBody(data=request.data)
        body.is_valid(raise_exception=True)
        carried = [_header_credential(request), body.validated_data.get("refresh_token")]
        if carried[0] is None:
            # Signed in by cookie, which authentication accepted only from a page of ours.
            carried += [request.COOKIES.get(name) for name in (ACCESS_COOKIE, REFRESH_COOKIE)]
        actions.logout(token for token in carried if token)
        response = answer()
        for name in (ACCESS_COOKIE, REFRESH_COOKIE):
            response.delete_cookie(name, path="/api/", samesite="Lax")
        return response


class InfoView(APIView):
    @extend_schema(parameters=[OpenApiParameter("user_id", str)], responses=UserShape)
    def get(self, request: Request) -> Response:
        principal = principal_of(request)
        user_id = request.query_params.get("user_id") or str(principal.user_id)
        return answer(user_data(access_user(principal, user_id)))


class UpdateBody(serializers.Serializer[Any]):
    user_id = UserId(required=False)
    user_avatar = serializers.CharField(
        required=False, allow_blank=True, allow_null=True, max_length=500
    )
    user_description = serializers.CharField(
        required=False, allow_blank=True, allow_null=True, max_length=500
    )


class UpdateView(APIView):
    serializer_class = UpdateBody

    @extend_schema(responses={200: None})
    def put(self, request: Request) -> Response:
        body = UpdateBody(data=request.data)
        body.is_valid(raise_exception=True)
        principal = principal_of(request)
        fields = body.validated_data
        actions.update_user(
            access_user(principal, fields.get("user_id", str(principal.user_id))),
            avatar=fields.get("user_avatar"),
            description=fields.get("user_description"),
        )
        return answer()


class IconsView(APIView):
    @extend_schema(responses=serializers.ListSerializer(child=serializers.URLField()))
    def get(self, request: Request) -> Response:
        return answer([request.build_absolute_uri(static(name)) for name in DEFAULT_AVATARS])


class ListView(APIView):
    """All accounts, for operators; `keyword` looks in names and addresses."""

    permission_classes = (IsOperator,)
    max_size = 100

    @extend_schema(
        parameters=[
            OpenApiParameter("keyword", str),
            OpenApiParameter("page", int),
            OpenApiParameter("limit", int),
        ],
        responses=UserShape(many=True),
    )
    def get(self, request: Request) -> Response:
        keyword = request.query_params.get("keyword", "")
        users = User.objects.order_by("pk")
        if keyword:
            users = users.filter(Q(username__icontains=keyword) | Q(email__icontains=keyword))
        page = positive_query(request, ("page",), 1)
        size = min(positive_query(request, ("limit", "page_size"), 20), self.max_size)
        return answer([user_data(user) for user in users[(page - 1) * size : page * size]])


class StatusBody(serializers.Serializer[Any]):
    user_id = UserId()
    disabled = serializers.BooleanField()


class StatusView(APIView):
    """Disables or enables an account; operators only."""

    permission_classes = (IsOperator,)
    serializer_class = StatusBody

    @extend_schema(responses={200: None})
    def put(self, request: Request) -> Response:
        body = StatusBody(data=request.data)
        body.is_valid(raise_exception=True)
        principal = principal_of(request)
        user = access_user(principal, body.validated_data["user_id"])
        actions.set_disabled(principal, user, disabled=body.validated_data["disabled"])
        return answer()
