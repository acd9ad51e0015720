"""One exchange of a chat: the user's words in, the events of the answer out, all of it kept.

`begin` stores the words and claims the conversation; `exchange` answers. Whatever ends the answer
(its end, a failure, a reader who leaves, `stop`), what there is of it is stored before the
generator is done, and the conversation is free again.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import re
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

from django.db import Error as DatabaseFailure
from django.utils.translation import gettext as _

from accounts.principals import Principal
from assistants.runtime import AssistantRuntime, Links, runtime_of
from conversations.encoders.tasks import TaskEncoder, outcome_of
from conversations.encoding import Collector
from conversations.events import TextDelta, TurnEvent, TurnFailed, TurnStarted
from conversations.files.attachments import documents_of, images_of
from conversations.history import context_tokens
from conversations.models import Conversation, Run, RunKind, RunStatus
from conversations.runs import processes, store, sweeper
from conversations.runs.log import LostRun, RunLog
from conversations.runs.pulse import beating
from conversations.runs.types import Claim, NewRun
from conversations.transcript import load_history
from conversations.turn import MAX_MODEL_CALLS, TurnRequest, run_turn
from conversations.types import AttachmentRow, RunRequestRow
from core.errors import Conflict, NotFound, ProviderError
from core.loops import PerLoop
from providers.types import AssistantMessage, ChatMessage, Usage, UserMessage

logger = logging.getLogger(__name__)

# The log of a chat is read after the fact, by operators: its writes can wait for each other.
LOG_EVERY_S = 2.0
FINISH_WITHIN_S = 15.0
SHUTDOWN_WAIT_S = 5.0
# Where a prompt wants the earlier turns; with more braces it is a variable of that name.
_HISTORY = re.compile(r"(?<!\{)\{history\}(?!\})")
_HISTORY_VARIABLE = "conversation_history_"
Apologise = Callable[[TurnFailed], str]
Begun = TypeVar("Begun", bound="Exchange | None")
Done = TypeVar("Done")


@dataclasses.dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange that was begun: who answers, with what, and the right to write it down."""

    claim: Claim
    runtime: AssistantRuntime
    request: TurnRequest


# --- The beginning --------------------------------------------------------------------------------


def agent_of(
    principal: Principal, dialog: Conversation, links: Links | None = None
) -> AssistantRuntime:
    """The dialog's assistant, as long as the principal may still use it. Raises NotFound."""
    row = dialog.assistant
    if row is None or not row.is_visible_to(principal.user_id, is_operator=principal.is_operator):
        raise NotFound(_("The agent of this dialog is gone."), code="ASSISTANT_NOT_FOUND")
    return runtime_of(row, caller_id=principal.user_id, speaks=False, links=links)


def begin(
    conversation: Conversation,
    runtime: AssistantRuntime,
    *,
    text: str,
    attachments: Sequence[AttachmentRow] = (),
) -> Exchange:
    """Stores the user's words and claims the conversation: a unit of database work.

    Raises Conflict while the conversation is being answered, ProviderError where no model can.
    """
    if runtime.llm is None and runtime.brain is None:
        missing = _("No language model is configured for this assistant.")
        raise ProviderError(missing, is_permanent=True)
    assert runtime.caller_id is not None
    sent = tuple(attachments)
    images = images_of(sent, owner_id=runtime.caller_id)
    claim = _claim(
        NewRun(
            kind=RunKind.CHAT,
            owner_id=runtime.caller_id,
            conversation_id=conversation.pk,
            message=text,
            request=_request_row(text, runtime),
            attachments=sent,
        )
    )
    request = TurnRequest(
        turn=claim.turn,
        text=text,
        history=_history(claim, runtime),
        variables={},
        conversation_id=conversation.pk,
        remote_id=conversation.remote_id,
        documents=documents_of(sent),
        images=images,
    )
    return Exchange(claim, runtime, _with_history_in_prompt(request, runtime))


def _claim(new: NewRun) -> Claim:
    """The claim of this process; that of one which is gone does not stand in its way."""
    worker = processes.this_process()
    try:
        return store.start_claimed(new, worker=worker)
    except Conflict:
        if not sweeper.recover_gone(new.conversation_id):
            raise
    return store.start_claimed(new, worker=worker)


def _history(claim: Claim, runtime: AssistantRuntime) -> tuple[ChatMessage, ...]:
    """What was said before. Another service keeps the history by itself."""
    # A chat begins with its first turn.
    if claim.turn == 1 or runtime.brain is not None:
        return ()
    return load_history(
        claim.conversation_id,
        before_turn=claim.turn,
        context_tokens=context_tokens(runtime.llm),
    )


def _request_row(text: str, runtime: AssistantRuntime) -> RunRequestRow:
    return RunRequestRow(
        message=text,
        images=[],
        run_mode="fast",
        llm_id=runtime.llm.endpoint.row_id if runtime.llm else None,
        max_iterations=MAX_MODEL_CALLS,
        prompt="",
        personalization=None,
        language=runtime.language,
    )


def _with_history_in_prompt(request: TurnRequest, runtime: AssistantRuntime) -> TurnRequest:
    """The same request; a prompt with a place for the earlier turns has them there, as text.

    They get there as a variable, so that nothing in them is taken for one.
    """
    if not _HISTORY.search(runtime.prompt):
        return request
    return dataclasses.replace(
        request,
        history=(),
        system_override=_HISTORY.sub(f"{{{{{_HISTORY_VARIABLE}}}}}", runtime.prompt),
        variables={**request.variables, _HISTORY_VARIABLE: _as_text(request.history)},
    )


def _as_text(history: Sequence[ChatMessage]) -> str:
    speakers = {UserMessage: "User", AssistantMessage: "Assistant"}
    return "\n".join(
        f"{speakers[type(message)]}: {message.text}"
        for message in history
        if type(message) in speakers and message.text
    )


def stop(conversation: Conversation) -> bool:
    """Has the answer that is being written end; whether there was one."""
    active = Run.objects.filter(conversation_id=conversation.pk, status__in=RunStatus.active())
    run = active.first()
    if run is None:
        return False
    store.request_cancel(run)
    return True


# --- The answer -----------------------------------------------------------------------------------


async def claimed(beginning: Coroutine[Any, Any, Begun]) -> Begun:
    """What `begin` returns, which runs off the event loop. Hand it on to `exchange` at once.

    The database finishes what it was asked for, also for an asker who leaves meanwhile: the
    exchange that nobody waits for any more is then ended at once.
    """
    task = _to_its_end(beginning)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        _to_its_end(_end_unread(task))
        raise


async def _end_unread(beginning: asyncio.Task[Begun]) -> None:
    await asyncio.wait([beginning])
    if beginning.cancelled() or beginning.exception() is not None:
        return  # Nothing was begun, and nobody is there to be told why.
    if (begun := beginning.result()) is not None:
        events = exchange(begun)
        await anext(events)
        await events.aclose()


async def exchange(
    begun: Exchange, *, apologise: Apologise = lambda failed: ""
) -> AsyncGenerator[TurnEvent, None]:
    """The events of the answer. Iterate it under `aclosing`.

    `apologise` is what the surface shows behind an answer that failed; it is kept with it.

    Take the first event, a TurnStarted, at once: from then on the generator sees to it that the
    exchange ends, even if nobody goes on reading. Closing or cancelling it closes the model's
    stream and stores what was said as interrupted.
    """
    record = _Record(begun, apologise)
    try:
        yield record.take(TurnStarted(begun.claim.turn))
        async with (
            beating(begun.claim) as guard,
            aclosing(run_turn(begun.request, begun.runtime)) as events,
        ):
            async for event in events:
                if not isinstance(event, TurnStarted):
                    yield record.take(event)
        if guard.is_lost:
            raise LostRun
    except LostRun:
        logger.warning("Run %s was taken over while it was being answered", begun.claim.run_id)
        record.is_lost = True
        yield _failure(_("The connection to the answer was lost."))
    except Exception:  # the outer edge of a chat: its reader is told, the log has the reason
        logger.exception("Run %s failed", begun.claim.run_id)
        yield record.failed(_("Something went wrong on our side."))
    finally:
        await record.finish()


def _failure(message: str) -> TurnFailed:
    return TurnFailed("chat.failed", message, is_retryable=True, usage=Usage())


class _Record:
    """What is kept of an exchange: its events in the log, the answer as messages at the end."""

    def __init__(self, begun: Exchange, apologise: Apologise) -> None:
        self._begun, self._apologise = begun, apologise
        self._collector = Collector()
        self._encoder = TaskEncoder()
        self._log = RunLog(begun.claim, flush_every_s=LOG_EVERY_S)
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._first_text_ms: int | None = None
        self.is_lost = False

    def take(self, event: TurnEvent) -> TurnEvent:
        """Notes the event, and hands it on."""
        self._collector.push(event)
        for each in self._encoder.encode(event):
            self._log.add(each)
        if self._first_text_ms is None and isinstance(event, TextDelta):
            self._first_text_ms = self._elapsed_ms()
        return event

    def failed(self, message: str) -> TurnFailed:
        """Notes that it failed, also where the log takes nothing any more."""
        event = _failure(message)
        self._collector.push(event)
        return event

    async def finish(self) -> None:
        """Ends the run, also while its task is being cancelled."""
        if not self.is_lost:
            await asyncio.shield(_to_its_end(self._finish()))

    async def _finish(self) -> None:
        turn = self._collector.turn
        outcome = outcome_of(turn, before=tuple(self._encoder.close()))
        apology = self._apologise(turn.error) if turn.error else ""
        outcome = dataclasses.replace(
            outcome,
            metrics=self._metrics(),
            apology=apology,
            is_to_be_learnt=self._begun.runtime.remembers and turn.reason == "stop",
        )
        try:
            async with asyncio.timeout(FINISH_WITHIN_S):
                await self._log.finish(outcome)
        except LostRun:
            logger.warning("Run %s was ended by somebody else", self._begun.claim.run_id)
        except (DatabaseFailure, TimeoutError):
            # The sweeper ends it: nobody says any more that it lives.
            logger.exception("Run %s could not be ended", self._begun.claim.run_id)

    def _metrics(self) -> dict[str, int]:
        first = {} if self._first_text_ms is None else {"first_text_ms": self._first_text_ms}
        return {**first, "total_ms": self._elapsed_ms()}

    def _elapsed_ms(self) -> int:
        return round((self._clock() - self._started) * 1000)


async def _end_of_all(tasks: set[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=SHUTDOWN_WAIT_S)


# What is being begun or ended: the loop's shutdown waits for it.
_TASKS: PerLoop[set[asyncio.Task[Any]]] = PerLoop(set, _end_of_all)


def _to_its_end(work: Coroutine[Any, Any, Done]) -> asyncio.Task[Done]:
    """A task that goes on to its end, whoever stops waiting for it."""
    task = asyncio.create_task(work)
    tasks = _TASKS.get()
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task
