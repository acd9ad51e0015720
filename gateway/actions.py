"""What operators do with public models, and what keys may be limited to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypedDict

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.principals import principal_for_user
from core.errors import InvalidRequest
from gateway.assistants import is_known
from gateway.directory import known_names
from gateway.models import PublicModel, Route
from providers.models import Llm

MAX_ROUTES = 50
MAX_SHOWN = 10
# Fields that clients know by other names.
_ASKED_AS = {"name": "public_name", "price_input": "price_in", "price_output": "price_out"}


class WantedRoute(TypedDict, total=False):
    """A route as it is to be; what is missing stays as it is, or is as usual."""

    llm_id: str
    priority: int
    weight: int
    is_enabled: bool


def check_allowed_models(owner: User, names: Collection[str], *, known: Collection[str]) -> None:
    """Looks whether the owner of a key has all models that it is to be limited to.

    `known` are names that the key has already: what they meant may be gone, and they then match
    nothing. Raises InvalidRequest naming those that mean nothing.
    """
    asked = [name for name in dict.fromkeys(names) if name not in known]
    models = known_names(owner.pk, asked)
    principal = principal_for_user(owner)
    unknown = [name for name in asked if name not in models and not is_known(principal, name)]
    if unknown:
        text = _("There is no model of this name: %(names)s.")
        shown = ", ".join(f"“{name}”" for name in unknown[:MAX_SHOWN])
        raise InvalidRequest(text % {"names": shown}, param="allowed_models")


@transaction.atomic
def save_public_model(
    model: PublicModel, values: dict[str, Any], routes: Sequence[WantedRoute] | None
) -> PublicModel:
    """Stores a new or a known model; routes that are given replace all that there were.

    Raises InvalidRequest naming the field.
    """
    for name, value in values.items():
        setattr(model, name, value)
    try:
        model.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise InvalidRequest(messages[0], param=_ASKED_AS.get(field, field)) from None
    model.save()
    if routes is not None:
        _replace_routes(model, routes)
    elif "kind" in values:
        _check_routes(model)
    return model


def _replace_routes(model: PublicModel, routes: Sequence[WantedRoute]) -> None:
    if len(routes) > MAX_ROUTES:
        raise InvalidRequest(_("At most %d routes.") % MAX_ROUTES, param="routes")
    wanted = {route["llm_id"]: route for route in routes}
    if len(wanted) < len(routes):
        raise InvalidRequest(_("Two routes lead to the same model."), param="routes")
    known = {route.llm_id: route for route in model.routes.all()}
    for llm_id, route in known.items():
        if llm_id not in wanted:
            route.delete()
    for llm_id, values in wanted.items():
        if not Llm.objects.filter(pk=llm_id).exists():
            text = _("There is no model “%(id)s”.") % {"id": llm_id}
            raise InvalidRequest(text, param="routes")
        # One that stays keeps its number, by which requests of the past name it.
        row = known.get(llm_id) or Route(model=model, llm_id=llm_id)
        for name, value in values.items():
            setattr(row, name, value)
        row.save()
    _check_routes(model)


def _check_routes(model: PublicModel) -> None:
    for route in model.routes.with_models():
        try:
            route.clean()
        except ValidationError as error:
            raise InvalidRequest(error.messages[0], param="routes") from None
