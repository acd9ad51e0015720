"""Whose turn it is when somebody has finished, and what was said for the next one. Pure."""

from __future__ import annotations

from conversations.types import MessageEntry
from realtime import messages
from realtime.events import (
    FinishSentence,
    OpenUtterance,
    Record,
    ReplyDone,
    RunOpenerCalls,
    VoiceSent,
)
from realtime.messages import CancelResponse
from realtime.replies import InputTimes
from realtime.session.replying import (
    close_reply,
    end_voice,
    fail_reply,
    heard_text,
    interrupt,
    interruption,
    let_go_of_tools,
    measure_turn,
    start_reply,
)
from realtime.session.state import Draft, Session, since_start


def take_turn(draft: Draft) -> None:
    """What the user says now is a turn of theirs."""
    session = draft.session
    draft.change(phase="user_speaking", turn=session.turn + 1, is_heard=True)
    if not session.is_heard:
        draft.do(OpenUtterance(session.utterance))


def may_interrupt(session: Session) -> bool:
    """Whether the user may end the live reply: always as long as nothing of it was shown."""
    reply = session.reply
    has_shown = reply is not None and (reply.is_opener or reply.text != "")
    return session.plan.can_be_interrupted or not has_shown


def answer_or_listen(draft: Draft) -> None:
    """Nothing is being said: wait for transcripts, answer what was said, or listen."""
    session = draft.session
    if session.awaited:
        draft.change(phase="thinking")
    elif session.words:
        start_reply(draft)
    else:
        draft.change(phase="listening")


def go_on_without_reply(draft: Draft) -> None:
    """Where no reply runs and nobody is in the middle of a turn: what comes next."""
    session = draft.session
    if session.reply is not None or session.phase == "user_speaking":
        return
    if session.is_heard:
        take_turn(draft)
    else:
        answer_or_listen(draft)


def _go_on_after_reply(draft: Draft) -> None:
    run_opener_calls(draft)
    session = draft.session
    if session.is_voiced or session.is_heard:
        # They have been speaking over the end of the reply, and still are.
        take_turn(draft)
    else:
        answer_or_listen(draft)


def run_opener_calls(draft: Draft) -> None:
    """The set-up's calls, once: after the opener, or without one at the start."""
    if draft.session.plan.has_opener_calls and not draft.session.has_run_opener_calls:
        draft.change(has_run_opener_calls=True)
        draft.do(RunOpenerCalls())


def cancel_reply(draft: Draft, event: CancelResponse) -> None:
    session = draft.session
    reply = session.reply
    if reply is None:
        return
    if event.is_graceful and session.phase == "speaking":
        draft.change_reply(reply, is_finishing=True)
        draft.do(FinishSentence(reply.turn))
        return
    interrupt(draft, "client_cancel")
    _go_on_after_reply(draft)


def end_reply(draft: Draft, event: ReplyDone) -> None:
    reply = draft.live(event.turn)
    if reply is None:
        return
    if event.failure is None:
        end_voice(draft, VoiceSent(reply.turn))
    measure_turn(draft, has_output=False)
    let_go_of_tools(draft, reply.turn)
    if event.failure is not None:
        fail_reply(draft, reply, event.failure, event.usage)
    elif reply.is_finishing:
        heard = heard_text(draft, reply)
        draft.send(interruption(draft, reply, "client_cancel", heard))
        close_reply(draft, heard, usage=event.usage, is_interrupted=True)
    else:
        draft.send(messages.ResponseFinal(reply.turn, reply.text))
        close_reply(draft, reply.text, usage=event.usage)
    _go_on_after_reply(draft)


def add_words(draft: Draft, entry: MessageEntry) -> None:
    """Adds what the next reply answers, in the order of the turns."""
    words = sorted((*draft.session.words, entry), key=lambda word: word.turn)
    draft.change(words=tuple(words))
    draft.do(Record(entry))


def add_typed(draft: Draft, text: str) -> None:
    """Adds words that were not spoken, as a turn of the user's."""
    turn = draft.session.turn + 1
    draft.change(turn=turn, times=InputTimes(draft.moment.at_ms, None, None))
    add_words(draft, typed(draft, text, turn=turn))


def typed(draft: Draft, text: str, *, turn: int) -> MessageEntry:
    """The user's words of this moment, as a message."""
    at_ms = since_start(draft.session, draft.moment.at_ms)
    return MessageEntry(
        turn=turn, role="user", text=text, start_ms=at_ms, end_ms=at_ms, at=draft.moment.at
    )
