"""One call: what the client and the models do becomes events, and what follows from them is done.

All of a call runs on one event loop. `dispatch` is the only writer of its state: it asks the state
machine what an event means and carries out the effects, at once and without awaiting, so that no
event finds the state half changed. Around it run one task that sends, one that keeps house, one for
each utterance being recognised, and at most one reply.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import assert_never

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.utils import timezone
from django.utils.translation import gettext as _

from assistants.runtime import AssistantRuntime
from conversations.events import ToolReturned
from conversations.memory.tasks import remember_after
from conversations.models import CallSource
from core.db import in_db
from core.errors import Unavailable
from core.ids import short_id
from realtime import session
from realtime.admission import (
    OVERLOADED,
    UNAUTHENTICATED,
    Admission,
    Handshake,
    Refused,
    admit,
    check_still_allowed,
)
from realtime.answering import Answer, Answering, ClientDevice, Thread, run_opener_calls
from realtime.ear import Ear
from realtime.events import (
    CLOSE_NORMAL,
    ENDS_REPLY,
    Admitted,
    Begun,
    Close,
    DropUtterance,
    Effect,
    Event,
    FinishSentence,
    FinishUtterance,
    Moment,
    OpenUtterance,
    Plan,
    Record,
    ResolveTool,
    RunOpenerCalls,
    Send,
    StartReply,
    Stopped,
    StopReply,
    ToolAnswered,
    ToolTimedOut,
    WatchTool,
)
from realtime.messages import (
    AudioPlayed,
    ClearInput,
    ClientMessage,
    CommitInput,
    ConfigResolved,
    Heartbeat,
    Hello,
    OutputMode,
    Problem,
    ServerMessage,
    StartSession,
    TextInput,
)
from realtime.overrides import OverrideRefused, overridden
from realtime.player import Player
from realtime.sender import Sender, Wire

logger = logging.getLogger(__name__)

GOING_AWAY = 1001
INTERNAL = 1011
INACTIVE = 4408

HELLO_WAIT_S = 3.0
TICK_S = 1.0
HEARTBEAT_EVERY_S = 50.0
RENEW_EVERY_S = 10.0
RECHECK_EVERY_S = 20.0
CLOSE_WAIT_S = 5.0
MAX_EARLY_MESSAGES = 64
LAST_WORDS_S = 1.0
TEXTS_PER_MINUTE = 60

# The text frame of a message, given its number, the time in milliseconds and the session's id.
Encode = Callable[[ServerMessage, int, int, str], str]

_calls: set[Call] = set()


class _OverError(Exception):
    """The call is over; everything that runs for it ends."""


class Call:
    """A client's connection, from the accepted socket to the closed journal.

    `receive`, `hear`, `complain`, `stop` and `hang_up` never block; `run` is the call.
    """

    def __init__(self, wire: Wire, handshake: Handshake, encode: Encode) -> None:
        self._wire = wire
        self._handshake = handshake
        self._encode = encode
        # Until the call is admitted and has its own.
        self._session_id = short_id()
        self._sender = Sender(wire, self._frame)
        self._state = session.Session()
        self._group = asyncio.TaskGroup()
        self._early: deque[ClientMessage | Problem] = deque()
        self._has_early = asyncio.Event()
        self._over = asyncio.Event()
        self._admission: Admission | None = None
        self._shared: Answering | None = None
        self._device = ClientDevice()
        self._ear: Ear | None = None
        self._has_refused_audio = False
        self._has_refused_early_audio = False
        self._interruption_ms = 0
        self._answer: Answer | None = None
        self._answer_task: asyncio.Task[None] | None = None
        self._adopted: set[asyncio.Task[ToolReturned]] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._active_at = time.monotonic()
        self._failure: Problem | None = None
        self._has_sent_all = False
        self._texts: deque[float] = deque(maxlen=TEXTS_PER_MINUTE)
        self.ended = asyncio.Event()

    # --- what the socket brings ------------------------------------------------------------------
    def receive(self, message: ClientMessage) -> None:
        """Takes a message of the client."""
        self._active_at = time.monotonic()
        if self._state.phase != "connecting":
            self._take(message)
        else:
            self._put_off(message)

    def hear(self, pcm: bytes) -> None:
        """Takes an audio frame of whole 20 ms."""
        self._active_at = time.monotonic()
        if not self._state.is_started:
            # Said once: a client that streams too early sends fifty frames a second.
            if not self._has_refused_early_audio:
                self._has_refused_early_audio = True
                message = _("Audio may be sent after session.started.")
                self.complain(Problem("protocol.order", message, "protocol"))
        elif self._ear is not None:
            self._ear.hear(pcm)
        elif not self._has_refused_audio:
            self._has_refused_audio = True
            message = _("The assistant has no speech recogniser; it can be written to.")
            self.complain(Problem("asr.failed", message, "asr"))

    def complain(self, problem: Problem) -> None:
        """Tells the client what of its messages cannot be used."""
        self._active_at = time.monotonic()
        if self._state.phase == "connecting":
            self._put_off(problem)
        elif self._state.phase != "closed":
            self._sender.send(problem)

    def _put_off(self, item: ClientMessage | Problem) -> None:
        """Keeps what comes before it is known who calls; of too much, the rest is dropped."""
        if len(self._early) < MAX_EARLY_MESSAGES:
            self._early.append(item)
            self._has_early.set()

    def stop(self, reason: str, close_code: int, problem: Problem | None = None) -> None:
        """Ends the session from this side."""
        self.dispatch(Stopped(reason, close_code, problem))

    def hang_up(self) -> None:
        """The client is gone."""
        self.stop("disconnected", CLOSE_NORMAL)
        self._has_early.set()
        self._over.set()

    # --- the life of a call ----------------------------------------------------------------------
    async def run(self) -> None:
        """The whole call. Returns when the socket is closed and everything is written down."""
        _calls.add(self)
        try:
            async with self._group as group:
                group.create_task(self._send())
                await self._enter()
                await self._over.wait()
                raise _OverError
        except* _OverError:
            if self._sender.is_stuck:
                await self._close_wire()
        except* Exception:
            # The outer edge of a call.
            logger.exception("a call failed")
            self._fail()
            await self._send_rest()
        finally:
            await self._clean_up()
            _calls.discard(self)
            self.ended.set()

    async def _send(self) -> None:
        try:
            await self._sender.run()
            self._has_sent_all = True
        finally:
            self._over.set()

    async def _send_rest(self) -> None:
        """Says why the call failed, and closes the socket, now that the sending task is gone."""
        if self._has_sent_all:
            return
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._sender.run()
        except TimeoutError:
            await self._close_wire()

    async def _enter(self) -> None:
        try:
            admission = await admit(self._handshake, self._first_message)
        except Refused as refused:
            self.stop(refused.problem.code, refused.close_code, refused.problem)
            return
        self._admission = admission
        self._session_id = admission.journal.id
        self.dispatch(Admitted())
        while self._early:
            item = self._early.popleft()
            if isinstance(item, Problem):
                self.complain(item)
            else:
                self._take(item)
        self._group.create_task(self._keep_house(admission))

    async def _first_message(self) -> ClientMessage | None:
        try:
            async with asyncio.timeout(HELLO_WAIT_S):
                await self._has_early.wait()
        except TimeoutError:
            return None
        first = self._early[0] if self._early else None
        return None if isinstance(first, Problem) else first

    async def _keep_house(self, admission: Admission) -> None:
        beat_at = renew_at = recheck_at = time.monotonic()
        while True:
            await asyncio.sleep(min(TICK_S, settings.VOICE_INACTIVITY_S / 4))
            now = time.monotonic()
            if self._ear is not None:
                self._ear.end_stalled_turn()
            if self._sender.is_stuck:
                self.hang_up()
            if self._state.reply is not None:
                self._active_at = now
            if now - self._active_at > settings.VOICE_INACTIVITY_S:
                self.stop("inactivity", INACTIVE)
            if now - beat_at >= HEARTBEAT_EVERY_S:
                beat_at = now
                self._sender.send(Heartbeat())
            if now - renew_at >= RENEW_EVERY_S:
                renew_at = now
                await admission.slot.renew()
            if now - recheck_at >= RECHECK_EVERY_S:
                recheck_at = now
                await self._check_rights()

    async def _check_rights(self) -> None:
        admission = self._admission
        if admission is None:
            return
        try:
            caller = await in_db(check_still_allowed, admission.caller, admission.runtime.id)
            self._admission = dataclasses.replace(admission, caller=caller)
        except Refused as refused:
            self.stop(refused.problem.code, refused.close_code, refused.problem)
        except DatabaseFailure as error:
            logger.warning("the rights of a call could not be checked: %s", error)

    async def _close_wire(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self._wire.close(INTERNAL)
        except (OSError, RuntimeError) as error:
            logger.debug("the socket cannot be closed in order: %s", error)

    async def _clean_up(self) -> None:
        self.stop("disconnected", CLOSE_NORMAL)
        for timer in self._timers:
            timer.cancel()
        for task in self._adopted:
            task.cancel()
        await asyncio.gather(*self._adopted, return_exceptions=True)
        if self._ear is not None:
            self._ear.close()
        if self._admission is not None:
            failure = self._failure
            try:
                await self._admission.journal.close(
                    error_code=failure.code if failure else "",
                    error_message=failure.message if failure else "",
                )
                await self._remember(self._admission)
            finally:
                await self._admission.slot.release()

    async def _remember(self, admission: Admission) -> None:
        """Has a worker look for what is worth remembering of the whole call."""
        if admission.runtime.remembers:
            await in_db(remember_after, admission.journal.id)

    # --- messages --------------------------------------------------------------------------------
    def _take(self, message: ClientMessage) -> None:
        match message:
            case StartSession():
                self._start(message)
            case AudioPlayed(turn, played_ms):
                self._report(turn, played_ms)
            case CommitInput() if self._ear is not None:
                self._ear.commit()
            case TextInput() if self._is_flooded():
                text = _("Too many messages; wait a moment.")
                self.complain(Problem("rate_limit.turns", text, "protocol", is_retryable=True))
            case ClearInput():
                self.dispatch(message)
                if self._ear is not None:
                    self._ear.clear()
            case Hello() if self._handshake.disagrees_with(message):
                text = _("The handshake and hello name different credentials.")
                problem = Problem("auth.invalid_api_key", text, "protocol")
                self.stop(problem.code, UNAUTHENTICATED, problem)
            case _:
                self.dispatch(message)

    def _is_flooded(self) -> bool:
        """Counts a text, each of which starts a model: whether it is one too many in a minute."""
        now, texts = time.monotonic(), self._texts
        if len(texts) == TEXTS_PER_MINUTE and now - texts[0] < 60:
            return True
        texts.append(now)
        return False

    def _report(self, turn: int | None, played_ms: float | None) -> None:
        reply = self._state.reply
        if reply is None or reply.turn != turn or played_ms is None or self._answer is None:
            return
        if self._answer.player is not None:
            self._answer.player.report(played_ms)

    def _start(self, start: StartSession) -> None:
        admission = self._admission
        if self._state.phase != "ready" or admission is None:
            self.dispatch(Begun(Plan()))
            return
        try:
            runtime = overridden(
                admission.runtime, start.overrides, is_stranger=admission.caller.principal is None
            )
        except OverrideRefused as refused:
            self.complain(Problem("protocol.invalid_override", refused.message, "protocol"))
            return
        try:
            self._ear = self._make_ear(runtime)
        except Unavailable as error:
            problem = Problem(
                "rate_limit.connections", str(error.message), "protocol", is_retryable=True
            )
            self.stop(problem.code, OVERLOADED, problem)
            return
        self._shared = Answering(
            runtime=runtime,
            voice=runtime.voice if runtime.voice_output else None,
            variables=start.variables,
            dispatch=self.dispatch,
            device=self._device,
            adopt=self._adopt,
            speaks_prompts="spoken_prompts" in start.capabilities,
            thread=Thread(admission.journal.id, admission.journal.linked),
            quiet=self._quiet,
        )
        self._interruption_ms = runtime.turn_taking.interruption_ms
        admission.journal.started(
            source=CallSource.DEBUG if start.is_debug else CallSource.EXTERNAL,
            metadata=_metadata(start),
        )
        self.dispatch(Begun(_plan(runtime, start)))

    def _make_ear(self, runtime: AssistantRuntime) -> Ear | None:
        if runtime.recogniser is None:
            return None
        return Ear(
            runtime.recogniser,
            end_of_turn_silence_ms=runtime.turn_taking.end_of_turn_silence_ms,
            sends_partials=runtime.turn_taking.interim_transcripts,
            dispatch=self.dispatch,
            wants_sustained=self._wants_sustained,
            spawn=self._group.create_task,
        )

    def _wants_sustained(self, voiced_ms: int) -> bool:
        return self._state.phase == "speaking" and voiced_ms >= self._interruption_ms

    # --- events and effects ----------------------------------------------------------------------
    def dispatch(self, event: Event) -> None:
        """Says what happened; the state is changed and the effects are carried out on return."""
        try:
            self._state, effects = session.step(self._state, event, self._moment(event))
            for effect in effects:
                self._carry_out(effect)
        except Exception:
            logger.exception("a call failed at %s", type(event).__name__)
            self._fail()

    def _fail(self) -> None:
        """Ends the call without asking a state machine that may be what failed."""
        self._failure = Problem("internal", _("Something went wrong."), "protocol")
        self._state = session.Session(phase="closed")
        if self._answer_task is not None:
            self._answer_task.cancel()
        self._sender.send(self._failure)
        self._sender.close(INTERNAL)

    def _moment(self, event: Event) -> Moment:
        heard_ms, heard_text = 0, ""
        player = self._answer.player if self._answer is not None else None
        if player is not None and isinstance(event, ENDS_REPLY):
            heard_ms, heard_text = player.heard()
        is_sounding = player is not None and player.is_sounding
        return Moment(time.monotonic() * 1000, timezone.now(), heard_text, heard_ms, is_sounding)

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Send(message):
                self._sender.send(message)
            case StartReply():
                self._start_reply(effect)
            case StopReply(turn):
                self._stop_reply(turn)
            case FinishSentence() if self._answer is not None:
                self._answer.finish_sentence()
            case OpenUtterance(utterance) if self._ear is not None:
                self._ear.open(utterance)
            case FinishUtterance(utterance) if self._ear is not None:
                self._ear.finish(utterance)
            case DropUtterance(utterance) if self._ear is not None:
                self._ear.drop(utterance)
            case RunOpenerCalls() if self._shared is not None:
                self._group.create_task(run_opener_calls(self._shared))
            case ResolveTool(result):
                self._device.resolve(result)
            case WatchTool(call_id, timeout_ms):
                self._call_later(timeout_ms / 1000, lambda: self.dispatch(ToolTimedOut(call_id)))
            case Record(entry) if self._admission is not None:
                self._admission.journal.record(entry)
            case Close(code, problem):
                self._failure = problem
                self._sender.close(code)
                self._call_later(CLOSE_WAIT_S, self._over.set)
            case (
                FinishSentence()
                | OpenUtterance()
                | FinishUtterance()
                | DropUtterance()
                | RunOpenerCalls()
                | Record()
            ):
                raise RuntimeError(f"{type(effect).__name__} before the session started")
            case _:
                assert_never(effect)

    def _start_reply(self, start: StartReply) -> None:
        shared = self._shared
        if shared is None:
            raise RuntimeError("a reply before the session started")
        player = None
        if shared.voice is not None:
            player = Player(start.turn, self._sender, self.dispatch, self._may_sound)
        self._answer = Answer(shared, start, player)
        self._answer_task = self._group.create_task(self._answer.run())

    def _stop_reply(self, turn: int) -> None:
        if self._answer is not None and self._answer.player is not None:
            self._answer.player.stop()
        self._sender.drop_audio(turn)
        if self._answer_task is not None:
            self._answer_task.cancel()

    async def _quiet(self) -> None:
        """Waits until the reply that runs now, if any, is over."""
        if self._answer_task is not None:
            await asyncio.wait({self._answer_task})

    def _may_sound(self, turn: int) -> bool:
        return self._state.may_sound(turn)

    def _adopt(self, task: asyncio.Task[ToolReturned]) -> None:
        """Keeps a tool running whose reply was interrupted; its result still counts."""
        self._adopted.add(task)
        task.add_done_callback(self._take_adopted)

    def _take_adopted(self, task: asyncio.Task[ToolReturned]) -> None:
        self._adopted.discard(task)
        if not task.cancelled() and task.exception() is None:
            self.dispatch(ToolAnswered(task.result()))

    def _call_later(self, delay_s: float, callback: Callable[[], object]) -> None:
        now = asyncio.get_running_loop().time()
        self._timers = [timer for timer in self._timers if timer.when() > now]
        self._timers.append(asyncio.get_running_loop().call_later(delay_s, callback))

    def _frame(self, message: ServerMessage, seq: int) -> str:
        return self._encode(message, seq, int(time.time() * 1000), self._session_id)


async def close_all(within_s: float = CLOSE_WAIT_S) -> None:
    """Ends all calls of this process with "going away", and waits until they are written down."""
    for call in list(_calls):
        call.stop("server_shutdown", GOING_AWAY)
    try:
        async with asyncio.timeout(within_s):
            for call in list(_calls):
                await call.ended.wait()
    except TimeoutError:
        logger.warning("%d calls did not end in time", len(_calls))


def _plan(runtime: AssistantRuntime, start: StartSession) -> Plan:
    output: OutputMode = "audio" if runtime.voice is not None and runtime.voice_output else "text"
    speaks_first = runtime.first_turn == "bot_first"
    config = ConfigResolved(start.channel, output, len(runtime.tools)) if start.is_debug else None
    return Plan(
        output=output,
        can_be_interrupted=runtime.turn_taking.can_be_interrupted,
        has_opener=speaks_first and (runtime.generates_opener or bool(runtime.opener.strip())),
        has_opener_calls=(
            speaks_first and not runtime.generates_opener and bool(runtime.opener_tool_calls)
        ),
        language=runtime.language,
        config=config,
    )


def _metadata(start: StartSession) -> dict[str, str]:
    known = {
        "channel": start.channel,
        "source": start.source,
        "external_user_id": start.external_user_id,
    }
    return {name: value for name, value in known.items() if value}
