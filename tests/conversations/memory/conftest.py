"""Ada, who remembers, her user alice, and what was said between them."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from assistants.models import Assistant
from conversations.memory.notes import digest
from conversations.memory.tasks import remember
from conversations.models import Call, Conversation, Lesson, Memory, Message
from knowledge.chunks import unit_vectors
from knowledge.lexemes import vector_literal
from knowledge.spaces import fingerprint
from providers.builtin.hashing import embed_text
from providers.fakes import FakeUpstream, Step
from providers.models import Llm, LlmType
from tests.upstream import SECRET

Notes = Sequence[dict[str, Any]]


@pytest.fixture
def llm(alice: User, upstream: FakeUpstream) -> Llm:
    return Llm.objects.create(
        owner=alice,
        name="llm",
        model_name="m",
        vendor="openai_compatible",
        base_url=upstream.base_url,
        api_key=SECRET,
    )


@pytest.fixture
def embedder(alice: User) -> Llm:
    """The built-in one: texts with the same words are near each other."""
    return Llm.objects.create(
        owner=alice, name="e", model_name="hashing", vendor="builtin", type=LlmType.EMBEDDING
    )


@pytest.fixture
def ada(alice: User, llm: Llm, embedder: Llm) -> Assistant:
    return Assistant.objects.create(
        owner=alice,
        name="Ada",
        language="en",
        llm=llm,
        embedder=embedder,
        enable_memory=True,
        is_public=True,
    )


def talk(owner: User | None, assistant: Assistant, *said: str, **fields: Any) -> Conversation:
    """A chat that was held: the user's words and the assistant's, in turn."""
    row = Conversation.objects.create(
        owner=owner,
        assistant=assistant,
        assistant_key=assistant.pk,
        assistant_name=assistant.name,
        channel="chat",
        settings={"agent_type": "Agent"},
        **fields,
    )
    Call.objects.create(conversation=row, owner=owner, source="external", channel="chat")
    for at, text in enumerate(said):
        role = "assistant" if at % 2 else "user"
        Message.objects.create(conversation=row, turn=at // 2 + 1, seq=at + 1, role=role, text=text)
    return row


def known(
    owner: User, assistant: Assistant, *texts: str, where: Conversation | None = None
) -> list[Memory]:
    """Facts that are known already, each with its vector."""
    embedder = assistant.embedder
    assert embedder is not None
    return [
        Memory.objects.create(
            owner=owner,
            assistant=assistant,
            conversation=where,
            text=text,
            digest=digest(text),
            lexemes=vector_literal(text),
            embedding=unit_vectors(embed_text(text).reshape(1, -1))[0],
            fingerprint=fingerprint(embedder),
        )
        for text in texts
    ]


def facts_of(owner: User) -> list[str]:
    return sorted(Memory.objects.filter(owner=owner).values_list("text", flat=True))


def proposing(*notes: dict[str, Any]) -> Step:
    """What a model answers that proposes these changes."""
    return Step(text=json.dumps({"notes": list(notes)}))


def add(text: str) -> dict[str, Any]:
    return {"do": "add", "text": text}


def queued() -> list[list[Any]]:
    """The lessons that wait for a worker: of which conversation, and which turn."""
    rows = Lesson.objects.order_by("conversation", "turn")
    return [list(row) for row in rows.values_list("conversation_id", "turn")]


def work() -> int:
    """Does as a worker what waits for one, as if it was due by now; how many lessons it was."""
    waiting = queued()
    Lesson.objects.update(due_at=timezone.now() - datetime.timedelta(minutes=1))
    for conversation_id, turn in waiting:
        remember(conversation_id, turn)
    return len(waiting)
