"""`/prompts` and `/personalizations` of the tasks family."""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Func, IntegerField, QuerySet, TextField
from django.db.models.functions import Cast
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import principal_of
from conversations.access import (
    access_personalization,
    access_prompt,
    own_personalizations,
    own_prompts,
)
from conversations.api.tasks_base import TasksView, answer, body_of
from conversations.background import actions, guidance
from conversations.models import Personalization, Prompt
from conversations.models.guidance import NAME_PATTERN
from core.errors import InvalidRequest

MAX_PROMPT_CHARS = 100_000
_NAME = re.compile(NAME_PATTERN)


# --- Shapes --------------------------------------------------------------------------------------


class ListedShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes.")
    updated_at = serializers.DateTimeField()


class GuidanceListShape(serializers.Serializer[Any]):
    items = ListedShape(many=True)


class PromptSavedShape(serializers.Serializer[Any]):
    name = serializers.CharField()


class PromptShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    content = serializers.CharField()


class PromptBody(serializers.Serializer[Any]):
    name = serializers.CharField(help_text=f"As {NAME_PATTERN} allows.")
    content = serializers.CharField(max_length=MAX_PROMPT_CHARS, allow_blank=True)


def _words() -> Any:
    return serializers.CharField(max_length=guidance.MAX_WORD_CHARS, allow_blank=True)


@extend_schema_serializer(component_name="Personalization")
class PersonalizationContentShape(serializers.Serializer[Any]):
    """How the agent speaks and works. Other keys are dropped, what is too long is cut."""

    enabled = serializers.BooleanField()
    self_identify = _words()
    user_name = _words()
    profession = _words()
    tone = serializers.CharField(
        max_length=guidance.MAX_WORD_CHARS,
        allow_blank=True,
        help_text=f"Any short text; usual ones are {', '.join(guidance.TONES)}.",
    )
    considerations = serializers.ListField(
        child=serializers.CharField(max_length=guidance.MAX_CONSIDERATION_CHARS),
        max_length=guidance.MAX_CONSIDERATIONS,
    )
    thinking_interval = serializers.IntegerField(
        min_value=guidance.MIN_INTERVAL, max_value=guidance.MAX_INTERVAL, allow_null=True
    )
    disabled_tool_categories = serializers.ListField(
        child=serializers.CharField(),
        help_text=f"Any of {', '.join(guidance.TOOL_CATEGORIES)}.",
    )
    default_run_mode = serializers.ChoiceField(guidance.RUN_MODES, allow_null=True)
    auto_generate_title = serializers.BooleanField()
    tool_intent_enabled = serializers.BooleanField()
    default_model = serializers.CharField(allow_null=True)


class PersonalizationShape(serializers.Serializer[Any]):
    name = serializers.CharField()
    content = PersonalizationContentShape()


class PersonalizationBody(serializers.Serializer[Any]):
    name = serializers.CharField(help_text=f"As {NAME_PATTERN} allows.")
    content = PersonalizationContentShape(partial=True)


# --- Reading -------------------------------------------------------------------------------------


def _name(request: Request) -> str:
    """The name that was sent. Raises InvalidRequest."""
    name = body_of(request).get("name")
    name = name.strip() if isinstance(name, str) else name
    if name in (None, ""):
        raise InvalidRequest(_("name must not be empty."), param="name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        text = _("name may have 1 to 64 letters, digits, “_” or “-”.")
        raise InvalidRequest(text, param="name")
    return name


def _items(rows: QuerySet[Any]) -> dict[str, Any]:
    """What a list shows of prompts or personalizations, whose contents are only measured."""
    text = Cast("content", TextField())
    size = Func(text, function="octet_length", output_field=IntegerField())
    return {
        "items": [
            {"name": name, "size": size, "updated_at": at.isoformat()}
            for name, size, at in rows.values_list("name", size, "updated_at")
        ]
    }


# --- Views ---------------------------------------------------------------------------------------


class PromptsView(TasksView):
    """The caller's prompts, which go before the instructions of a task."""

    serializer_class = PromptBody

    @extend_schema(operation_id="tasks_prompts_list", responses=GuidanceListShape)
    def get(self, request: Request) -> Response:
        return answer(_items(own_prompts(principal_of(request))))

    @extend_schema(operation_id="tasks_prompts_save", responses={200: PromptSavedShape})
    def post(self, request: Request) -> Response:
        name, content = _name(request), body_of(request).get("content")
        if not isinstance(content, str):
            raise InvalidRequest(_("content must be a text."), param="content")
        if len(content) > MAX_PROMPT_CHARS:
            text = _("content may have at most %(count)d characters.")
            raise InvalidRequest(text % {"count": MAX_PROMPT_CHARS}, param="content")
        actions.save_prompt(principal_of(request), name, content)
        return answer({"name": name})


class PromptView(TasksView):
    """One prompt."""

    @extend_schema(operation_id="tasks_prompts_read", responses=PromptShape)
    def get(self, request: Request, name: str) -> Response:
        return answer(_prompt(access_prompt(principal_of(request), name)))

    @extend_schema(operation_id="tasks_prompts_delete", responses={200: PromptSavedShape})
    def delete(self, request: Request, name: str) -> Response:
        access_prompt(principal_of(request), name).delete()
        return answer({"name": name})


def _prompt(row: Prompt) -> dict[str, Any]:
    return {"name": row.name, "content": row.content}


class PersonalizationsView(TasksView):
    """The caller's personalizations: how the agent of their tasks speaks and works."""

    serializer_class = PersonalizationBody

    @extend_schema(operation_id="tasks_personalizations_list", responses=GuidanceListShape)
    def get(self, request: Request) -> Response:
        return answer(_items(own_personalizations(principal_of(request))))

    @extend_schema(
        operation_id="tasks_personalizations_save", responses={200: PersonalizationShape}
    )
    def post(self, request: Request) -> Response:
        name, content = _name(request), body_of(request).get("content")
        if not isinstance(content, dict):
            raise InvalidRequest(_("content must be a JSON object."), param="content")
        row = actions.save_personalization(principal_of(request), name, content)
        return answer(_personalization(row))


class PersonalizationView(TasksView):
    """One personalization."""

    @extend_schema(operation_id="tasks_personalizations_read", responses=PersonalizationShape)
    def get(self, request: Request, name: str) -> Response:
        return answer(_personalization(access_personalization(principal_of(request), name)))

    @extend_schema(operation_id="tasks_personalizations_delete", responses={200: PromptSavedShape})
    def delete(self, request: Request, name: str) -> Response:
        access_personalization(principal_of(request), name).delete()
        return answer({"name": name})


def _personalization(row: Personalization) -> dict[str, Any]:
    return {"name": row.name, "content": row.content}
