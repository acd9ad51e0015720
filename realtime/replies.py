"""The account of one reply: what it answers, what was made, and what of it was heard. Pure."""

from __future__ import annotations

import dataclasses
import datetime
import json
from typing import Literal

from conversations.events import Citation, ToolCalled, ToolReturned
from conversations.types import MessageEntry, ToolOutcome
from providers.types import ToolCall
from realtime.messages import ToolOutput, TurnTimes
from realtime.segmenter import is_cjk


@dataclasses.dataclass(frozen=True, slots=True)
class InputTimes:
    """When the user's last input ended and was understood; None for what did not happen."""

    ended_at_ms: float | None = None
    decided_at_ms: float | None = None
    understood_at_ms: float | None = None


Piece = str | ToolCalled | ToolReturned


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """The live reply."""

    turn: int
    words: tuple[MessageEntry, ...]
    times: InputTimes
    started_at_ms: float
    text: str = ""
    pieces: tuple[Piece, ...] = ()
    audio: Literal["none", "playing", "sent"] = "none"
    # Why it is no longer spoken; then the text counts as heard.
    voice_error: str = ""
    is_finishing: bool = False
    citations: tuple[Citation, ...] = ()
    knowledge_note: str = ""
    knowledge_ms: int | None = None
    llm_ttft_ms: int | None = None
    measured: TurnTimes | None = None

    @property
    def has_lost_voice(self) -> bool:
        return self.voice_error != ""

    @property
    def is_opener(self) -> bool:
        return not self.words

    @property
    def has_tool_calls(self) -> bool:
        return any(isinstance(piece, ToolCalled) for piece in self.pieces)


def reply_entries(
    reply: Reply, heard: str, *, start_ms: int, end_ms: int, at: datetime.datetime
) -> list[MessageEntry]:
    """The reply as messages: text and calls, their results, more text, with only what was heard."""
    entries: list[MessageEntry] = []
    left = len(heard)
    for piece in reply.pieces:
        if isinstance(piece, ToolReturned):
            entries.append(tool_entry(reply.turn, piece, at))
            continue
        last = entries[-1] if entries else None
        if last is None or last.role != "assistant" or (last.tool_calls and isinstance(piece, str)):
            last = MessageEntry(
                turn=reply.turn, role="assistant", text="", start_ms=start_ms, end_ms=end_ms, at=at
            )
            entries.append(last)
        if isinstance(piece, str):
            heard_piece = piece[: max(left, 0)]
            unheard = piece if heard_piece != piece else ""
            entries[-1] = dataclasses.replace(last, text=heard_piece, generated_text=unheard)
            left -= len(piece)
        else:
            calls = (*last.tool_calls, tool_call(piece))
            entries[-1] = dataclasses.replace(last, tool_calls=calls)
    return entries


def tool_call(called: ToolCalled) -> ToolCall:
    """The call as it is kept."""
    return ToolCall(called.call_id, called.name, json.dumps(called.arguments, ensure_ascii=False))


def tool_entry(turn: int, returned: ToolReturned, at: datetime.datetime) -> MessageEntry:
    """A tool's result as it is kept."""
    outcome = ToolOutcome(
        returned.call_id, returned.name, returned.code, returned.message, returned.duration_ms
    )
    text = returned.output or returned.message
    return MessageEntry(turn=turn, role="tool", text=text, outcome=outcome, at=at)


def corrected_pieces(pieces: tuple[Piece, ...], result: ToolOutput) -> tuple[Piece, ...]:
    """A reply's pieces with what the device says in the place of that call's outcome."""
    return tuple(
        dataclasses.replace(piece, output="", code=result.code, message=result.message)
        if isinstance(piece, ToolReturned) and piece.call_id == result.call_id
        else piece
        for piece in pieces
    )


def corrected_entries(
    entries: tuple[MessageEntry, ...], result: ToolOutput
) -> tuple[MessageEntry, ...]:
    """The messages with what the device says in the last one that tells of that call."""
    for at in reversed(range(len(entries))):
        outcome = entries[at].outcome
        if outcome is not None and outcome.call_id == result.call_id:
            told = dataclasses.replace(outcome, code=result.code, message=result.message)
            corrected = dataclasses.replace(entries[at], text=result.message, outcome=told)
            return (*entries[:at], corrected, *entries[at + 1 :])
    return entries


def common_prefix(one: str, other: str) -> str:
    """What both texts begin with."""
    length = 0
    for char, same in zip(one, other, strict=False):
        if char != same:
            break
        length += 1
    return one[:length]


def joined(texts: list[str]) -> str:
    """What was said in several goes, as one text; CJK needs no spaces."""
    whole = ""
    for text in texts:
        needs_space = whole and not (is_cjk(whole[-1]) or is_cjk(text[:1] or " "))
        whole += f" {text}" if needs_space else text
    return whole
