"""Scripted conversations: who may see and change them, and saving them."""

from __future__ import annotations

from typing import TypedDict

from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import Forbidden, InvalidRequest, NotFound
from core.models import OwnedQuerySet
from tooling.autotest.engine import TESTERS
from tooling.autotest.scenario import StepRow, checked_steps
from tooling.models import Scenario, Subject

SCENARIO_NOT_FOUND = "SCENARIO_NOT_FOUND"


class ScenarioValues(TypedDict, total=False):
    """Fields as they were sent; what is missing stays as it is. `steps` is any JSON."""

    name: str
    assistant_id: str
    steps: object


def visible_scenarios(principal: Principal) -> OwnedQuerySet[Scenario]:
    """Own conversations and the system's; operators see all."""
    return Scenario.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def access_scenario(principal: Principal, scenario_id: str) -> Scenario:
    """The conversation, if it may be seen. Raises NotFound alike for unknown and foreign ids."""
    row = visible_scenarios(principal).with_id(scenario_id)
    if row is None:
        raise NotFound(_("Scenario not found"), code=SCENARIO_NOT_FOUND)
    return row


def access_own_scenario(principal: Principal, scenario_id: str) -> Scenario:
    """The conversation, if it may be changed. Raises NotFound, and Forbidden for the system's."""
    row = access_scenario(principal, scenario_id)
    if not principal.is_operator and row.owner_id != principal.user_id:
        raise Forbidden(_("System scenarios can be changed by operators only."))
    return row


def create_scenario(principal: Principal, values: ScenarioValues) -> Scenario:
    """A conversation of the principal's. Raises InvalidRequest naming the field."""
    return save_scenario(principal, Scenario(owner_id=principal.user_id), values)


def save_scenario(principal: Principal, row: Scenario, values: ScenarioValues) -> Scenario:
    """The row with the values set and stored. Raises InvalidRequest naming the field."""
    if "name" in values:
        row.name = values["name"]
    if "assistant_id" in values:
        row.assistant_id = _assistant_id(principal, values["assistant_id"])
    if "steps" in values:
        steps: list[StepRow] = checked_steps(values["steps"])
        row.steps = steps
    row.save()
    return row


def _assistant_id(principal: Principal, assistant_id: str) -> str:
    try:
        TESTERS[Subject.ASSISTANT].access(principal, assistant_id)
    except NotFound as error:
        raise InvalidRequest(error.message, param="assistant_id") from None
    return assistant_id
