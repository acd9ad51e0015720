"""Chats with assistants that Dify and FastGPT answer for, and with one that remembers."""

from __future__ import annotations

import pytest

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Conversation, Memory, Message, RunStatus
from core.db import in_db
from providers.fakes import FakeUpstream, Step
from providers.types import BrainKind
from tests.conversations.chats.conftest import Client, dialog_with, until_over
from tests.conversations.memory.conftest import add, proposing, work

pytestmark = pytest.mark.django_db(transaction=True)

BOTH: tuple[BrainKind, ...] = ("dify", "fastgpt")


async def dialog_of(
    client: Client, owner: User, kind: BrainKind, upstream: FakeUpstream
) -> Conversation:
    row = await in_db(
        Assistant.objects.create,
        owner=owner,
        name="Remote",
        language="en",
        config_mode=kind,
        api_url=upstream.root_url,
        api_key="brain-key",
    )
    return await dialog_with(client, row)


@pytest.mark.parametrize("kind", BOTH)
async def test_the_service_answers_and_keeps_the_conversation(
    alices: Client, alice: User, upstream: FakeUpstream, kind: BrainKind
) -> None:
    upstream.script(kind, Step(text="Hello you."), Step(text="And more."))
    dialog = await dialog_of(alices, alice, kind, upstream)
    assert (await alices.chat(dialog, "Hi")).text == "Hello you."
    await until_over(dialog)
    await dialog.arefresh_from_db()
    assert upstream.conversations == {dialog.remote_id: ["Hi"]}
    assert (await alices.chat(dialog, "Go on")).text == "And more."
    run = await until_over(dialog)
    assert run.status == RunStatus.SUCCEEDED
    assert upstream.conversations == {dialog.remote_id: ["Hi", "Go on"]}
    messages = await in_db(list, Message.objects.filter(conversation=dialog).order_by("seq"))
    assert [row.text for row in messages] == ["Hi", "Hello you.", "Go on", "And more."]
    assert messages[-1].model_name in ("Dify", "FastGPT")


@pytest.mark.parametrize("kind", BOTH)
async def test_a_failing_service_is_told_of_in_the_stream(
    alices: Client, alice: User, upstream: FakeUpstream, kind: BrainKind
) -> None:
    dialog = await dialog_of(alices, alice, kind, upstream)
    upstream.script(kind, Step(status=401, body={"message": "no"}), Step(text="Fine."))
    stream = await alices.chat(dialog, "Hi")
    assert [each["data"]["status"] for each in stream.of("event")] == ["ERROR"]
    assert "brain-key" not in str(stream.payloads)
    assert (await until_over(dialog)).status == RunStatus.FAILED
    assert (await alices.chat(dialog, "Again")).text == "Fine."


async def test_what_was_told_in_one_dialog_is_known_in_the_next(
    alices: Client, ada: Assistant, upstream: FakeUpstream
) -> None:
    await in_db(Assistant.objects.update, enable_memory=True)
    first, second = [await dialog_with(alices, ada) for _number in range(2)]
    upstream.script("chat", Step(text="Nice!"), proposing(add("The user lives in Berlin.")))
    await alices.chat(first, "I live in Berlin.")
    await until_over(first)
    assert await in_db(work) == 1
    assert (await in_db(Memory.objects.get)).conversation_id == first.pk
    await alices.chat(second, "Where do I live?")
    asked = upstream.stats.last("chat")[-1]["body"]["messages"]
    assert "The user lives in Berlin." in asked[0]["content"]
    # Deleting the dialog forgets what was learnt in it.
    await alices.http.request("DELETE", "dialog", json={"dialog_id": first.pk})
    assert not await in_db(Memory.objects.exists)
