"""What a call does next: a pure state machine.

`step(session, event, moment)` gives the next session and the effects to carry out. It awaits
nothing and reads no clock: the time, and what the listener has heard, come with the event.
`TRANSITIONS` says which event means what in which phase; what is not in it has no meaning there.

    connecting → ready → listening ⇄ user_speaking → thinking → speaking → listening
                                                                any of them → closed

Turns are counted; everything that belongs to a reply carries its turn's number, and what comes from
a turn that is no longer the live one is dropped by comparing numbers. There is at most one live
reply, and each one ends once: final, interrupted or failed.

While a reply waits for a choice, what the user says does not interrupt it: it may be the choice.
Words that are not are a turn like any other, answered by the model, which alone knows what "how
much is the second one?" is about; the choice stays open meanwhile. Chosen after its reply is gone,
an option is what the user says next.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from django.utils.translation import gettext as _

from conversations import history
from conversations.events import Executor, ToolReturned
from conversations.types import MessageEntry
from providers.types import Usage
from realtime import choices, messages
from realtime.choices import Choice, Option
from realtime.events import (
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
    PartlyTranscribed,
    Plan,
    RecognitionFailed,
    Record,
    ReplyDone,
    ResolveTool,
    RunOpenerCalls,
    Searched,
    SegmentBegun,
    Send,
    SpeechStarted,
    SpeechStopped,
    SpeechSustained,
    StartReply,
    Stopped,
    StopReply,
    TextMade,
    ToolAnswered,
    ToolAsked,
    ToolTimedOut,
    Transcribed,
    TurnEnded,
    VoiceBegun,
    VoiceFailed,
    VoiceSent,
    WatchTool,
)
from realtime.messages import (
    CancelResponse,
    ClearInput,
    CommitInput,
    Hello,
    InterruptReason,
    Problem,
    ServerMessage,
    StopSession,
    TextInput,
    ToolOutput,
    ToolResults,
)
from realtime.replies import (
    InputTimes,
    Reply,
    common_prefix,
    corrected_entries,
    corrected_pieces,
    joined,
    reply_entries,
    tool_call,
    tool_entry,
)

Phase = Literal[
    "connecting", "ready", "listening", "user_speaking", "thinking", "speaking", "closed"
]

MAX_ENTRIES = 400
TOOL_CUT_OFF = 499
TOOL_LATE = 504


# --- the state -----------------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, slots=True)
class Awaited:
    """An utterance whose transcript is awaited.

    It began a turn; or it was said while a choice was open, as an `answer` to it, or as an `aside`
    over a reply, too short to interrupt it.
    """

    utterance: int
    turn: int
    start_ms: int
    end_ms: int
    kind: Literal["turn", "answer", "aside"] = "turn"


@dataclasses.dataclass(frozen=True, slots=True)
class OpenTool:
    """A call without an outcome yet. `has_waiter`: a running reply waits for it.

    Only a choice that the device waits for has `options`.
    """

    call_id: str
    name: str
    turn: int
    executor: Executor
    waits: bool
    timeout_ms: int
    asked_at_ms: float
    options: tuple[Option, ...] = ()
    has_waiter: bool = True
    is_answered: bool = False

    @property
    def is_open_choice(self) -> bool:
        return bool(self.options) and not self.is_answered


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """All that decides what happens next in one call."""

    phase: Phase = "connecting"
    plan: Plan = dataclasses.field(default_factory=Plan)
    began_at_ms: float = 0.0
    turn: int = 0
    utterance: int = 0
    # Whether an utterance is going on, whether there is voice right now, and whether it is being
    # recognised: speech over a reply is not, until it interrupts.
    in_utterance: bool = False
    is_voiced: bool = False
    is_heard: bool = False
    awaited: tuple[Awaited, ...] = ()
    words: tuple[MessageEntry, ...] = ()
    times: InputTimes = dataclasses.field(default_factory=InputTimes)
    reply: Reply | None = None
    replied_turn: int = -1
    tools: tuple[OpenTool, ...] = ()
    accepted_ids: frozenset[str] = frozenset()
    entries: tuple[MessageEntry, ...] = ()
    has_run_opener_calls: bool = False

    @property
    def is_started(self) -> bool:
        return self.phase not in ("connecting", "ready", "closed")

    @property
    def open_choices(self) -> tuple[OpenTool, ...]:
        """What the user may choose now, in the order of the questions."""
        return tuple(tool for tool in self.tools if tool.is_open_choice)

    @property
    def is_choosing(self) -> bool:
        """Whether the live reply waits for a choice."""
        return any(map(self.waits_for, self.open_choices))

    def waits_for(self, tool: OpenTool) -> bool:
        """Whether the live reply waits for this call."""
        return self.reply is not None and self.reply.turn == tool.turn and tool.has_waiter

    def may_sound(self, turn: int) -> bool:
        """Whether audio of this turn may be sent now."""
        return self.reply is not None and self.reply.turn == turn and self.reply.audio == "playing"


class _Draft:
    """One step in the making: the session as it becomes, and the effects in order."""

    def __init__(self, session: Session, moment: Moment) -> None:
        self.session = session
        self.moment = moment
        self.effects: list[Effect] = []

    def change(self, **fields: Any) -> None:
        self.session = dataclasses.replace(self.session, **fields)

    def change_reply(self, reply: Reply, **fields: Any) -> None:
        self.change(reply=dataclasses.replace(reply, **fields))

    def do(self, *effects: Effect) -> None:
        self.effects += effects

    def send(self, *sent: ServerMessage) -> None:
        self.effects += [Send(message) for message in sent]

    def keep(self, *entries: MessageEntry) -> None:
        """Adds entries to what the model is told of the conversation."""
        self.change(entries=(*self.session.entries, *entries)[-MAX_ENTRIES:])

    def live(self, turn: int) -> Reply | None:
        """The live reply if it is that turn's; what a stale turn still sends finds None."""
        reply = self.session.reply
        return reply if reply is not None and reply.turn == turn else None


Handler = Callable[[_Draft, Any], None]


def step(session: Session, event: Event, moment: Moment) -> tuple[Session, tuple[Effect, ...]]:
    """The session after the event, and what is to be done now, in order."""
    handler = TRANSITIONS.get((session.phase, type(event)))
    if handler is None:
        return session, ()
    draft = _Draft(session, moment)
    handler(draft, event)
    return draft.session, tuple(draft.effects)


# --- beginning and end ---------------------------------------------------------------------------
def _admit(draft: _Draft, event: Admitted) -> None:
    draft.change(phase="ready")


def _begin(draft: _Draft, event: Begun) -> None:
    plan = event.plan
    draft.change(phase="listening", plan=plan, began_at_ms=draft.moment.at_ms)
    draft.send(messages.SessionStarted())
    if plan.config is not None:
        draft.send(plan.config)
    if plan.has_opener:
        _start_reply(draft)
    else:
        _run_opener_calls(draft)


def _refuse_order(draft: _Draft, event: object) -> None:
    draft.send(Problem("protocol.order", _("Send session.start before anything else."), "protocol"))


def _refuse_restart(draft: _Draft, event: object) -> None:
    draft.send(Problem("protocol.order", _("The session has already started."), "protocol"))


def _greet(draft: _Draft, event: Hello) -> None:
    draft.send(messages.HelloAcknowledged())


def _stop_as_asked(draft: _Draft, event: StopSession) -> None:
    _stop(draft, Stopped(event.reason or "client"))


def _stop(draft: _Draft, event: Stopped) -> None:
    if event.problem is not None:
        draft.send(event.problem)
    if draft.session.reply is not None:
        _interrupt(draft, "session_end")
    if draft.session.is_heard:
        draft.do(DropUtterance(draft.session.utterance))
    for awaited in draft.session.awaited:
        draft.do(DropUtterance(awaited.utterance))
    for tool in draft.session.tools:
        _settle(draft, tool, TOOL_CUT_OFF, _("The session ended."))
    if draft.session.phase not in ("connecting", "ready") or event.problem is None:
        draft.send(messages.SessionStopped(event.reason))
    draft.change(phase="closed", awaited=(), in_utterance=False, is_voiced=False, is_heard=False)
    draft.do(Close(event.close_code, event.problem))


# --- the user speaks -----------------------------------------------------------------------------
def _note_start(draft: _Draft, event: SpeechStarted) -> None:
    session = draft.session
    if not session.in_utterance:
        draft.change(in_utterance=True, utterance=session.utterance + 1, is_heard=False)
    draft.change(is_voiced=True)
    draft.send(messages.InputSpeechStarted(draft.session.utterance, event.probability))


def _start_speech(draft: _Draft, event: SpeechStarted) -> None:
    _note_start(draft, event)
    _take_turn(draft)


def _start_speech_while_thinking(draft: _Draft, event: SpeechStarted) -> None:
    """The user goes on before the reply was heard: it is dropped, and what they said is kept."""
    _note_start(draft, event)
    if draft.session.is_choosing:
        _hear_answer(draft)
        return
    if draft.session.reply is not None:
        if not _may_interrupt(draft.session):
            return
        _interrupt(draft, "barge_in")
    _take_turn(draft)


def _may_interrupt(session: Session) -> bool:
    """Whether the user may end the live reply: always as long as nothing of it was shown."""
    reply = session.reply
    has_shown = reply is not None and (reply.is_opener or reply.text != "")
    return session.plan.can_be_interrupted or not has_shown


def _start_speech_over_reply(draft: _Draft, event: SpeechStarted) -> None:
    """Speech over a reply is not recognised before it interrupts, unless it may be a choice."""
    _note_start(draft, event)
    if draft.session.open_choices:
        _hear_answer(draft)


def _hear_answer(draft: _Draft) -> None:
    """Recognises what is being said, and leaves the reply as it is."""
    if not draft.session.is_heard:
        draft.change(is_heard=True)
        draft.do(OpenUtterance(draft.session.utterance))


def _sustain_speech(draft: _Draft, event: SpeechSustained) -> None:
    session = draft.session
    if not session.is_voiced:
        return
    if session.is_choosing and not draft.moment.is_sounding:
        _hear_answer(draft)
    elif session.plan.can_be_interrupted:
        _interrupt(draft, "barge_in")
        _take_turn(draft)


def _stop_speech(draft: _Draft, event: SpeechStopped) -> None:
    draft.change(is_voiced=False)
    draft.send(messages.InputSpeechStopped(draft.session.utterance, event.probability))


def _take_turn(draft: _Draft) -> None:
    """What the user says now is a turn of theirs."""
    session = draft.session
    draft.change(phase="user_speaking", turn=session.turn + 1, is_heard=True)
    if not session.is_heard:
        draft.do(OpenUtterance(session.utterance))


def _end_turn(draft: _Draft, event: TurnEnded) -> None:
    draft.change(phase="thinking")
    _await_transcript(draft, event, "turn")


def _await_transcript(
    draft: _Draft, event: TurnEnded, kind: Literal["turn", "answer", "aside"]
) -> None:
    session = draft.session
    awaited = Awaited(
        session.utterance,
        session.turn,
        _since_start(session, event.voice_started_at_ms),
        _since_start(session, event.voice_ended_at_ms),
        kind,
    )
    draft.change(
        in_utterance=False,
        is_voiced=False,
        is_heard=False,
        awaited=(*session.awaited, awaited),
        times=InputTimes(event.voice_ended_at_ms, draft.moment.at_ms),
    )
    draft.do(FinishUtterance(session.utterance))


def _end_speech_over_reply(draft: _Draft, event: TurnEnded) -> None:
    """Speech too short to interrupt is forgotten, unless the user says by hand that it counts."""
    session = draft.session
    if session.is_heard:
        _end_answer(draft, event)
    elif event.is_by_hand and session.in_utterance and session.plan.can_be_interrupted:
        _interrupt(draft, "barge_in")
        _take_turn(draft)
        _end_turn(draft, event)
    else:
        draft.change(in_utterance=False, is_voiced=False)


def _end_answer(draft: _Draft, event: TurnEnded) -> None:
    if draft.session.is_heard:
        is_aside = draft.moment.is_sounding and not event.is_by_hand
        _await_transcript(draft, event, "aside" if is_aside else "answer")
    else:
        _forget_speech(draft, event)


def _forget_speech(draft: _Draft, event: TurnEnded | ClearInput) -> None:
    if draft.session.is_heard:
        draft.do(DropUtterance(draft.session.utterance))
    draft.change(in_utterance=False, is_voiced=False, is_heard=False)


def _clear_speech(draft: _Draft, event: ClearInput) -> None:
    if draft.session.is_voiced:
        draft.send(messages.InputSpeechStopped(draft.session.utterance, 0.0))
    _forget_speech(draft, event)
    _answer_or_listen(draft)


# --- what was said -------------------------------------------------------------------------------
def _transcribe_partly(draft: _Draft, event: PartlyTranscribed) -> None:
    session = draft.session
    if session.reply is not None and draft.moment.is_sounding:
        return  # nobody knows yet whether it counts
    if event.utterance == session.utterance and session.is_heard and event.text.strip():
        draft.send(messages.TranscriptDelta(session.turn, event.utterance, event.text.strip()))


def _take_awaited(draft: _Draft, utterance: int) -> Awaited | None:
    session = draft.session
    found = [awaited for awaited in session.awaited if awaited.utterance == utterance]
    draft.change(awaited=tuple(other for other in session.awaited if other not in found))
    return found[0] if found else None


def _transcribe(draft: _Draft, event: Transcribed) -> None:
    awaited = _take_awaited(draft, event.utterance)
    text = event.text.strip()
    if awaited is None:
        return
    draft.change(
        times=dataclasses.replace(draft.session.times, understood_at_ms=draft.moment.at_ms)
    )
    if text:
        _take_transcript(draft, awaited, event, text)
    _go_on_without_reply(draft)


def _take_transcript(draft: _Draft, awaited: Awaited, event: Transcribed, text: str) -> None:
    """What was said is the choice that the reply waits for, or else a turn of the user's."""
    session = draft.session
    entry = MessageEntry(
        turn=awaited.turn,
        role="user",
        text=text,
        confidence=event.confidence,
        start_ms=awaited.start_ms,
        end_ms=awaited.end_ms,
        at=draft.moment.at,
    )
    chosen = _chosen(session, text, by_ms=awaited.end_ms)
    if chosen is not None and session.waits_for(chosen[0]):
        entry = dataclasses.replace(entry, turn=chosen[0].turn)
        draft.send(messages.TranscriptFinal(entry.turn, event.utterance, text))
        draft.do(Record(entry))
        _choose(draft, *chosen)
        return
    if awaited.kind != "turn" and session.reply is not None and chosen is None:
        if awaited.kind == "aside" or not _may_interrupt(session):
            return
        if session.is_choosing:
            _interrupt(draft, "barge_in")
    if awaited.kind != "turn":
        entry = dataclasses.replace(entry, turn=draft.session.turn + 1)
        draft.change(turn=entry.turn)
    draft.send(messages.TranscriptFinal(entry.turn, event.utterance, text))
    if chosen is not None:
        _choose(draft, *chosen)
    _add_words(draft, entry)


def _fail_recognition(draft: _Draft, event: RecognitionFailed) -> None:
    awaited = _take_awaited(draft, event.utterance)
    session = draft.session
    is_current = session.is_heard and event.utterance == session.utterance
    if awaited is None and not is_current:
        return
    turn = awaited.turn if awaited else session.turn
    entry = MessageEntry(turn=turn, role="user", text="", error=event.message, at=draft.moment.at)
    draft.do(Record(entry))
    draft.send(
        Problem("asr.failed", event.message, "asr", is_retryable=event.is_retryable, turn=turn)
    )
    if is_current:
        # Nobody listens to the rest of the utterance any more.
        draft.change(is_heard=False)
    if is_current and session.reply is None:
        _answer_or_listen(draft)
    else:
        _go_on_without_reply(draft)


def _go_on_without_reply(draft: _Draft) -> None:
    session = draft.session
    if session.reply is not None or session.phase == "user_speaking":
        return
    if session.is_heard:
        _take_turn(draft)
    else:
        _answer_or_listen(draft)


def _add_words(draft: _Draft, entry: MessageEntry) -> None:
    words = sorted((*draft.session.words, entry), key=lambda word: word.turn)
    draft.change(words=tuple(words))
    draft.do(Record(entry))


def _take_text(draft: _Draft, event: TextInput) -> None:
    session, text = draft.session, event.text.strip()
    chosen = _chosen(session, text, by_ms=_since_start(session, draft.moment.at_ms))
    if chosen is not None and session.waits_for(chosen[0]):
        draft.do(Record(_typed(draft, text, turn=chosen[0].turn)))
        _choose(draft, *chosen)
        return
    if session.reply is not None:
        _interrupt(draft, "input_text")
    if session.is_heard:
        draft.do(DropUtterance(session.utterance))
    draft.change(is_heard=False)
    if chosen is not None:
        _choose(draft, *chosen)
    _add_typed(draft, text)
    _start_reply(draft)


def _add_typed(draft: _Draft, text: str) -> None:
    """Adds words that were not spoken, as a turn of the user's."""
    turn = draft.session.turn + 1
    draft.change(turn=turn, times=InputTimes(draft.moment.at_ms, None, None))
    _add_words(draft, _typed(draft, text, turn=turn))


def _typed(draft: _Draft, text: str, *, turn: int) -> MessageEntry:
    at_ms = _since_start(draft.session, draft.moment.at_ms)
    return MessageEntry(
        turn=turn, role="user", text=text, start_ms=at_ms, end_ms=at_ms, at=draft.moment.at
    )


# --- the reply -----------------------------------------------------------------------------------
def _answer_or_listen(draft: _Draft) -> None:
    """Nothing is being said: wait for transcripts, answer what was said, or listen."""
    session = draft.session
    if session.awaited:
        draft.change(phase="thinking")
    elif session.words:
        _start_reply(draft)
    else:
        draft.change(phase="listening")


def _start_reply(draft: _Draft) -> None:
    session = draft.session
    # Words understood during a reply to later ones are answered after it, as a turn of their own.
    turn = max(session.turn, session.replied_turn + 1)
    reply = Reply(turn, session.words, session.times, draft.moment.at_ms)
    draft.change(phase="thinking", turn=turn, replied_turn=turn, reply=reply, words=())
    text = joined([entry.text for entry in reply.words])
    draft.do(StartReply(reply.turn, text, history.chat_messages(session.entries)))


def _add_text(draft: _Draft, event: TextMade) -> None:
    reply = draft.live(event.turn)
    if reply is None or not event.text:
        return
    pieces = (*reply.pieces, event.text)
    if reply.pieces and isinstance(reply.pieces[-1], str):
        pieces = (*reply.pieces[:-1], reply.pieces[-1] + event.text)
    draft.change_reply(reply, text=reply.text + event.text, pieces=pieces)
    if reply.text == "":
        _measure_first_text(draft)
    draft.send(messages.ResponseDelta(event.turn, event.text))
    if draft.session.plan.output == "text" or reply.has_lost_voice:
        draft.change(phase="speaking")
        _measure_turn(draft)


def _take_sources(draft: _Draft, event: Searched) -> None:
    reply, cited = draft.live(event.turn), event.cited
    if reply is None:
        return
    notes = (reply.knowledge_note, cited.note)
    draft.change_reply(
        reply,
        citations=(*reply.citations, *cited.citations),
        knowledge_note=" ".join(dict.fromkeys(note for note in notes if note)),
        knowledge_ms=(reply.knowledge_ms or 0) + cited.duration_ms,
    )
    if cited.citations:
        draft.send(messages.SourcesFound(event.turn, cited.citations))


def _begin_voice(draft: _Draft, event: VoiceBegun) -> None:
    reply = draft.live(event.turn)
    if reply is None or reply.audio != "none":
        return
    draft.change_reply(reply, audio="playing")
    draft.change(phase="speaking")
    draft.send(messages.AudioStarted(event.turn))
    if event.tts_ttfb_ms is not None:
        draft.send(messages.FirstByte(event.turn, "tts", event.tts_ttfb_ms))
    _measure_turn(draft, tts_ttfb_ms=event.tts_ttfb_ms)


def _begin_segment(draft: _Draft, event: SegmentBegun) -> None:
    if draft.session.may_sound(event.turn):
        draft.send(messages.AudioSegment(event.turn, event.number, event.text, event.offset_ms))


def _end_voice(draft: _Draft, event: VoiceSent) -> None:
    reply = draft.live(event.turn)
    if reply is not None and reply.audio == "playing":
        draft.change_reply(reply, audio="sent")
        draft.send(messages.AudioEnded(event.turn))


def _lose_voice(draft: _Draft, event: VoiceFailed) -> None:
    reply = draft.live(event.turn)
    if reply is None:
        return
    draft.change_reply(reply, voice_error=event.message)
    draft.send(
        Problem(
            "tts.failed", event.message, "tts", is_retryable=event.is_retryable, turn=event.turn
        )
    )


def _cancel_reply(draft: _Draft, event: CancelResponse) -> None:
    session = draft.session
    reply = session.reply
    if reply is None:
        return
    if event.is_graceful and session.phase == "speaking":
        draft.change_reply(reply, is_finishing=True)
        draft.do(FinishSentence(reply.turn))
        return
    _interrupt(draft, "client_cancel")
    _go_on_after_reply(draft)


def _end_reply(draft: _Draft, event: ReplyDone) -> None:
    reply = draft.live(event.turn)
    if reply is None:
        return
    if event.failure is None:
        _end_voice(draft, VoiceSent(reply.turn))
    _measure_turn(draft, has_output=False)
    _let_go_of_tools(draft, reply.turn)
    if event.failure is not None:
        _fail_reply(draft, reply, event.failure, event.usage)
    elif reply.is_finishing:
        heard = _heard_text(draft, reply)
        draft.send(_interrupted(draft, reply, "client_cancel", heard))
        _close_reply(draft, heard, usage=event.usage, is_interrupted=True)
    else:
        draft.send(messages.ResponseFinal(reply.turn, reply.text))
        _close_reply(draft, reply.text, usage=event.usage)
    _go_on_after_reply(draft)


def _fail_reply(draft: _Draft, reply: Reply, failure: Problem, usage: Usage) -> None:
    """The error is the reply's end; one that still sounds is cut off as well."""
    draft.send(failure)
    if reply.audio != "playing":
        _close_reply(draft, reply.text, usage=usage, error=failure.message)
        return
    heard = _heard_text(draft, reply)
    draft.do(StopReply(reply.turn))
    draft.send(messages.AudioCleared(reply.turn), _interrupted(draft, reply, "failed", heard))
    _close_reply(draft, heard, usage=usage, is_interrupted=True, error=failure.message)


def _go_on_after_reply(draft: _Draft) -> None:
    _run_opener_calls(draft)
    session = draft.session
    if session.is_voiced or session.is_heard:
        # They have been speaking over the end of the reply, and still are.
        _take_turn(draft)
    else:
        _answer_or_listen(draft)


def _interrupt(draft: _Draft, reason: InterruptReason) -> None:
    """Ends the live reply now. What of it was heard stays; if nothing was, the question does."""
    reply = draft.session.reply
    if reply is None:
        return
    heard = _heard_text(draft, reply)
    draft.do(StopReply(reply.turn))
    if reply.audio != "none":
        draft.send(messages.AudioCleared(reply.turn))
    draft.send(_interrupted(draft, reply, reason, heard))
    _measure_turn(draft, has_output=False)
    _let_go_of_tools(draft, reply.turn)
    is_final = reason in ("client_cancel", "session_end")
    is_unanswered = not heard and not reply.has_tool_calls and not is_final
    _close_reply(draft, heard, is_interrupted=True, keeps_words=is_unanswered)


def _heard_text(draft: _Draft, reply: Reply) -> str:
    if draft.session.plan.output == "text" or reply.has_lost_voice:
        return reply.text
    if reply.audio == "none":
        return ""
    return common_prefix(draft.moment.heard_text, reply.text)


def _interrupted(
    draft: _Draft, reply: Reply, reason: InterruptReason, heard: str
) -> messages.Interrupted:
    heard_ms = draft.moment.heard_ms if reply.audio != "none" else 0
    return messages.Interrupted(reply.turn, reason, heard, heard_ms, reply.text)


def _close_reply(
    draft: _Draft,
    heard: str,
    *,
    usage: Usage | None = None,
    is_interrupted: bool = False,
    keeps_words: bool = False,
    error: str = "",
) -> None:
    """Writes down what was asked and what was heard; `keeps_words` leaves the question open."""
    session = draft.session
    reply = session.reply
    assert reply is not None
    draft.change(reply=None)
    entries = reply_entries(
        reply,
        heard,
        start_ms=_since_start(session, reply.started_at_ms),
        end_ms=_since_start(session, draft.moment.at_ms),
        at=draft.moment.at,
    )
    error = error or reply.voice_error
    if error and not entries:
        # A failure is part of what happened, also where nothing was said.
        entries = [MessageEntry(turn=reply.turn, role="assistant", text="", at=draft.moment.at)]
    if entries and entries[-1].role == "assistant":
        times = reply.measured or messages.TurnTimes(reply.turn, None, None, None, None, None)
        entries[-1] = dataclasses.replace(
            entries[-1],
            is_interrupted=is_interrupted,
            usage=usage or Usage(),
            error=error,
            citations=reply.citations,
            knowledge_note=reply.knowledge_note,
            metrics={
                name: value
                for name, value in dataclasses.asdict(times).items()
                if value is not None and name != "turn"
            },
        )
    draft.do(*(Record(entry) for entry in entries))
    if keeps_words:
        draft.change(words=(*reply.words, *draft.session.words))
        return
    draft.keep(
        *reply.words,
        *(entry for entry in entries if entry.text or entry.tool_calls or entry.role == "tool"),
    )


# --- tools ---------------------------------------------------------------------------------------
def _run_opener_calls(draft: _Draft) -> None:
    if draft.session.plan.has_opener_calls and not draft.session.has_run_opener_calls:
        draft.change(has_run_opener_calls=True)
        draft.do(RunOpenerCalls())


def _ask_tool(draft: _Draft, event: ToolAsked) -> None:
    called, reply = event.called, draft.live(event.turn)
    if reply is not None and not event.is_manual:
        draft.change_reply(reply, pieces=(*reply.pieces, called))
    elif event.is_manual:
        call = tool_call(called)
        entry = MessageEntry(
            turn=event.turn, role="assistant", text="", tool_calls=(call,), at=draft.moment.at
        )
        draft.keep(entry)
        draft.do(Record(entry))
    else:
        return
    if (namesake := _open_tool(draft, called.call_id)) is not None:
        # Vendors number the calls of each turn anew; the older one can no longer be answered.
        _settle(draft, namesake, TOOL_CUT_OFF, _("Another call took its id."))
    is_choice = called.executor == "client" and called.name in choices.CHOICE_TOOLS
    arguments = choices.normalised(called.arguments) if is_choice else called.arguments
    tool = OpenTool(
        called.call_id,
        called.name,
        event.turn,
        called.executor,
        waits=called.wait_for_response,
        timeout_ms=called.timeout_ms,
        asked_at_ms=draft.moment.at_ms,
        options=(choices.options_of(arguments) if is_choice and called.wait_for_response else ()),
    )
    if tool.options:
        _withdraw_choices(draft)
    draft.change(tools=(*draft.session.tools, tool))
    # After the opener nobody speaks: its prompts are replies of their own.
    is_own_reply = event.is_manual and draft.session.phase == "listening" and event.prompt != ""
    draft.send(
        messages.ToolRequested(
            turn=event.turn,
            call_id=called.call_id,
            name=called.name,
            arguments=arguments,
            executor=called.executor,
            wait_for_response=called.wait_for_response,
            timeout_ms=called.timeout_ms,
            is_spoken=is_own_reply or (event.prompt != "" and not event.is_manual),
        )
    )
    if is_own_reply:
        _say_prompt(draft, event.prompt)


def _say_prompt(draft: _Draft, prompt: str) -> None:
    session = draft.session
    # Turn 0 is that of the set-up's calls, which no reply waits for.
    turn = max(session.turn, session.replied_turn + 1, 1)
    reply = Reply(turn, (), InputTimes(), draft.moment.at_ms)
    draft.change(phase="thinking", turn=turn, replied_turn=turn, reply=reply)
    draft.do(StartReply(turn, "", (), prompt))


def _open_tool(draft: _Draft, call_id: str) -> OpenTool | None:
    found = [tool for tool in draft.session.tools if tool.call_id == call_id]
    return found[0] if found else None


def _answer_tool(draft: _Draft, event: ToolAnswered) -> None:
    returned = event.returned
    tool = _open_tool(draft, returned.call_id)
    if tool is not None:
        _settle(
            draft,
            tool,
            returned.code,
            returned.message,
            output=returned.output,
            duration_ms=returned.duration_ms,
        )


def _time_out_tool(draft: _Draft, event: ToolTimedOut) -> None:
    tool = _open_tool(draft, event.call_id)
    if tool is not None and not tool.has_waiter:
        _settle(draft, tool, TOOL_LATE, _("No answer in time."))


def _take_results(draft: _Draft, event: ToolResults) -> None:
    for result in event.results:
        _take_result(draft, result)


def _take_result(draft: _Draft, result: ToolOutput) -> None:
    tool = _open_tool(draft, result.call_id)
    if tool is None or tool.executor != "client" or tool.is_answered:
        if result.call_id in draft.session.accepted_ids:
            # Its outcome was "accepted"; a device may report back all the same, once.
            accepted = draft.session.accepted_ids - {result.call_id}
            draft.change(accepted_ids=accepted)
            if result.code >= 400:
                _correct(draft, result)
            return
        message = _("No call with this id waits for a result.")
        draft.send(Problem("tool.unknown_call", message, "tool", call_id=result.call_id))
        return
    if tool.options:
        _drop_answers(draft)
    is_late = tool.options and not draft.session.waits_for(tool)
    _hand_over(draft, tool, result)
    if is_late and result.code < 400 and (label := choices.label_of(result.output)):
        # Nothing else would answer it.
        _add_typed(draft, label)
    _go_on_without_reply(draft)


def _hand_over(draft: _Draft, tool: OpenTool, result: ToolOutput) -> None:
    """Gives the answer to the reply that waits for it; without one it is the call's outcome."""
    if tool.has_waiter:
        draft.do(ResolveTool(result))
    if tool.has_waiter and (draft.session.waits_for(tool) or not tool.options):
        answered = dataclasses.replace(tool, is_answered=True)
        draft.change(tools=tuple(answered if t is tool else t for t in draft.session.tools))
        return
    duration_ms = max(0, round(draft.moment.at_ms - tool.asked_at_ms))
    _settle(draft, tool, result.code, result.message, output=result.output, duration_ms=duration_ms)


def _correct(draft: _Draft, result: ToolOutput) -> None:
    """The device could not do what was accepted: the model must not believe that it did."""
    reply = draft.session.reply
    if reply is not None:
        draft.change_reply(reply, pieces=corrected_pieces(reply.pieces, result))
    draft.change(entries=corrected_entries(draft.session.entries, result))


def _settle(
    draft: _Draft,
    tool: OpenTool,
    code: int,
    message: str,
    *,
    output: str = "",
    duration_ms: int = 0,
) -> None:
    """Gives a call its one outcome."""
    session = draft.session
    draft.change(tools=tuple(other for other in session.tools if other is not tool))
    if tool.executor == "client" and not tool.waits:
        draft.change(accepted_ids=session.accepted_ids | {tool.call_id})
    result = ToolOutput(tool.call_id, tool.name, output, code, message)
    draft.send(messages.ToolSettled(tool.turn, tool.executor, result))
    if code == TOOL_LATE:
        late = _("The tool did not answer in time.")
        draft.send(
            Problem(
                "tool.timeout",
                late,
                "tool",
                is_retryable=True,
                turn=tool.turn,
                call_id=tool.call_id,
            )
        )
    returned = ToolReturned(
        tool.call_id, tool.name, output, tool.executor, code, message, duration_ms
    )
    reply = draft.live(tool.turn)
    if reply is not None and tool.has_waiter:
        draft.change_reply(reply, pieces=(*reply.pieces, returned))
        return
    entry = tool_entry(tool.turn, returned, draft.moment.at)
    draft.keep(entry)
    draft.do(Record(entry))


def _let_go_of_tools(draft: _Draft, turn: int) -> None:
    """The reply that waited is gone; what was asked of a device or sent out is not taken back."""
    tools: list[OpenTool] = []
    for tool in draft.session.tools:
        if tool.turn == turn and tool.has_waiter:
            tool = dataclasses.replace(tool, has_waiter=False)
            left_ms = tool.asked_at_ms + tool.timeout_ms - draft.moment.at_ms
            draft.do(WatchTool(tool.call_id, max(0, round(left_ms))))
        tools.append(tool)
    draft.change(tools=tuple(tools))


# --- choices -------------------------------------------------------------------------------------
def _chosen(session: Session, text: str, *, by_ms: int) -> tuple[OpenTool, Choice] | None:
    """The first open choice that the words make, of those that were asked by then."""
    for tool in session.open_choices:
        if _since_start(session, tool.asked_at_ms) > by_ms:
            continue
        if choice := choices.match(text, tool.options, session.plan.language):
            return tool, choice
    return None


def _choose(draft: _Draft, tool: OpenTool, choice: Choice) -> None:
    """The user said it: the same as if their device had sent it."""
    _hand_over(draft, tool, ToolOutput(tool.call_id, tool.name, choice.output, 200, "ok"))


def _withdraw_choices(draft: _Draft) -> None:
    """A new question takes the place of those whose reply is gone."""
    for tool in draft.session.open_choices:
        if not draft.session.waits_for(tool):
            message = _("Another question took its place.")
            _hand_over(draft, tool, ToolOutput(tool.call_id, tool.name, "", TOOL_CUT_OFF, message))


def _drop_answers(draft: _Draft) -> None:
    """The choice was made by hand: what is being said over the reply is no answer any more."""
    session = draft.session
    dropped = [awaited for awaited in session.awaited if awaited.kind != "turn"]
    draft.do(*(DropUtterance(awaited.utterance) for awaited in dropped))
    draft.change(awaited=tuple(other for other in session.awaited if other not in dropped))
    if session.is_heard and session.reply is not None:
        draft.do(DropUtterance(session.utterance))
        draft.change(is_heard=False)


# --- times ---------------------------------------------------------------------------------------
def _since_start(session: Session, at_ms: float) -> int:
    return max(0, round(at_ms - session.began_at_ms))


def _between(start_ms: float | None, end_ms: float | None) -> int | None:
    return None if start_ms is None or end_ms is None else max(0, round(end_ms - start_ms))


def _measure_first_text(draft: _Draft) -> None:
    reply = draft.session.reply
    assert reply is not None
    if reply.is_opener:
        return  # seldom written by a model
    spent_ms = draft.moment.at_ms - reply.started_at_ms - (reply.knowledge_ms or 0)
    latency_ms = max(0, round(spent_ms))
    draft.change_reply(reply, llm_ttft_ms=latency_ms)
    draft.send(messages.FirstByte(reply.turn, "llm", latency_ms))


def _measure_turn(
    draft: _Draft, *, tts_ttfb_ms: int | None = None, has_output: bool = True
) -> None:
    """Sends where the time of the turn went, once: with its first output, or with its end."""
    reply = draft.session.reply
    if reply is None or reply.measured is not None:
        return
    times = reply.times
    measured = messages.TurnTimes(
        turn=reply.turn,
        eot_ms=_between(times.ended_at_ms, times.decided_at_ms),
        asr_ms=_between(times.decided_at_ms, times.understood_at_ms),
        llm_ttft_ms=reply.llm_ttft_ms,
        tts_ttfb_ms=tts_ttfb_ms,
        v2v_ms=_between(times.ended_at_ms, draft.moment.at_ms) if has_output else None,
        knowledge_ms=reply.knowledge_ms,
    )
    draft.change_reply(reply, measured=measured)
    draft.send(measured)


# --- the table -----------------------------------------------------------------------------------
def _table(*rows: tuple[type[Any], dict[str, Handler]]) -> dict[tuple[Phase, type[Any]], Handler]:
    table: dict[tuple[Phase, type[Any]], Handler] = {}
    for event, handlers in rows:
        for phases, handler in handlers.items():
            for phase in _PHASES[phases]:
                table.setdefault((phase, event), handler)
    return table


_PHASES: dict[str, tuple[Phase, ...]] = {
    "connecting": ("connecting",),
    "ready": ("ready",),
    "listening": ("listening",),
    "user_speaking": ("user_speaking",),
    "thinking": ("thinking",),
    "speaking": ("speaking",),
    "replying": ("thinking", "speaking"),
    "quiet": ("listening", "thinking"),
    "started": ("listening", "user_speaking", "thinking", "speaking"),
    "open": ("connecting", "ready", "listening", "user_speaking", "thinking", "speaking"),
}

# One row per event: what it does in which phase. Of two entries for a phase, the first holds.
TRANSITIONS: dict[tuple[Phase, type[Any]], Handler] = _table(
    (Admitted, {"connecting": _admit}),
    (Begun, {"ready": _begin, "started": _refuse_restart}),
    (Hello, {"ready": _greet, "started": _refuse_restart}),
    (TextInput, {"ready": _refuse_order, "started": _take_text}),
    (CancelResponse, {"ready": _refuse_order, "replying": _cancel_reply}),
    (ToolResults, {"ready": _refuse_order, "started": _take_results}),
    (
        ClearInput,
        {"ready": _refuse_order, "user_speaking": _clear_speech, "started": _forget_speech},
    ),
    (CommitInput, {"ready": _refuse_order}),
    (StopSession, {"ready": _refuse_order, "started": _stop_as_asked}),
    (Stopped, {"open": _stop}),
    (
        SpeechStarted,
        {
            "listening": _start_speech,
            "user_speaking": _note_start,
            "thinking": _start_speech_while_thinking,
            "speaking": _start_speech_over_reply,
        },
    ),
    (SpeechSustained, {"speaking": _sustain_speech}),
    (SpeechStopped, {"started": _stop_speech}),
    (
        TurnEnded,
        {"user_speaking": _end_turn, "speaking": _end_speech_over_reply, "quiet": _end_answer},
    ),
    (PartlyTranscribed, {"user_speaking": _transcribe_partly, "replying": _transcribe_partly}),
    (Transcribed, {"started": _transcribe}),
    (RecognitionFailed, {"started": _fail_recognition}),
    (TextMade, {"replying": _add_text}),
    (Searched, {"replying": _take_sources}),
    (ToolAsked, {"started": _ask_tool}),
    (ToolAnswered, {"started": _answer_tool}),
    (ToolTimedOut, {"started": _time_out_tool}),
    (VoiceBegun, {"thinking": _begin_voice}),
    (SegmentBegun, {"speaking": _begin_segment}),
    (VoiceSent, {"speaking": _end_voice}),
    (VoiceFailed, {"replying": _lose_voice}),
    (ReplyDone, {"replying": _end_reply}),
)
