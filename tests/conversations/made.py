"""Conversations and runs for tests, made through the product's own doors; what all logs have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Channel, Conversation, Run, RunKind
from conversations.runs import store
from conversations.runs.types import Claim, NewEvent, NewRun
from conversations.types import RunRequestRow

WORKER = "tests"


def conversation(owner: User, assistant: Assistant | None = None, **fields: Any) -> Conversation:
    values: dict[str, Any] = {
        "assistant": assistant,
        "assistant_key": assistant.pk if assistant else "gone",
        "assistant_name": assistant.name if assistant else "Gone",
        "channel": Channel.TASK,
        **fields,
    }
    return Conversation.objects.create(owner=owner, **values)


def asked(message: str = "Hello", **fields: Any) -> RunRequestRow:
    row: RunRequestRow = {
        "message": message,
        "images": [],
        "run_mode": "fast",
        "llm_id": None,
        "max_iterations": 10,
        "prompt": "",
        "personalization": None,
        "language": "en",
    }
    # Names of the row; a test that misspells one fails by it.
    return cast(RunRequestRow, {**row, **fields})


def new_run(row: Conversation, message: str = "Hello", **fields: Any) -> NewRun:
    assert row.owner_id is not None
    values: dict[str, Any] = {"kind": RunKind.TASK, "request": asked(message), **fields}
    return NewRun(owner_id=row.owner_id, conversation_id=row.pk, message=message, **values)


def claimed(row: Conversation, message: str = "Hello", **fields: Any) -> Claim:
    """A task that somebody works on."""
    run = store.start_task(new_run(row, message, **fields))
    claim = store.claim(run.pk, worker=WORKER)
    assert claim is not None
    return claim


def chunk(text: str) -> NewEvent:
    return NewEvent("text_chunk", {"content": text})


def status_of(claim: Claim) -> str:
    return str(Run.objects.values_list("status", flat=True).get(pk=claim.run_id))


def log_of(claim: Claim) -> list[tuple[int, str]]:
    return [(event.idx, event.type) for event in store.read(claim.run_id, first=0).events]


def check_log(events: Sequence[tuple[int, str, dict[str, Any]]]) -> None:
    """What holds for every log that is over, given as places, types and data."""
    assert [place for place, _, _ in events] == list(range(len(events)))
    is_last = [kind in {"task_complete", "task_stopped", "error"} for _, kind, _ in events]
    assert is_last == [False] * (len(events) - 1) + [True]
    for block in ("text", "thinking"):
        said: list[str] | None = None
        for _, kind, data in events:
            if kind == f"{block}_start":
                assert said is None
                said = []
            elif kind == f"{block}_chunk":
                assert said is not None
                said.append(data["content"])
            elif kind == f"{block}_end":
                assert said is not None
                assert "".join(said) == data["full_content"]
                said = None
            elif kind in {"stream_reset", "task_stopped", "error"}:
                said = None
        assert said is None
