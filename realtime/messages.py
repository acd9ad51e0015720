"""What passes between a client and a call, in no particular wire format. Dialects translate it.

Numbers stand for ids: a turn has at most one response and one voice output, so all three share the
turn's number; utterances are counted on their own.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from conversations.events import Citation, Executor

OutputMode = Literal["audio", "text"]
FirstTurn = Literal["bot_first", "user_first"]
Stage = Literal["protocol", "audio", "asr", "llm", "tts", "tool"]
InterruptReason = Literal["barge_in", "client_cancel", "input_text", "failed", "session_end"]
# `spoken_prompts`: the server says voice prompts itself, in the response that calls them.
Capability = Literal["playback_ack", "pause", "resume", "camera", "formats", "spoken_prompts"]


# --- from the client ---------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, slots=True)
class Hello:
    """The first message of clients that show their credential in it."""

    api_key: str | None = dataclasses.field(default=None, repr=False)
    jwt: str | None = dataclasses.field(default=None, repr=False)

    @property
    def has_credential(self) -> bool:
        return self.api_key is not None or self.jwt is not None


@dataclasses.dataclass(frozen=True, slots=True)
class OpenerCall:
    tool_name: str
    arguments: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Overrides:
    """What this call does otherwise than its assistant; None leaves the assistant's own."""

    system_prompt: str | None = None
    greeting: str | None = None
    first_turn: FirstTurn | None = None
    generates_opener: bool | None = None
    opener_calls: tuple[OpenerCall, ...] | None = None
    output: OutputMode | None = None
    can_be_interrupted: bool | None = None
    interruption_ms: int | None = None
    knowledge_base_id: str | None = None
    uses_knowledge: bool | None = None
    tool_ids: tuple[str, ...] | None = None
    uses_opener_audio: bool | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class StartSession:
    channel: str = ""
    source: str = ""
    external_user_id: str = ""
    variables: dict[str, str] = dataclasses.field(default_factory=dict)
    overrides: Overrides = dataclasses.field(default_factory=Overrides)
    capabilities: frozenset[Capability] = frozenset()

    @property
    def is_debug(self) -> bool:
        """Whether the call comes from the operators' console."""
        return "debug" in (self.channel, self.source)


@dataclasses.dataclass(frozen=True, slots=True)
class ResumeSession:
    """Go on with a session whose socket was lost, after the event with this number."""

    session_id: str
    token: str = dataclasses.field(repr=False)
    last_seq: int


@dataclasses.dataclass(frozen=True, slots=True)
class TextInput:
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class CancelResponse:
    """Stop the reply; `is_graceful` lets the sentence that is being spoken end."""

    is_graceful: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class AudioPlayed:
    """How much of a turn's voice the client has really played; None where it does not say."""

    turn: int | None
    played_ms: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolOutput:
    """What the client's device answered to one call. `code` as in HTTP."""

    call_id: str
    name: str
    output: str
    code: int
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class ToolResults:
    results: tuple[ToolOutput, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class CommitInput:
    """Push-to-talk: what was said so far is the turn."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClearInput:
    """Push-to-talk: forget what was said since the last turn."""


@dataclasses.dataclass(frozen=True, slots=True)
class StopSession:
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class BadMessage:
    """A message that cannot be used; the problem is the answer. It was received all the same."""

    problem: Problem


ClientMessage = (
    Hello
    | StartSession
    | ResumeSession
    | TextInput
    | CancelResponse
    | AudioPlayed
    | ToolResults
    | CommitInput
    | ClearInput
    | StopSession
    | BadMessage
)


# --- to the client -----------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, slots=True)
class HelloAcknowledged:
    pass


@dataclasses.dataclass(frozen=True, slots=True)
class ResumeOffer:
    """How a client that loses its socket comes back: with this token, in so much time."""

    token: str = dataclasses.field(repr=False)
    within_s: int


@dataclasses.dataclass(frozen=True, slots=True)
class SessionStarted:
    """`resume` only for clients that asked for it."""

    resume: ResumeOffer | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SoundPosition:
    """The next audio of this turn's output is what lies there in it."""

    turn: int
    offset_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class SessionResumed:
    """The session goes on here; so many events that the client has missed come next.

    Of the client's own messages `received` have come; what it said after them is to be said again.
    """

    missed: int
    resume: ResumeOffer
    received: int
    # Of a reply that was cut off in the middle of its sound.
    sound: SoundPosition | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ConfigResolved:
    """What the call was set up with; never prompts, ids or vendors."""

    channel: str
    output: OutputMode
    tools_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Heartbeat:
    """`received` as in SessionResumed, for clients that may come back."""

    received: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class InputSpeechStarted:
    utterance: int
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class InputSpeechStopped:
    utterance: int
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class TranscriptDelta:
    """All that was understood so far of an utterance; it may yet change."""

    turn: int
    utterance: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class TranscriptFinal:
    turn: int
    utterance: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ResponseDelta:
    turn: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ResponseFinal:
    turn: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class SourcesFound:
    """Passages that the response may cite, each told of once; before the text that does."""

    turn: int
    citations: tuple[Citation, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ToolRequested:
    turn: int
    call_id: str
    name: str
    arguments: dict[str, Any]
    executor: Executor
    wait_for_response: bool
    timeout_ms: int
    # Whether the session's voice says the prompt, so that the device needs not.
    is_spoken: bool = False
    # Of a call that is refused at once: what the model wrote instead of arguments.
    refused_arguments: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ToolSettled:
    turn: int
    executor: Executor
    result: ToolOutput


@dataclasses.dataclass(frozen=True, slots=True)
class AudioStarted:
    turn: int


@dataclasses.dataclass(frozen=True, slots=True)
class AudioSegment:
    """The audio that follows says this text."""

    turn: int
    number: int
    text: str
    audio_offset_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class AudioSegmentEnded:
    """All audio of a segment was sent, also where what follows it is long in coming."""

    turn: int
    number: int
    audio_end_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class AudioEnded:
    """All audio of the output was sent; the client may still be playing it."""

    turn: int


@dataclasses.dataclass(frozen=True, slots=True)
class AudioCleared:
    """Drop what is queued; no byte of this output follows."""

    turn: int


@dataclasses.dataclass(frozen=True, slots=True)
class Interrupted:
    turn: int
    reason: InterruptReason
    heard_text: str
    heard_ms: int
    generated_text: str


@dataclasses.dataclass(frozen=True, slots=True)
class FirstByte:
    """Time to the first output of a stage."""

    turn: int
    stage: Literal["llm", "tts"]
    latency_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class TurnTimes:
    """Where the time of a turn went, in milliseconds; None for a stage that it did not have.

    The time of the language model is without that of the searches in the knowledge.
    """

    turn: int
    eot_ms: int | None
    asr_ms: int | None
    llm_ttft_ms: int | None
    tts_ttfb_ms: int | None
    v2v_ms: int | None
    knowledge_ms: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SessionStopped:
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Something went wrong; the session goes on unless it is closed next."""

    code: str
    message: str
    stage: Stage
    is_retryable: bool = False
    turn: int | None = None
    call_id: str | None = None


ServerMessage = (
    HelloAcknowledged
    | SessionStarted
    | SessionResumed
    | ConfigResolved
    | Heartbeat
    | InputSpeechStarted
    | InputSpeechStopped
    | TranscriptDelta
    | TranscriptFinal
    | ResponseDelta
    | ResponseFinal
    | SourcesFound
    | ToolRequested
    | ToolSettled
    | AudioStarted
    | AudioSegment
    | AudioSegmentEnded
    | AudioEnded
    | AudioCleared
    | Interrupted
    | FirstByte
    | TurnTimes
    | SessionStopped
    | Problem
)
