"""`/models` of the tasks family."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import principal_of
from conversations.api.tasks_base import TasksView, answer
from providers.models import Llm
from providers.specs import usable_llms


class ModelShape(serializers.Serializer[Any]):
    """A language model that a message can ask for."""

    model_key = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    supports_thinking = serializers.BooleanField()
    fast_only = serializers.BooleanField(help_text="It cannot be told to think.")
    multimodal = serializers.BooleanField(help_text="It sees images.")
    context_window = serializers.IntegerField(allow_null=True, help_text="In tokens.")
    max_output_tokens = serializers.IntegerField(allow_null=True)


class ModelsShape(serializers.Serializer[Any]):
    items = ModelShape(many=True)


class ModelsView(TasksView):
    """The language models that can be used; the first is the one that answers by default."""

    @extend_schema(operation_id="tasks_models_list", responses=ModelsShape)
    def get(self, request: Request) -> Response:
        rows = usable_llms(principal_of(request).user_id)
        return answer({"items": [_model(row) for row in rows]})


def _model(row: Llm) -> dict[str, Any]:
    return {
        "model_key": row.pk,
        "name": row.name,
        "description": row.description,
        "supports_thinking": row.supports_thinking,
        "fast_only": not row.supports_thinking,
        "multimodal": row.accepts_images,
        "context_window": row.context_length,
        "max_output_tokens": row.max_output_tokens,
    }
