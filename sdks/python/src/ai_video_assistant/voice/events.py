"""What happens in a conversation: one frozen class for each kind of event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have: their number in the session, and when they were sent."""

    seq: int = 0
    timestamp_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted(Event):
    """The conversation has begun."""

    session_id: str
    audio: Mapping[str, Any] = field(default_factory=dict)
    resume_token: str | None = field(default=None, repr=False)
    resume_within_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionResumed(Event):
    """The server goes on with the session; `missed` events come next.

    Of this side's messages it has `received` so many, over all connections.
    """

    session_id: str
    missed: int = 0
    received: int | None = None
    resume_token: str | None = field(default=None, repr=False)
    resume_within_s: float = 0.0
    tts_id: str = ""
    sound_offset_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigResolved(Event):
    """What the conversation was set up with."""

    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStopped(Event):
    """The conversation is over, and why."""

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat(Event):
    """The server lives. It has `received` so many messages of this side, if it may be resumed."""

    received: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStarted(Event):
    """The user begins to speak."""

    utterance_id: str = ""
    probability: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechStopped(Event):
    """The user is silent again."""

    utterance_id: str = ""
    probability: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptDelta(Event):
    """All that was understood so far of an utterance; it may yet change."""

    text: str
    turn: int | None = None
    utterance_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptFinal(Event):
    """What the user said."""

    text: str
    turn: int | None = None
    utterance_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseDelta(Event):
    """More of the reply's text."""

    text: str
    turn: int | None = None
    response_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFinal(Event):
    """The whole text of a reply that is complete, and heard where it is spoken."""

    text: str
    turn: int | None = None
    response_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseInterrupted(Event):
    """A reply was cut off; `heard_text` is what of it was heard."""

    reason: str = ""
    turn: int | None = None
    response_id: str = ""
    heard_text: str = ""
    heard_ms: float = 0.0
    generated_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources(Event):
    """Passages of the knowledge that the reply may cite, as "[1]"."""

    citations: tuple[Mapping[str, Any], ...]
    turn: int | None = None
    response_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall(Event):
    """The assistant calls a tool, of the server or of this client."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    executor: str = "client"
    wait_for_response: bool = False
    timeout_ms: int = 0
    turn: int | None = None
    is_spoken: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult(Event):
    """What came of a call. `code` as in HTTP; 504: too late, 499: taken back."""

    tool_call_id: str
    name: str = ""
    output: Any = None
    code: int = 200
    message: str = ""
    source: str = ""
    turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioStarted(Event):
    """Sound of a reply follows."""

    tts_id: str = ""
    turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioChunk(Event):
    """Sound: pcm_s16le, 16000 Hz, one channel."""

    pcm: bytes = field(repr=False)
    tts_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioEnded(Event):
    """All sound of a reply was sent."""

    tts_id: str = ""
    turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSegment(Event):
    """The sound that follows says this text."""

    segment_id: str = ""
    text: str = ""
    audio_offset_ms: float = 0.0
    tts_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioSegmentEnded(Event):
    """Where the segment ends in the sound."""

    segment_id: str = ""
    audio_end_ms: float = 0.0
    tts_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioPaused(Event):
    """Perhaps an interruption: hold what is being played."""

    tts_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioResumed(Event):
    """It was none: go on at the same sample."""

    tts_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioCleared(Event):
    """Drop all sound that was not played yet."""

    tts_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstByte(Event):
    """How long the model or the voice took to begin."""

    stage: str = ""
    latency_ms: float = 0.0
    turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTimes(Event):
    """Where the time of a turn went, in milliseconds."""

    turn: int | None = None
    eot_ms: float | None = None
    asr_ms: float | None = None
    llm_ttft_ms: float | None = None
    tts_ttfb_ms: float | None = None
    v2v_ms: float | None = None
    knowledge_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem(Event):
    """Something went wrong, and the conversation goes on. What ends it is raised."""

    code: str
    message: str = ""
    stage: str = ""
    sender: str = ""
    retryable: bool = False
    turn: int | None = None
    tool_call_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    """Something of a newer server, or that makes no sense to this package."""

    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnecting(Event):
    """The connection broke and is being made again. Comes from this package."""

    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnected(Event):
    """It goes on; with `is_fresh` as another session. Comes from this package.

    Where the sound of a reply was cut off, the next of it lies at `sound_offset_ms` of `tts_id`.
    """

    missed: int = 0
    is_fresh: bool = False
    tts_id: str = ""
    sound_offset_ms: float | None = None


_TYPES: dict[str, type[Event]] = {
    "session.started": SessionStarted,
    "session.resumed": SessionResumed,
    "session.stopped": SessionStopped,
    "config.resolved": ConfigResolved,
    "heartbeat": Heartbeat,
    "input.speech_started": SpeechStarted,
    "input.speech_stopped": SpeechStopped,
    "transcript.delta": TranscriptDelta,
    "transcript.final": TranscriptFinal,
    "assistant.response.delta": ResponseDelta,
    "assistant.response.final": ResponseFinal,
    "assistant.citations": Sources,
    "assistant.tool_call": ToolCall,
    "assistant.tool_result": ToolResult,
    "response.interrupted": ResponseInterrupted,
    "output.audio.start": AudioStarted,
    "output.audio.end": AudioEnded,
    "output.audio.segment": AudioSegment,
    "output.audio.segment_end": AudioSegmentEnded,
    "output.audio.pause": AudioPaused,
    "output.audio.resume": AudioResumed,
    "output.audio.clear": AudioCleared,
    "metrics.ttfb": FirstByte,
    "metrics.turn": TurnTimes,
    "error": Problem,
}
_ADAPTERS: dict[str, TypeAdapter[Event]] = {n: TypeAdapter(kind) for n, kind in _TYPES.items()}


def decode(text: str) -> Event:
    """The event in a text frame. Never fails: what it cannot read is an UnknownEvent."""
    try:
        frame = json.loads(text)
    except (ValueError, RecursionError):
        frame = None
    if not isinstance(frame, dict):
        return UnknownEvent(type="", data={"frame": text})
    name = str(frame.get("type", ""))
    own = frame.get("data")
    data: dict[str, Any] = {**frame, **own} if isinstance(own, dict) else frame
    envelope = {"seq": _number(frame.get("seq")), "timestamp_ms": _number(frame.get("timestamp"))}
    adapter = _ADAPTERS.get(name)
    if adapter is not None:
        try:
            return adapter.validate_python({**_flat(name, data), **envelope})
        except (ValidationError, KeyError, TypeError, ValueError):
            pass  # known by name, and yet not understood
    return UnknownEvent(type=name, data=data, **envelope)


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _flat(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """The fields as the classes call them. Raises what a frame of another form leads to."""
    match name:
        case "session.started":
            return {**data, "session_id": data["sessionId"]}
        case "session.resumed" if isinstance(sound := data.get("audio"), dict):
            return {**data, "tts_id": sound["tts_id"], "sound_offset_ms": sound["offset_ms"]}
        case "metrics.ttfb":
            return {**data, "latency_ms": data.get("latencyMs", 0)}
        case "assistant.tool_call":
            call = data["tool_call"]
            function = call["function"]
            # Arguments that are no object are a call that was refused already.
            arguments = json.loads(function["arguments"] or "{}")
            spoken = {"is_spoken": call.get("spoken", False)}
            return {**data, **call, **spoken, "name": function["name"], "arguments": arguments}
        case "assistant.tool_result":
            result = data["result"]
            return {**data, **result, **result["status"]}
    return data
