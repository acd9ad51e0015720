"""What `/conversations` and `/messages` of the tasks family are sent, and what they answer."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from conversations.background import actions, guidance
from conversations.background.overviews import Details, Manner, Overview
from conversations.files.attachments import path_of
from conversations.models import Message, Run
from conversations.models.guidance import NAME_PATTERN
from core.serializers import OptionalText, WireSerializer

MAX_MESSAGE_CHARS = 100_000
MAX_IMAGES = 10
CONVERSATION_STATES = ("active", "running")


# --- What is sent --------------------------------------------------------------------------------


class ChoicesBody(WireSerializer):
    """How a conversation is carried on."""

    prompt_name = OptionalText(max_length=64, help_text=f"As {NAME_PATTERN} allows.")
    personalization_name = OptionalText(max_length=64)
    assistant_id = OptionalText(
        max_length=64, help_text="Who does the work. Empty: the agent of all users."
    )

    def choices(self) -> actions.Choices:
        """What was chosen; the body was found valid before."""
        sent = {name: value or None for name, value in self.validated_data.items()}
        return actions.Choices(
            assistant_id=sent.get("assistant_id"),
            model_key=sent.get("model_key"),
            run_mode=sent.get("run_mode"),
            # False says something.
            thinks=self.validated_data.get("thinking_mode"),
            prompt_name=sent.get("prompt_name"),
            personalization_name=sent.get("personalization_name"),
        )


class MessageBody(ChoicesBody):
    """A message that is to be answered in the background."""

    message = OptionalText(max_length=MAX_MESSAGE_CHARS, default="")
    images = serializers.ListField(
        child=serializers.CharField(max_length=1000),
        max_length=MAX_IMAGES,
        required=False,
        allow_null=True,
        help_text="Paths of uploaded files.",
    )
    conversation_id = OptionalText(max_length=64, help_text="Empty: a new conversation.")
    model_key = OptionalText(
        max_length=200, help_text="An id of /models, a name, or another name of a model."
    )
    run_mode = serializers.ChoiceField(
        guidance.RUN_MODES,
        required=False,
        allow_null=True,
        allow_blank=True,
        error_messages={"invalid_choice": _("run_mode supports fast, thinking and deep only.")},
    )
    thinking_mode = serializers.BooleanField(
        required=False, allow_null=True, help_text="The older form of run_mode."
    )
    max_iterations = serializers.IntegerField(
        min_value=guidance.MIN_ITERATIONS,
        max_value=guidance.MAX_ITERATIONS,
        required=False,
        allow_null=True,
        help_text=f"Calls of the model; {guidance.DEFAULT_ITERATIONS} if not given, "
        f"{guidance.DEEP_ITERATIONS} in deep mode.",
    )

    def sent(self) -> actions.Sent:
        """The message; the body was found valid before."""
        fields = self.validated_data
        return actions.Sent(
            message=fields.get("message") or "",
            images=tuple(fields.get("images") or ()),
            conversation_id=fields.get("conversation_id") or None,
            max_iterations=fields.get("max_iterations"),
            choices=self.choices(),
        )


# --- What is answered ----------------------------------------------------------------------------


class ConversationCreatedShape(serializers.Serializer[Any]):
    conversation_id = serializers.CharField()


class ManagedShape(serializers.Serializer[Any]):
    """A conversation in the list."""

    id = serializers.CharField()
    title = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    run_mode = serializers.ChoiceField(guidance.RUN_MODES)
    model_key = serializers.CharField(allow_null=True)
    custom_prompt_name = serializers.CharField(allow_null=True)
    personalization_name = serializers.CharField(allow_null=True)
    messages_count = serializers.IntegerField()
    assistant_id = serializers.CharField()


class ConversationsShape(serializers.Serializer[Any]):
    # A field named as the contract names it, not the base class's attribute.
    data = ManagedShape(many=True)  # type: ignore[assignment]
    total = serializers.IntegerField()


class MetadataShape(serializers.Serializer[Any]):
    run_mode = serializers.ChoiceField(guidance.RUN_MODES)
    thinking_mode = serializers.BooleanField()
    model_key = serializers.CharField(allow_null=True)
    custom_prompt_name = serializers.CharField(allow_null=True)
    personalization_name = serializers.CharField(allow_null=True)
    total_messages = serializers.IntegerField()
    total_tools = serializers.IntegerField()
    status = serializers.ChoiceField(CONVERSATION_STATES)
    active_task_id = serializers.CharField(allow_null=True)
    assistant_id = serializers.CharField()
    assistant_name = serializers.CharField()


class TokenStatisticsShape(serializers.Serializer[Any]):
    total_input_tokens = serializers.IntegerField()
    total_output_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    updated_at = serializers.DateTimeField()


class TodoShape(serializers.Serializer[Any]):
    text = serializers.CharField()
    status = serializers.ChoiceField(["pending", "in_progress", "done"])


class SpokenShape(serializers.Serializer[Any]):
    """One message; `tool_calls` of the assistant, `tool_call_id` and `name` of a tool's answer."""

    role = serializers.ChoiceField(["user", "assistant", "tool", "system"])
    content = serializers.CharField()
    timestamp = serializers.DateTimeField()
    turn = serializers.IntegerField()
    images = serializers.ListField(child=serializers.CharField(), required=False)
    tool_calls = serializers.JSONField(required=False)
    tool_call_id = serializers.CharField(required=False)
    name = serializers.CharField(required=False)
    is_interrupted = serializers.BooleanField(required=False)
    model_name = serializers.CharField(required=False)
    error = serializers.CharField(required=False)


class ConversationDataShape(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    messages = SpokenShape(many=True, allow_null=True, help_text="Null unless full=1.")
    todo_list = TodoShape(many=True)
    metadata = MetadataShape()
    token_statistics = TokenStatisticsShape()


class ConversationShape(serializers.Serializer[Any]):
    # As above.
    data = ConversationDataShape()  # type: ignore[assignment]


class DeletedShape(serializers.Serializer[Any]):
    message = serializers.CharField()


class TaskStartedShape(serializers.Serializer[Any]):
    task_id = serializers.UUIDField()
    conversation_id = serializers.CharField()
    status = serializers.ChoiceField(["running"])
    created_at = serializers.FloatField(help_text="Seconds since 1970.")


def _manner(manner: Manner) -> dict[str, Any]:
    return {
        "run_mode": manner.run_mode,
        "model_key": manner.model_key,
        "custom_prompt_name": manner.prompt_name,
        "personalization_name": manner.personalization_name,
    }


def overview_row(overview: Overview) -> dict[str, Any]:
    """A conversation in the list, as `ManagedShape` says."""
    row = overview.row
    return {
        "id": row.pk,
        "title": row.title,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        **_manner(overview.manner),
        "messages_count": overview.messages_count,
        "assistant_id": row.assistant_key,
    }


def details_row(shown: Details) -> dict[str, Any]:
    """One conversation, with all messages where they were read."""
    row, totals = shown.row, shown.totals
    messages = shown.messages
    return {
        "id": row.pk,
        "title": row.title,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
        "messages": None if messages is None else [_message(each) for each in messages],
        "todo_list": row.todo,
        "metadata": {
            **_manner(shown.manner),
            "thinking_mode": shown.manner.run_mode != "fast",
            "total_messages": totals.messages,
            "total_tools": totals.tools,
            "status": "running" if shown.active_task_id else "active",
            "active_task_id": shown.active_task_id,
            "assistant_id": row.assistant_key,
            "assistant_name": row.assistant_name,
        },
        "token_statistics": {
            "total_input_tokens": totals.input_tokens,
            "total_output_tokens": totals.output_tokens,
            "total_tokens": totals.input_tokens + totals.output_tokens,
            "updated_at": row.updated_at.isoformat(),
        },
    }


def _message(row: Message) -> dict[str, Any]:
    more = {
        "images": [path_of(each) for each in row.attachments if each["kind"] == "image"],
        "tool_calls": [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in row.tool_calls
        ],
        "tool_call_id": (row.tool_result or {}).get("call_id"),
        "name": (row.tool_result or {}).get("name"),
        "is_interrupted": row.is_interrupted,
        "model_name": row.model_name,
        "error": row.error,
    }
    return {
        "role": row.role,
        "content": row.text,
        "timestamp": row.created_at.isoformat(),
        "turn": row.turn,
        **{name: value for name, value in more.items() if value},
    }


def started_row(run: Run) -> dict[str, Any]:
    """The task that answers a message."""
    return {
        "task_id": str(run.pk),
        "conversation_id": run.conversation_id,
        # As published: to who sent it, waiting for a worker is part of running.
        "status": "running",
        "created_at": run.created_at.timestamp(),
    }
