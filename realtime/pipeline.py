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
from collections.abc import Callable, Sequence
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
from realtime import neighbours, session
from realtime.admission import (
    GOING_AWAY,
    OVERLOADED,
    REPLACED,
    UNAUTHENTICATED,
    Admission,
    Caller,
    Guest,
    Handshake,
    Refused,
    Whose,
    admit,
    check_still_allowed,
    recognise,
    resume_expired,
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
from realtime.line import Line, close_socket
from realtime.lobby import Lobby
from realtime.messages import (
    AudioPlayed,
    BadMessage,
    ClearInput,
    ClientMessage,
    CommitInput,
    Heartbeat,
    Hello,
    Problem,
    ResumeSession,
    ServerMessage,
    SoundPosition,
    StartSession,
    TextInput,
)
from realtime.overrides import OverrideRefused, overridden
from realtime.player import Player
from realtime.relay import Handover, Relay
from realtime.sender import Wire
from realtime.setup import metadata_of, plan_of

logger = logging.getLogger(__name__)

INTERNAL = 1011
INACTIVE = 4408

HELLO_WAIT_S = 3.0
TICK_S = 1.0
HEARTBEAT_EVERY_S = 50.0
RENEW_EVERY_S = 10.0
RECHECK_EVERY_S = 20.0
CLOSE_WAIT_S = 5.0
# Lost clients of one process. Beyond it, who is lost is gone; each may hold up to 2 MB.
MAX_LOST = 64
LAST_WORDS_S = 1.0
TEXTS_PER_MINUTE = 60

# The text frame of a message, given its number, the time in milliseconds and the session's id.
Encode = Callable[[ServerMessage, int, int, str], str]

_calls: set[Call] = set()


class _OverError(Exception):
    """The call is over; everything that runs for it ends."""


class Call:
    """A client's connection, from the accepted socket to the closed journal.

    `receive`, `hear`, `complain`, `stop`, `leave` and `hang_up` never block; `run` is the call.

    A client that asked for it may lose its socket and come back by another: whatever is sent in
    between is kept, sound stands still, and all else goes on. `resumed` is the call that the client
    of this socket goes on with, if it is not this one; `relay`, where that call is in another
    process: whatever else the socket brings is for it, and when `run` returns, it is to be run.
    """

    def __init__(self, wire: Wire, handshake: Handshake, encode: Encode) -> None:
        self._handshake = handshake
        self._encode = encode
        # Until the call is admitted and has its own.
        self._session_id = short_id()
        self._line = Line(wire, self._frame)
        self._sender = self._line.sender
        self._sending: asyncio.Task[None] | None = None
        self.resumed: Call | None = None
        self.relay: Relay | None = None
        self._state = session.Session()
        self._group = asyncio.TaskGroup()
        self._lobby = Lobby()
        self._over = asyncio.Event()
        self._admission: Admission | None = None
        self._metadata: dict[str, str] = {}
        self._resumed_count = 0
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
    def is_at(self, wire: Wire) -> bool:
        """Whether this is the socket that the client is at; what comes by an older one is late.

        The client has been told that it did not come, and says it again here.
        """
        return wire is self._line.wire

    def receive(self, message: ClientMessage) -> None:
        """Takes a message of the client."""
        self._active_at = time.monotonic()
        self._line.confirm()
        if self._state.phase != "connecting":
            self._take(message)
            return
        if isinstance(message, ResumeSession) and self._lobby.is_empty:
            home = neighbours.home_of(message.token)
            self.relay = Relay(self._line.wire, home) if home is not None else None
        self._lobby.put(message)

    def hear(self, pcm: bytes) -> None:
        """Takes an audio frame of whole 20 ms."""
        self._active_at = time.monotonic()
        self._line.confirm()
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
        """Tells the client what of its sound cannot be used, or of what it asks for."""
        self._active_at = time.monotonic()
        self._line.confirm()
        if self._state.phase == "connecting":
            self._lobby.put(problem)
        else:
            self._answer_with(problem)

    def stop(self, reason: str, close_code: int, problem: Problem | None = None) -> None:
        """Ends the session from this side."""
        self.dispatch(Stopped(reason, close_code, problem))

    def leave(self, wire: Wire, *, may_return: bool) -> None:
        """The socket is gone; the client may come back by another, unless it closed this one."""
        if not self.is_at(wire):
            return  # another has its place
        if may_return and self._can_return:
            self._lose()
        else:
            self.hang_up()

    def hang_up(self) -> None:
        """The client is gone for good."""
        self.stop("disconnected", CLOSE_NORMAL)
        self._lobby.close()
        self._over.set()

    # --- the life of a call ----------------------------------------------------------------------
    async def run(self) -> None:
        """The whole call. Returns when the socket is closed and everything is written down."""
        _calls.add(self)
        try:
            async with self._group as group:
                self._sending = group.create_task(self._send())
                await self._enter()
                await self._over.wait()
                raise _OverError
        except* _OverError:
            if self._sender.is_stuck:
                await close_socket(self._line.wire, INTERNAL)
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
        await self._sender.run()
        if self._can_return:
            self._lose()
        else:
            self._has_sent_all = True
            self._over.set()

    async def _send_rest(self) -> None:
        """Says why the call failed, and closes the socket, now that the sending task is gone."""
        if self._has_sent_all:
            return
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._sender.run()
        except TimeoutError:
            await close_socket(self._line.wire, INTERNAL)

    async def _enter(self) -> None:
        try:
            guest = await recognise(self._handshake, self._first_message)
            if (resume := await self._asked_to_resume(guest)) is not None:
                await self._go_on(guest, resume)
                return
            admission = await admit(guest)
        except Refused as refused:
            self._refuse(refused)
            return
        self._admission = admission
        self._session_id = admission.journal.id
        self.dispatch(Admitted())
        self._hand_over(self._lobby.take_all())
        self._group.create_task(self._keep_house(admission))

    def _refuse(self, refused: Refused) -> None:
        self.stop(refused.problem.code, refused.close_code, refused.problem)

    def _hand_over(self, items: Sequence[ClientMessage | Problem]) -> None:
        """Takes what came before it was known who calls."""
        for item in items:
            if isinstance(item, Problem):
                self._answer_with(item)
            else:
                self._take(item)

    def _answer_with(self, problem: Problem) -> None:
        if self._state.phase != "closed":
            self._sender.send(problem)

    async def _first_message(self) -> ClientMessage | None:
        return await self._lobby.first(HELLO_WAIT_S)

    # --- a client that comes back ----------------------------------------------------------------
    @property
    def _can_return(self) -> bool:
        """Whether the client may lose its socket now."""
        if not self._line.is_offered or not self._state.is_started:
            return False
        return self._line.is_lost or sum(call._line.is_lost for call in _calls) < MAX_LOST

    def _lose(self) -> None:
        """The socket is lost: from now on the session waits for its client."""
        if self._line.is_lost:
            return
        if self._player is not None:
            self._player.hold()
        if self._sending is not None:
            self._sending.cancel()
        self._line.lose(time.monotonic())

    async def _asked_to_resume(self, guest: Guest) -> ResumeSession | None:
        """The client's wish to go on with a session.

        Waits for its first message where there is a session that it might mean: it is not to need
        another slot, nor to leave a record of a call that was none.
        """
        whose = guest.whose
        may_mean_one = any(call._line.is_for(whose) for call in _calls)
        if self._lobby.is_empty and not may_mean_one and not neighbours.may_have(whose):
            return None
        first = await self._first_message()
        return first if isinstance(first, ResumeSession) else None

    def _is_meant_by(self, whose: Whose, resume: ResumeSession) -> bool:
        is_alive = self._state.is_started and self._session_id == resume.session_id
        return is_alive and self._line.admits(whose, resume, time.monotonic())

    async def _go_on(self, guest: Guest, resume: ResumeSession) -> None:
        """Leaves the socket to the call that its client means. Raises Refused."""
        if self.relay is None:
            self._go_on_with(call_to_resume(guest.whose, resume), guest, resume)
            return
        language = self._handshake.language
        principal = guest.caller.principal
        await self.relay.open(Handover(guest.runtime.id, principal, resume, language))
        if self._state.phase == "closed":
            self.relay.end()
        self._over.set()

    def _go_on_with(self, call: Call, guest: Guest, resume: ResumeSession) -> None:
        if not self._over.is_set():
            call.take_over(self._line.wire, guest.caller, resume)
            self.resumed = call
            _resume, *rest = self._lobby.take_all()
            call._hand_over(rest)
            self._over.set()

    def take_over(self, wire: Wire, caller: Caller, resume: ResumeSession) -> None:
        """Goes on at this socket, whose client has been found to be the one of this call."""
        if not self._line.is_lost:
            old_wire = self._line.wire
            self._lose()
            self._group.create_task(close_socket(old_wire, REPLACED))
        if self._admission is not None:
            # What is checked from now on is what the caller showed last.
            self._admission = dataclasses.replace(self._admission, caller=caller)
            self._resumed_count += 1
            self._admission.journal.noted({**self._metadata, "resumed": self._resumed_count})
        self._active_at = time.monotonic()
        self._line.find(wire, resume, self._sound_position())
        self._sending = self._group.create_task(self._send())
        if self._player is not None:
            self._player.go_on()

    def _sound_position(self) -> SoundPosition | None:
        reply, player = self._state.reply, self._player
        if reply is None or player is None or player.position_ms is None:
            return None
        return SoundPosition(reply.turn, player.position_ms)

    # --- housekeeping ----------------------------------------------------------------------------
    async def _keep_house(self, admission: Admission) -> None:
        beat_at = renew_at = recheck_at = time.monotonic()
        # Redis's client loses a cancellation that comes while it writes (wait_for of Python 3.11).
        while not _is_cancelled():
            await asyncio.sleep(min(TICK_S, settings.VOICE_INACTIVITY_S / 4))
            now = time.monotonic()
            if self._ear is not None:
                self._ear.end_stalled_turn()
            self._look_after_client(now)
            if now - beat_at >= HEARTBEAT_EVERY_S and not self._line.is_lost:
                beat_at = now
                self._sender.send(Heartbeat(self._line.received))
            if now - renew_at >= RENEW_EVERY_S:
                renew_at = now
                await admission.slot.renew()
            if now - recheck_at >= RECHECK_EVERY_S:
                recheck_at = now
                await self._check_rights()

    def _look_after_client(self, now: float) -> None:
        """Ends the call of a client that is gone, or says nothing."""
        if self._line.is_lost:
            if self._line.is_given_up(now):
                self.hang_up()
            return
        if self._sender.is_stuck and self._can_return:
            self._group.create_task(close_socket(self._line.wire, INTERNAL))
            self._lose()
        elif self._sender.is_stuck:
            self.hang_up()
        if self._state.reply is not None:
            self._active_at = now
        if now - self._active_at > settings.VOICE_INACTIVITY_S:
            self.stop("inactivity", INACTIVE)

    async def _check_rights(self) -> None:
        admission = self._admission
        if admission is None:
            return
        try:
            caller = await in_db(check_still_allowed, admission.caller, admission.runtime.id)
            if self._admission is admission:  # nobody came back meanwhile
                self._admission = dataclasses.replace(admission, caller=caller)
        except Refused as refused:
            if self._admission is admission:
                self._refuse(refused)
        except DatabaseFailure as error:
            logger.warning("the rights of a call could not be checked: %s", error)

    async def _clean_up(self) -> None:
        self.stop("disconnected", CLOSE_NORMAL)
        self._line.withdraw()
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
        self._line.count()
        match message:
            case StartSession():
                self._start(message)
            case AudioPlayed(turn, played_ms):
                self._report(turn, played_ms)
            case ResumeSession() if self._state.phase == "ready":
                self._refuse(resume_expired())
            case BadMessage(problem):
                self._answer_with(problem)
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
        if reply is None or reply.turn != turn or played_ms is None or self._player is None:
            return
        self._player.report(played_ms)

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
        self._metadata = metadata_of(start)
        admission.journal.started(
            source=CallSource.DEBUG if start.is_debug else CallSource.EXTERNAL,
            metadata=self._metadata,
        )
        offer = None
        if "resume" in start.capabilities:
            offer = self._line.offer(Whose.of(admission.runtime.id, admission.caller))
        self.dispatch(Begun(plan_of(runtime, start, offer)))

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
        self._close(INTERNAL)

    def _close(self, code: int) -> None:
        """Closes the socket after what waits for it, which may not take for ever."""
        self._sender.close(code)
        if self._line.is_lost:
            self._over.set()
        else:
            self._call_later(CLOSE_WAIT_S, self._over.set)

    def _moment(self, event: Event) -> Moment:
        heard_ms, heard_text = 0, ""
        player = self._player
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
                self._close(code)
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
            player = Player(
                start.turn,
                self._sender,
                self.dispatch,
                self._may_sound,
                can_rewind=self._line.is_offered,
            )
            if self._line.is_lost:
                player.hold()
        self._answer = Answer(shared, start, player)
        self._answer_task = self._group.create_task(self._answer.run())

    @property
    def _player(self) -> Player | None:
        """The voice of the last reply."""
        return self._answer.player if self._answer is not None else None

    def _stop_reply(self, turn: int) -> None:
        if self._player is not None:
            self._player.stop()
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


def call_to_resume(whose: Whose, resume: ResumeSession) -> Call:
    """The call of this process that the client means. Raises Refused."""
    for call in _calls:
        if call._is_meant_by(whose, resume):
            return call
    raise resume_expired()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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
