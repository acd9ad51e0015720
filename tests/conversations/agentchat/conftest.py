"""Dialogs of alice, and what was said in them."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from assistants.models import Assistant
from conversations.models import Conversation, Message
from providers.catalogue import sync_builtin_models
from tooling.catalogue import sync_builtin_tools

ROOT = "/api/v1"
DIALOG = f"{ROOT}/dialog"


def data_of(response: Any) -> Any:
    """What an answer of this family holds, after a look at its status and envelope."""
    assert response.status_code == 200, response.content
    answer = response.json()
    assert (answer["status_code"], answer["status_message"]) == (200, "SUCCESS"), answer
    assert set(answer) == {"status_code", "status_message", "data"}
    return answer["data"]


def refusal_of(response: Any, code: int) -> str:
    """The message of an error in the envelope; business errors are HTTP 200."""
    assert response.status_code == (code if code in (401, 422) else 200), response.content
    answer = response.json()
    assert (answer["status_code"], answer["data"]) == (code, None), answer
    message: str = answer["status_message"]
    return message


@pytest.fixture(autouse=True)
def catalogue(db: None) -> None:
    sync_builtin_models()
    sync_builtin_tools()


@pytest.fixture
def dialog(alice_api: APIClient, ada: Assistant) -> Conversation:
    made = data_of(alice_api.post(DIALOG, {"name": "Plans", "agent_id": ada.pk}))
    return Conversation.objects.get(pk=made["dialog_id"])


def say(conversation: Conversation, turn: int, role: str, text: str, **fields: Any) -> Message:
    """One more message."""
    seq = conversation.messages.count() + 1
    row: Message = conversation.messages.create(turn=turn, seq=seq, role=role, text=text, **fields)
    return row
