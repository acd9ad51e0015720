"""What the user says or writes, and what becomes of it: a turn, a choice, or nothing. Pure."""

from __future__ import annotations

import dataclasses
from typing import Literal

from conversations.types import MessageEntry
from realtime import messages
from realtime.events import (
    DropUtterance,
    FinishUtterance,
    OpenUtterance,
    PartlyTranscribed,
    RecognitionFailed,
    Record,
    SpeechStarted,
    SpeechStopped,
    SpeechSustained,
    Transcribed,
    TurnEnded,
)
from realtime.messages import ClearInput, Problem, TextInput
from realtime.replies import InputTimes
from realtime.session.replying import interrupt, start_reply
from realtime.session.state import Awaited, Draft, since_start
from realtime.session.tools import choice_in, choose
from realtime.session.turns import (
    add_typed,
    add_words,
    answer_or_listen,
    go_on_without_reply,
    may_interrupt,
    take_turn,
    typed,
)


# --- speech --------------------------------------------------------------------------------------
def start_speech(draft: Draft, event: SpeechStarted) -> None:
    note_start(draft, event)
    take_turn(draft)


def note_start(draft: Draft, event: SpeechStarted) -> None:
    session = draft.session
    if not session.in_utterance:
        draft.change(in_utterance=True, utterance=session.utterance + 1, is_heard=False)
    draft.change(is_voiced=True)
    draft.send(messages.InputSpeechStarted(draft.session.utterance, event.probability))


def start_speech_while_thinking(draft: Draft, event: SpeechStarted) -> None:
    """The user goes on before the reply was heard: it is dropped, and what they said is kept."""
    note_start(draft, event)
    if draft.session.is_choosing:
        _hear_answer(draft)
        return
    if draft.session.reply is not None:
        if not may_interrupt(draft.session):
            return
        interrupt(draft, "barge_in")
    take_turn(draft)


def start_speech_over_reply(draft: Draft, event: SpeechStarted) -> None:
    """Speech over a reply is not recognised before it interrupts, unless it may be a choice."""
    note_start(draft, event)
    if draft.session.open_choices:
        _hear_answer(draft)


def _hear_answer(draft: Draft) -> None:
    """Recognises what is being said, and leaves the reply as it is."""
    if not draft.session.is_heard:
        draft.change(is_heard=True)
        draft.do(OpenUtterance(draft.session.utterance))


def sustain_speech(draft: Draft, event: SpeechSustained) -> None:
    session = draft.session
    if not session.is_voiced:
        return
    if session.is_choosing and not draft.moment.is_sounding:
        _hear_answer(draft)
    elif session.plan.can_be_interrupted:
        interrupt(draft, "barge_in")
        take_turn(draft)


def stop_speech(draft: Draft, event: SpeechStopped) -> None:
    draft.change(is_voiced=False)
    draft.send(messages.InputSpeechStopped(draft.session.utterance, event.probability))


def end_turn(draft: Draft, event: TurnEnded) -> None:
    draft.change(phase="thinking")
    _await_transcript(draft, event, "turn")


def end_speech_over_reply(draft: Draft, event: TurnEnded) -> None:
    """Speech too short to interrupt is forgotten, unless the user says by hand that it counts."""
    session = draft.session
    if session.is_heard:
        end_answer(draft, event)
    elif event.is_by_hand and session.in_utterance and session.plan.can_be_interrupted:
        interrupt(draft, "barge_in")
        take_turn(draft)
        end_turn(draft, event)
    else:
        draft.change(in_utterance=False, is_voiced=False)


def end_answer(draft: Draft, event: TurnEnded) -> None:
    if draft.session.is_heard:
        is_aside = draft.moment.is_sounding and not event.is_by_hand
        _await_transcript(draft, event, "aside" if is_aside else "answer")
    else:
        _forget_speech(draft)


def _await_transcript(
    draft: Draft, event: TurnEnded, kind: Literal["turn", "answer", "aside"]
) -> None:
    session = draft.session
    awaited = Awaited(
        session.utterance,
        session.turn,
        since_start(session, event.voice_started_at_ms),
        since_start(session, event.voice_ended_at_ms),
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


def _forget_speech(draft: Draft) -> None:
    if draft.session.is_heard:
        draft.do(DropUtterance(draft.session.utterance))
    draft.change(in_utterance=False, is_voiced=False, is_heard=False)


def clear_speech(draft: Draft, event: ClearInput) -> None:
    if draft.session.is_voiced:
        draft.send(messages.InputSpeechStopped(draft.session.utterance, 0.0))
    _forget_speech(draft)
    if draft.session.phase == "user_speaking":
        answer_or_listen(draft)


# --- words ---------------------------------------------------------------------------------------
def transcribe_partly(draft: Draft, event: PartlyTranscribed) -> None:
    session = draft.session
    if session.reply is not None and draft.moment.is_sounding:
        return  # nobody knows yet whether it counts
    if event.utterance == session.utterance and session.is_heard and event.text.strip():
        draft.send(messages.TranscriptDelta(session.turn, event.utterance, event.text.strip()))


def transcribe(draft: Draft, event: Transcribed) -> None:
    awaited = _take_awaited(draft, event.utterance)
    text = event.text.strip()
    if awaited is None:
        return
    draft.change(
        times=dataclasses.replace(draft.session.times, understood_at_ms=draft.moment.at_ms)
    )
    if text:
        _take_transcript(draft, awaited, event, text)
    go_on_without_reply(draft)


def _take_awaited(draft: Draft, utterance: int) -> Awaited | None:
    session = draft.session
    found = [awaited for awaited in session.awaited if awaited.utterance == utterance]
    draft.change(awaited=tuple(other for other in session.awaited if other not in found))
    return found[0] if found else None


def _take_transcript(draft: Draft, awaited: Awaited, event: Transcribed, text: str) -> None:
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
    chosen = choice_in(session, text, by_ms=awaited.end_ms)
    if chosen is not None and session.waits_for(chosen[0]):
        entry = dataclasses.replace(entry, turn=chosen[0].turn)
        draft.send(messages.TranscriptFinal(entry.turn, event.utterance, text))
        draft.do(Record(entry))
        choose(draft, *chosen)
        return
    if awaited.kind != "turn" and session.reply is not None and chosen is None:
        if awaited.kind == "aside" or not may_interrupt(session):
            return
        interrupt(draft, "barge_in")
    if awaited.kind != "turn":
        entry = dataclasses.replace(entry, turn=draft.session.turn + 1)
        draft.change(turn=entry.turn)
    draft.send(messages.TranscriptFinal(entry.turn, event.utterance, text))
    if chosen is not None:
        choose(draft, *chosen)
    add_words(draft, entry)


def fail_recognition(draft: Draft, event: RecognitionFailed) -> None:
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
        answer_or_listen(draft)
    else:
        go_on_without_reply(draft)


def take_text(draft: Draft, event: TextInput) -> None:
    session, text = draft.session, event.text.strip()
    chosen = choice_in(session, text, by_ms=since_start(session, draft.moment.at_ms))
    if chosen is not None and session.waits_for(chosen[0]):
        draft.do(Record(typed(draft, text, turn=chosen[0].turn)))
        choose(draft, *chosen)
        return
    if session.reply is not None:
        interrupt(draft, "input_text")
    if session.is_heard:
        draft.do(DropUtterance(session.utterance))
    draft.change(is_heard=False)
    if chosen is not None:
        choose(draft, *chosen)
    add_typed(draft, text)
    start_reply(draft)
