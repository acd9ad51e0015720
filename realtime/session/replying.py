"""The live reply, from its start to its one end: final, interrupted or failed. Pure."""

from __future__ import annotations

import dataclasses

from conversations import history
from conversations.types import MessageEntry
from providers.types import Usage
from realtime import messages
from realtime.events import (
    Record,
    Searched,
    SegmentBegun,
    SegmentEnded,
    StartReply,
    StopReply,
    TextMade,
    VoiceBegun,
    VoiceFailed,
    VoiceSent,
    WatchTool,
)
from realtime.messages import InterruptReason, Problem
from realtime.replies import InputTimes, Reply, common_prefix, joined, reply_entries
from realtime.session.state import Draft, OpenTool, since_start


def start_reply(draft: Draft) -> None:
    """Answers what was said; opens the conversation where nothing was."""
    session = draft.session
    # Words understood during a reply to later ones are answered after it, as a turn of their own.
    turn = max(session.turn, session.replied_turn + 1)
    reply = Reply(turn, session.words, session.times, draft.moment.at_ms)
    draft.change(phase="thinking", turn=turn, replied_turn=turn, reply=reply, words=())
    text = joined([entry.text for entry in reply.words])
    draft.do(StartReply(reply.turn, text, history.chat_messages(session.entries)))


def say_prompt(draft: Draft, prompt: str) -> None:
    """Says a prompt as a reply of its own, to nothing that was said."""
    session = draft.session
    # Turn 0 is that of the set-up's calls, which no reply waits for.
    turn = max(session.turn, session.replied_turn + 1, 1)
    reply = Reply(turn, (), InputTimes(), draft.moment.at_ms)
    draft.change(phase="thinking", turn=turn, replied_turn=turn, reply=reply)
    draft.do(StartReply(turn, "", (), prompt))


# --- the text ------------------------------------------------------------------------------------
def add_text(draft: Draft, event: TextMade) -> None:
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
        measure_turn(draft)


def take_sources(draft: Draft, event: Searched) -> None:
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


def _measure_first_text(draft: Draft) -> None:
    reply = draft.session.reply
    assert reply is not None
    if reply.is_opener:
        return  # seldom written by a model
    spent_ms = draft.moment.at_ms - reply.started_at_ms - (reply.knowledge_ms or 0)
    latency_ms = max(0, round(spent_ms))
    draft.change_reply(reply, llm_ttft_ms=latency_ms)
    draft.send(messages.FirstByte(reply.turn, "llm", latency_ms))


# --- the voice -----------------------------------------------------------------------------------
def begin_voice(draft: Draft, event: VoiceBegun) -> None:
    reply = draft.live(event.turn)
    if reply is None or reply.audio != "none":
        return
    draft.change_reply(reply, audio="playing")
    draft.change(phase="speaking")
    draft.send(messages.AudioStarted(event.turn))
    if event.tts_ttfb_ms is not None:
        draft.send(messages.FirstByte(event.turn, "tts", event.tts_ttfb_ms))
    measure_turn(draft, tts_ttfb_ms=event.tts_ttfb_ms)


def begin_segment(draft: Draft, event: SegmentBegun) -> None:
    if draft.session.may_sound(event.turn):
        draft.send(messages.AudioSegment(event.turn, event.number, event.text, event.offset_ms))


def end_segment(draft: Draft, event: SegmentEnded) -> None:
    if draft.session.may_sound(event.turn):
        draft.send(messages.AudioSegmentEnded(event.turn, event.number, event.end_ms))


def end_voice(draft: Draft, event: VoiceSent) -> None:
    reply = draft.live(event.turn)
    if reply is not None and reply.audio == "playing":
        draft.change_reply(reply, audio="sent")
        draft.send(messages.AudioEnded(event.turn))


def lose_voice(draft: Draft, event: VoiceFailed) -> None:
    reply = draft.live(event.turn)
    if reply is None:
        return
    draft.change_reply(reply, voice_error=event.message)
    draft.send(
        Problem(
            "tts.failed", event.message, "tts", is_retryable=event.is_retryable, turn=event.turn
        )
    )


# --- the end -------------------------------------------------------------------------------------
def fail_reply(draft: Draft, reply: Reply, failure: Problem, usage: Usage) -> None:
    """The error is the reply's end; one that still sounds is cut off as well."""
    draft.send(failure)
    if reply.audio != "playing":
        close_reply(draft, reply.text, usage=usage, error=failure.message)
        return
    heard = heard_text(draft, reply)
    draft.do(StopReply(reply.turn))
    draft.send(messages.AudioCleared(reply.turn), interruption(draft, reply, "failed", heard))
    close_reply(draft, heard, usage=usage, is_interrupted=True, error=failure.message)


def interrupt(draft: Draft, reason: InterruptReason) -> None:
    """Ends the live reply now. What of it was heard stays; if nothing was, the question does."""
    reply = draft.session.reply
    if reply is None:
        return
    heard = heard_text(draft, reply)
    draft.do(StopReply(reply.turn))
    if reply.audio != "none":
        draft.send(messages.AudioCleared(reply.turn))
    draft.send(interruption(draft, reply, reason, heard))
    measure_turn(draft, has_output=False)
    let_go_of_tools(draft, reply.turn)
    is_final = reason in ("client_cancel", "session_end")
    is_unanswered = not heard and not reply.has_tool_calls and not is_final
    close_reply(draft, heard, is_interrupted=True, keeps_words=is_unanswered)


def heard_text(draft: Draft, reply: Reply) -> str:
    """What of the reply has reached the user, by ear or, where it is not spoken, by eye."""
    if draft.session.plan.output == "text" or reply.has_lost_voice:
        return reply.text
    if reply.audio == "none":
        return ""
    return common_prefix(draft.moment.heard_text, reply.text)


def interruption(
    draft: Draft, reply: Reply, reason: InterruptReason, heard: str
) -> messages.Interrupted:
    heard_ms = draft.moment.heard_ms if reply.audio != "none" else 0
    return messages.Interrupted(reply.turn, reason, heard, heard_ms, reply.text)


def let_go_of_tools(draft: Draft, turn: int) -> None:
    """The reply that waited is gone; what was asked of a device or sent out is not taken back."""
    tools: list[OpenTool] = []
    for tool in draft.session.tools:
        if tool.turn == turn and tool.has_waiter:
            tool = dataclasses.replace(tool, has_waiter=False)
            left_ms = tool.asked_at_ms + tool.timeout_ms - draft.moment.at_ms
            draft.do(WatchTool(tool.call_id, max(0, round(left_ms))))
        tools.append(tool)
    draft.change(tools=tuple(tools))


def close_reply(
    draft: Draft,
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
        start_ms=since_start(session, reply.started_at_ms),
        end_ms=since_start(session, draft.moment.at_ms),
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


# --- times ---------------------------------------------------------------------------------------
def measure_turn(draft: Draft, *, tts_ttfb_ms: int | None = None, has_output: bool = True) -> None:
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


def _between(start_ms: float | None, end_ms: float | None) -> int | None:
    return None if start_ms is None or end_ms is None else max(0, round(end_ms - start_ms))
