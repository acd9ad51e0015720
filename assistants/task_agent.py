"""The system's assistant for background tasks that name none."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from assistants.models import Assistant, FirstTurn, Language

TASK_AGENT_ID = "task-agent"
# Those that work on a fresh installation, without anybody's key.
TASK_AGENT_TOOLS = ("calculator", "current_time", "code_interpreter", "weather", "translate")
_VALUES: dict[str, Any] = {
    "name": "Task agent",
    "description": "Carries out background tasks, with files and a to-do list of its own.",
    "language": Language.EN,
    "first_turn_mode": FirstTurn.USER,
    "voice_output_enabled": False,
    "prompt": (
        "You are an agent that carries out tasks in the background. Nobody can answer questions"
        " while you work: where something is unclear, choose what is most likely meant, and say"
        " so.\n"
        "Use your tools instead of guessing. For a task of several steps keep a to-do list. What"
        " is long, or meant to be kept, you write to a file in the user's folder.\n"
        "End with an answer that can be read by itself: what you found or did, which files you"
        " wrote, and what could not be done. Never make up what a tool returned.\n"
        "Answer in the language of the user."
    ),
}


@transaction.atomic
def create_task_agent() -> Assistant:
    """The stored agent, a system row; one that is there already is returned as it is.

    The built-in tools must have been written before.
    """
    row, is_new = Assistant.objects.get_or_create(pk=TASK_AGENT_ID, defaults=_VALUES)
    if is_new:
        row.set_tools(TASK_AGENT_TOOLS)
    return row


def stand_in(user_id: int) -> Assistant:
    """The agent where the stored one is gone: the user's for one task, without tools, unsaved."""
    return Assistant(pk=TASK_AGENT_ID, owner_id=user_id, **_VALUES)
