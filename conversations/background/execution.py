"""One task, from its claim to its last event."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing, asynccontextmanager

from django.db import Error as DatabaseFailure
from django.db.models import Sum
from django.utils import translation
from django.utils.translation import gettext as _

from assistants.runtime import AssistantRuntime
from conversations.background.setup import TaskSetup, prepare
from conversations.encoders.tasks import TaskEncoder, failed, outcome_of
from conversations.encoding import Collector, Turn
from conversations.events import TextDelta, ToolCalled, TurnEvent, TurnStarted
from conversations.files.tools import AgentTools
from conversations.models import Message, RunStatus
from conversations.runs import store
from conversations.runs.log import LostRun, RunLog
from conversations.runs.pulse import beating
from conversations.runs.recovery import restarted
from conversations.runs.side_effects import has_side_effects
from conversations.runs.types import Claim, NewEvent, Outcome
from conversations.titles import make_title, store_title
from conversations.turn import run_turn
from core.db import in_db
from core.errors import AppError
from providers.types import Usage

logger = logging.getLogger(__name__)

# For a title that is not there yet when the answer is.
TITLE_WITHIN_S = 5.0
# A task is handed on at every orderly restart; a task that brings workers down is not.
MOST_ATTEMPTS = 10
LEAVE_WITHIN_S = 4.0


async def execute(claim: Claim) -> None:
    """Carries out the task and ends it, whatever happens; raises nothing but its cancellation.

    Cancelled means that the process stops: the task is handed on to another, or ends.
    """
    with translation.override(claim.request["language"]):
        execution = _Execution(claim)
        try:
            await execution.run()
        except LostRun:
            logger.warning("Task %s was taken over", claim.run_id)
        except asyncio.CancelledError:
            await _concluded(claim, execution.leave())
            raise
        except AppError as error:
            await _concluded(claim, execution.fail(error.error_code, error.message))
        except Exception:  # the outer edge of a task: its user is told, the log has the reason
            logger.exception("Task %s failed", claim.run_id)
            message = _("Something went wrong on our side.")
            await _concluded(claim, execution.fail("internal", message))


async def _concluded(claim: Claim, ending: Awaitable[None]) -> None:
    """Awaits the end of a task; what goes wrong is left to the sweeper."""
    try:
        await ending
    except LostRun:
        logger.warning("Task %s was taken over", claim.run_id)
    except (DatabaseFailure, TimeoutError):
        logger.exception("Task %s could not be ended", claim.run_id)


class _Execution:
    """A task under way: what happens goes into its log, and all of it makes the outcome."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._log = RunLog(claim)
        self._collector = Collector()
        self._encoder = TaskEncoder()
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._metrics: dict[str, int] = {}
        # Beside what the answer took.
        self._spent_on_title: list[Usage] = []

    async def run(self) -> None:
        """Answers, and ends the run. Raises LostRun where it is somebody else's by now."""
        remembers = False
        # Readers see that it has begun while what it needs is read.
        self._take(TurnStarted(self._claim.turn))
        async with beating(self._claim) as guard:
            setup, before = await in_db(_prepared, self._claim)
            remembers = setup.runtime.remembers
            # What an earlier attempt called its calls is not said again.
            mark = str(self._claim.attempt) if self._claim.attempt > 1 else ""
            self._encoder = TaskEncoder(before=before, mark=mark)
            async with self._titling(setup) as title:
                await self._answer(setup)
                await asyncio.wait([title], timeout=TITLE_WITHIN_S)
        if guard.is_lost:
            raise LostRun
        outcome = outcome_of(self._collector.turn, before=self._encoder.close())
        is_to_be_learnt = remembers and outcome.status == RunStatus.SUCCEEDED
        await self._finish(dataclasses.replace(outcome, is_to_be_learnt=is_to_be_learnt))

    async def leave(self) -> None:
        """Hands the task on to another worker, if it may begin anew; else it ends."""
        async with asyncio.timeout(LEAVE_WITHIN_S):
            await self._log.flush()
            turn = self._collector.turn
            if turn.reason != "interrupted":
                # All is said; only a title may be missing.
                await self._finish(outcome_of(turn, before=self._encoder.close()))
                return
            events = restarted(has_said=bool(turn.text or turn.thinking or turn.tool_calls))
            is_handed_on = await in_db(
                store.give_back,
                self._claim,
                events,
                most_attempts=MOST_ATTEMPTS,
                spent=self._with_title(turn).usage,
            )
            if is_handed_on:
                return
            stands = await in_db(store.append, self._claim, ())
            if stands is None:
                raise LostRun
            if stands.is_cancel_requested:
                await self._finish(outcome_of(turn, before=self._encoder.close()))
                return
            message = _("The server was stopped while it worked on the task.")
            await self.fail("worker_stopped", message)

    async def fail(self, code: str, message: str) -> None:
        """Ends the task with an error; what was answered by then is kept."""
        before = self._encoder.close()
        turn = self._collector.turn
        await self._finish(failed(message, code=code, turn=turn, before=before))

    async def _finish(self, outcome: Outcome) -> None:
        metrics = {**self._metrics, "total_ms": self._elapsed_ms()}
        turn = outcome.turn and self._with_title(outcome.turn)
        await self._log.finish(dataclasses.replace(outcome, turn=turn, metrics=metrics))

    def _with_title(self, turn: Turn) -> Turn:
        """The turn with what its title took, which the sums of its conversation and owner hold."""
        return dataclasses.replace(turn, usage=sum(self._spent_on_title, turn.usage))

    async def _answer(self, setup: TaskSetup) -> None:
        runtime = setup.runtime
        tools = AgentTools(
            setup.folder,
            self._claim.conversation_id,
            self._log.add,
            language=runtime.language,
            without=setup.disabled_tools,
        )
        async with aclosing(run_turn(setup.request, runtime, own_tools=tools)) as events:
            async for event in events:
                if isinstance(event, TurnStarted):
                    continue
                self._take(event)
                # Before it is taken up again, no tool runs.
                if isinstance(event, ToolCalled) and _may_change(event.name, tools, runtime):
                    await self._log.acting()

    def _take(self, event: TurnEvent) -> None:
        if isinstance(event, TextDelta):
            self._metrics.setdefault("first_text_ms", self._elapsed_ms())
        self._collector.push(event)
        for each in self._encoder.encode(event):
            self._log.add(each)

    @asynccontextmanager
    async def _titling(self, setup: TaskSetup) -> AsyncGenerator[asyncio.Task[None], None]:
        """Finds a title meanwhile; it is given up with the context."""
        task = asyncio.create_task(self._title(setup))
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _title(self, setup: TaskSetup) -> None:
        if not setup.wants_title:
            return
        conversation_id = self._claim.conversation_id
        try:
            title = await make_title(setup.runtime, setup.request.text, self._spent_on_title)
            is_stored = await in_db(store_title, conversation_id, title)
            if is_stored:
                data = {"conversation_id": conversation_id, "title": title}
                self._log.add(NewEvent("conversation_changed", data))
        except LostRun:
            return  # The answer hears of it by itself.
        except Exception:  # the outer edge of this work: a title is not worth a task
            logger.exception("Task %s gets no title", self._claim.run_id)

    def _elapsed_ms(self) -> int:
        return round((self._clock() - self._started) * 1000)


def _may_change(name: str, tools: AgentTools, runtime: AssistantRuntime) -> bool:
    """Whether a call of this tool may change something beyond the run."""
    if any(spec.id == name for spec in tools.specs):
        return tools.has_side_effects(name)
    return any(spec.id == name and has_side_effects(spec) for spec in runtime.tools)


def _prepared(claim: Claim) -> tuple[TaskSetup, Usage]:
    """What the task needs, and the tokens that its conversation and earlier attempts took."""
    taken = Message.objects.filter(conversation_id=claim.conversation_id).aggregate(
        input_tokens=Sum("input_tokens", default=0), output_tokens=Sum("output_tokens", default=0)
    )
    return prepare(claim), Usage(**taken) + store.spent_before(claim)
