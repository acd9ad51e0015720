"""A process that begins to answer in a dialog, and gets no further. `-m` with the dialog's id."""

from __future__ import annotations

import sys
import threading

import django


def claim(dialog_id: str) -> None:
    from accounts.principals import principal_for_user
    from conversations.chats import answering
    from conversations.models import Conversation
    from conversations.runs import store
    from conversations.runs.types import NewEvent

    dialog = Conversation.objects.get(pk=dialog_id)
    assert dialog.owner is not None
    runtime = answering.agent_of(principal_for_user(dialog.owner), dialog)
    begun = answering.begin(dialog, runtime, text="Are you there?")
    said = [NewEvent("ai_message_start"), NewEvent("text_chunk", {"content": "I am"})]
    assert store.append(begun.claim, said)


if __name__ == "__main__":
    django.setup()
    claim(sys.argv[1])
    sys.stdout.write("claimed\n")
    sys.stdout.flush()
    threading.Event().wait()
