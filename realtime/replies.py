"""The account of one reply: what it answers, what was made, and what of it was heard. Pure."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Literal

from conversations.events import Citation, ToolCalled, ToolReturned
from conversations.history import refused_call, stored_call, stored_result
from conversations.types import MessageEntry
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
        """Whether the model called anything, be it refused."""
        return any(not isinstance(piece, str) for piece in self.pieces)


def reply_entries(
    reply: Reply, heard: str, *, start_ms: int, end_ms: int, at: datetime.datetime
) -> list[MessageEntry]:
    """The reply as messages: text and calls, their results, more text, with only what was heard."""
    entries: list[MessageEntry] = []
    empty = MessageEntry(
        turn=reply.turn, role="assistant", text="", start_ms=start_ms, end_ms=end_ms, at=at
    )
    left = len(heard)
    for piece in reply.pieces:
        match piece:
            case str():
                said = piece[: max(left, 0)]
                unheard = piece if said != piece else ""
                left -= len(piece)
                message = _going_on(entries, empty, takes_text=True)
                entries.append(dataclasses.replace(message, text=said, generated_text=unheard))
            case ToolCalled():
                entries.append(_with_call(_going_on(entries, empty), stored_call(piece)))
            case ToolReturned():
                if piece.refused_arguments is not None:
                    entries.append(_with_call(_going_on(entries, empty), refused_call(piece)))
                entries.append(tool_entry(reply.turn, piece, at))
    return entries


def _going_on(
    entries: list[MessageEntry], empty: MessageEntry, *, takes_text: bool = False
) -> MessageEntry:
    """The message of the assistant that goes on, taken off the entries; else an empty one."""
    last = entries[-1] if entries else None
    if last is None or last.role != "assistant" or (takes_text and last.tool_calls):
        return empty
    return entries.pop()


def _with_call(message: MessageEntry, call: ToolCall) -> MessageEntry:
    return dataclasses.replace(message, tool_calls=(*message.tool_calls, call))


def tool_entry(turn: int, returned: ToolReturned, at: datetime.datetime) -> MessageEntry:
    """A tool's result as it is kept, with when it came."""
    return dataclasses.replace(stored_result(turn, returned), at=at)


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
