"""What a view asks of the one who calls it."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.models import Scope
from accounts.principals import Principal, no_credential
from core.errors import Forbidden


def principal_of(request: Request) -> Principal:
    """The principal of an authenticated request. Raises Unauthenticated."""
    principal = request.auth
    if not isinstance(principal, Principal):
        raise no_credential()
    return principal


class HasScope(BasePermission):
    """A valid credential with the view's `required_scope`; without one named, `manage`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        principal_of(request).require(getattr(view, "required_scope", Scope.MANAGE))
        return True


class IsOperator(HasScope):
    """Also staff."""

    def has_permission(self, request: Request, view: Any) -> bool:
        super().has_permission(request, view)
        if not principal_of(request).is_operator:
            raise Forbidden(_("Only operators may do this."))
        return True
