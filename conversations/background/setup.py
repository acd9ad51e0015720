"""From what a run was asked to what its turn needs: read once, before the first model call."""

from __future__ import annotations

import dataclasses

from accounts.models import User
from assistants.models import Assistant
from assistants.runtime import RELATED_TO_TEXT, AssistantRuntime, runtime_of
from assistants.task_agent import TASK_AGENT_ID, stand_in
from conversations.background import guidance
from conversations.files.attachments import documents_of, images_of
from conversations.files.folder import UserFolder
from conversations.models import Conversation, Message, Role
from conversations.request import Thinking, TurnRequest
from conversations.runs.types import Claim
from conversations.transcript import load_history
from conversations.types import AttachmentRow, RunModeName
from providers.models import Llm, LlmType
from providers.specs import default_llm, is_usable

# A call of the model that breaks off in a way that may pass.
MAX_ATTEMPTS = 3
_THINKING: dict[RunModeName, Thinking] = {"fast": "never", "thinking": "first", "deep": "always"}


@dataclasses.dataclass(frozen=True, slots=True)
class TaskSetup:
    """What a task runs with. `disabled_tools` are those of the agent's own that stay away."""

    runtime: AssistantRuntime
    request: TurnRequest
    folder: UserFolder
    wants_title: bool
    language: str
    disabled_tools: frozenset[str] = frozenset()


def prepare(claim: Claim) -> TaskSetup:
    """What the run needs, in one unit of database work.

    Whoever asked may have lost the assistant or the model since: the agent of all users and the
    user's default model stand in for them.
    """
    asked = claim.request
    conversation = Conversation.objects.get(pk=claim.conversation_id)
    user = User.objects.get(pk=claim.owner_id)
    disabled = guidance.disabled_categories(asked["personalization"])
    agent = agent_for(user.pk, is_operator=user.is_operator, assistant_id=conversation.assistant_id)
    # Not stored: the snapshot is made as if the agent had this model.
    agent.llm = _asked_model(user, asked["llm_id"]) or model_for(user.pk, agent)
    runtime = runtime_of(agent, caller_id=user.pk, speaks=False)
    sent = _sent_along(claim)
    return TaskSetup(
        runtime=_without(runtime, disabled),
        request=TurnRequest(
            turn=claim.turn,
            text=asked["message"],
            history=load_history(claim.conversation_id, before_turn=claim.turn),
            variables={},
            conversation_id=claim.conversation_id,
            remote_id=conversation.remote_id,
            instructions=guidance.instructions(
                asked["prompt"], asked["personalization"], runtime.language
            ),
            documents=documents_of(sent),
            images=images_of(sent, owner_id=claim.owner_id),
            thinking=_THINKING[asked["run_mode"]],
            thinking_interval=guidance.thinking_interval(
                asked["run_mode"], asked["personalization"]
            ),
            max_model_calls=asked["max_iterations"],
            max_attempts=MAX_ATTEMPTS,
            asks_intents=guidance.wants_intents(asked["personalization"]),
        ),
        folder=UserFolder.of(claim.owner_id),
        wants_title=not conversation.title and guidance.wants_title(asked["personalization"]),
        language=asked["language"],
        disabled_tools=guidance.disabled_agent_tools(disabled),
    )


def agent_for(user_id: int, *, is_operator: bool, assistant_id: str | None) -> Assistant:
    """The assistant that works for a user: the named one, else the agent of all users.

    Where an operator deleted that too, one that is stored nowhere. It comes with its language
    model.
    """
    rows = Assistant.objects.select_related(*RELATED_TO_TEXT)
    rows = rows.visible_to(user_id, is_operator=is_operator)
    wanted = [key for key in (assistant_id, TASK_AGENT_ID) if key]
    found = rows.in_bulk(wanted)
    return next((found[key] for key in wanted if key in found), None) or stand_in(user_id)


def model_for(user_id: int, agent: Assistant) -> Llm | None:
    """The model where none was asked for: the agent's own, else the user's default."""
    return agent.llm if is_usable(agent.llm) else default_llm(user_id)


def _asked_model(user: User, llm_id: str | None) -> Llm | None:
    if llm_id is None:
        return None
    rows = Llm.objects.visible_to(user.pk, is_operator=user.is_operator)
    row = rows.filter(type=LlmType.TEXT).select_related("provider").with_id(llm_id)
    return row if is_usable(row) else None


def _without(runtime: AssistantRuntime, disabled: frozenset[str]) -> AssistantRuntime:
    return dataclasses.replace(
        runtime,
        tools=guidance.without_categories(runtime.tools, disabled),
        knowledge=None if "knowledge" in disabled else runtime.knowledge,
    )


def _sent_along(claim: Claim) -> tuple[AttachmentRow, ...]:
    asked = Message.objects.filter(
        conversation_id=claim.conversation_id, turn=claim.turn, role=Role.USER
    )
    return tuple(row for rows in asked.values_list("attachments", flat=True) for row in rows)
