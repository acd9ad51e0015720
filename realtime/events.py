"""What happens to a call, and what is to be done about it: the words of the state machine."""

from __future__ import annotations

import dataclasses
import datetime

from conversations.events import Cited, ToolCalled, ToolReturned
from conversations.types import MessageEntry
from providers.types import ChatMessage, Usage
from realtime.choices import Language
from realtime.messages import (
    CancelResponse,
    ClearInput,
    CommitInput,
    ConfigResolved,
    Hello,
    OutputMode,
    Problem,
    ResumeOffer,
    ResumeSession,
    ServerMessage,
    StopSession,
    TextInput,
    ToolOutput,
    ToolResults,
)

CLOSE_NORMAL = 1000


# --- what happens to a call ----------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What the call was set up with, as far as it decides what happens next."""

    output: OutputMode = "audio"
    can_be_interrupted: bool = True
    has_opener: bool = False
    has_opener_calls: bool = False
    language: Language = "en"
    config: ConfigResolved | None = None
    resume: ResumeOffer | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Admitted:
    """The caller may talk to the assistant."""


@dataclasses.dataclass(frozen=True, slots=True)
class Begun:
    """The client started the session."""

    plan: Plan


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechStarted:
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechSustained:
    """The user has by now spoken long enough to interrupt."""


@dataclasses.dataclass(frozen=True, slots=True)
class SpeechStopped:
    probability: float


@dataclasses.dataclass(frozen=True, slots=True)
class TurnEnded:
    """The user's utterance is complete; times on the same clock as the moments."""

    voice_started_at_ms: float
    voice_ended_at_ms: float
    is_by_hand: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class PartlyTranscribed:
    utterance: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Transcribed:
    utterance: int
    text: str
    confidence: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RecognitionFailed:
    utterance: int
    message: str
    is_retryable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class TextMade:
    turn: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Searched:
    """The reply of a turn has looked something up."""

    turn: int
    cited: Cited


@dataclasses.dataclass(frozen=True, slots=True)
class ToolAsked:
    """The reply of a turn, or (`is_manual`) the assistant's set-up, calls a tool.

    `prompt` is what is said aloud for it: by the reply, of which it is part, or after the opener
    as a reply of its own.
    """

    turn: int
    called: ToolCalled
    is_manual: bool = False
    prompt: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ToolAnswered:
    returned: ToolReturned


@dataclasses.dataclass(frozen=True, slots=True)
class ToolRefused:
    """The reply of a turn asked for a tool in a way that was refused; nothing ran."""

    turn: int
    refused: ToolReturned


@dataclasses.dataclass(frozen=True, slots=True)
class ToolTimedOut:
    """Nobody waited for the tool any more, and its answer has not come in time."""

    call_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class VoiceBegun:
    """The first audio of a reply is about to be sent."""

    turn: int
    tts_ttfb_ms: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class SegmentBegun:
    """The audio that is sent next says this text."""

    turn: int
    number: int
    text: str
    offset_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class SegmentEnded:
    """All audio of the segment was sent; some of it is still to be heard."""

    turn: int
    number: int
    end_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class VoiceSent:
    """All audio of a reply was sent; some of it is still to be heard."""

    turn: int


@dataclasses.dataclass(frozen=True, slots=True)
class VoiceFailed:
    """The reply cannot be spoken; its text goes on."""

    turn: int
    message: str
    is_retryable: bool


@dataclasses.dataclass(frozen=True, slots=True)
class ReplyDone:
    """A reply is complete and, if spoken, heard."""

    turn: int
    usage: Usage
    failure: Problem | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """The session ends: the client asked, or the server must."""

    reason: str
    close_code: int = CLOSE_NORMAL
    problem: Problem | None = None


Event = (
    Admitted
    | Begun
    | SpeechStarted
    | SpeechSustained
    | SpeechStopped
    | TurnEnded
    | PartlyTranscribed
    | Transcribed
    | RecognitionFailed
    | TextMade
    | Searched
    | ToolAsked
    | ToolAnswered
    | ToolRefused
    | ToolTimedOut
    | VoiceBegun
    | SegmentBegun
    | SegmentEnded
    | VoiceSent
    | VoiceFailed
    | ReplyDone
    | Stopped
    | Hello
    | ResumeSession
    | TextInput
    | CancelResponse
    | ToolResults
    | CommitInput
    | ClearInput
    | StopSession
)

# Events for which the moment must say what was heard: those that can end a reply.
ENDS_REPLY = (
    SpeechStarted,
    SpeechSustained,
    TurnEnded,
    Transcribed,
    TextInput,
    CancelResponse,
    ReplyDone,
    Stopped,
    StopSession,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """When an event happened, how much of the live reply was heard by then, and if it sounds now.

    A reply that waits for a tool may be silent for a minute.
    """

    at_ms: float
    at: datetime.datetime
    heard_text: str = ""
    heard_ms: int = 0
    is_sounding: bool = False


# --- what is to be done --------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, slots=True)
class Send:
    message: ServerMessage


@dataclasses.dataclass(frozen=True, slots=True)
class OpenUtterance:
    """What the user says now, from the start of the speech on, is to be recognised."""

    utterance: int


@dataclasses.dataclass(frozen=True, slots=True)
class FinishUtterance:
    utterance: int


@dataclasses.dataclass(frozen=True, slots=True)
class DropUtterance:
    utterance: int


@dataclasses.dataclass(frozen=True, slots=True)
class StartReply:
    """Answer `text`; without one say the `prompt`, and without either open the conversation."""

    turn: int
    text: str
    history: tuple[ChatMessage, ...]
    prompt: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class StopReply:
    """End the reply at once, with the streams behind it; nothing of its sound may follow."""

    turn: int


@dataclasses.dataclass(frozen=True, slots=True)
class FinishSentence:
    """Let the reply end with the sentence that is being said."""

    turn: int


@dataclasses.dataclass(frozen=True, slots=True)
class RunOpenerCalls:
    pass


@dataclasses.dataclass(frozen=True, slots=True)
class ResolveTool:
    """Hand the device's answer to whoever waits for it."""

    result: ToolOutput


@dataclasses.dataclass(frozen=True, slots=True)
class WatchTool:
    """Nobody waits for this tool any more: say when its time is over."""

    call_id: str
    timeout_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    entry: MessageEntry


@dataclasses.dataclass(frozen=True, slots=True)
class Close:
    code: int
    problem: Problem | None


Effect = (
    Send
    | OpenUtterance
    | FinishUtterance
    | DropUtterance
    | StartReply
    | StopReply
    | FinishSentence
    | RunOpenerCalls
    | ResolveTool
    | WatchTool
    | Record
    | Close
)
Effects = tuple[Effect, ...]
