from __future__ import annotations

import pytest

from accounts.models import User
from conversations.history import prepare
from conversations.models import Conversation, Message
from conversations.transcript import load_history
from conversations.types import AttachmentRow
from providers.types import AssistantMessage, UserMessage


@pytest.mark.django_db
def test_later_turns_know_the_files_of_earlier_ones_once(alice: User) -> None:
    conversation = Conversation.objects.create(owner=alice, channel="chat")
    file = AttachmentRow(
        kind="text", name="a.txt", source="upload:1", media_type="text/plain", text="Ten euros."
    )
    said = [("user", "How much?", [file]), ("assistant", "Ten.", []), ("user", "Sure?", [])]
    for seq, (role, text, attachments) in enumerate(said):
        Message.objects.create(
            conversation=conversation,
            turn=seq // 2 + 1,
            seq=seq,
            role=role,
            text=text,
            attachments=attachments,
        )
    assert load_history(conversation.pk, before_turn=2) == (
        UserMessage('<attached_file name="a.txt">\nTen euros.\n</attached_file>\n\nHow much?'),
        AssistantMessage("Ten."),
    )


@pytest.mark.django_db
def test_it_reads_no_more_than_a_model_takes(alice: User) -> None:
    conversation = Conversation.objects.create(owner=alice, channel="chat")
    for turn in range(1, 11):
        for seq, role in enumerate(("user", "assistant"), start=2 * turn):
            Message.objects.create(
                conversation=conversation, turn=turn, seq=seq, role=role, text=f"{turn} " * 100
            )
    whole = load_history(conversation.pk, before_turn=11)
    assert len(whole) == 20
    read = load_history(conversation.pk, before_turn=11, context_tokens=300)
    assert read == whole[-len(read) :]
    budget = {"budget_tokens": 300}
    assert prepare(read, **budget) == prepare(whole, **budget) != ()
    assert len(prepare(read, **budget)) < len(read) < len(whole)
