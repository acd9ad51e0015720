"""The voice protocol v1 of `/ws`: text frames to messages, messages to text frames. Pure.

Decoding is strict: an unknown type or field is refused, so that a client's slip of the pen does
not pass silently. Audio frames are checked here too, but carried as they are.

Beyond the published protocol, for clients that ask for it in `metadata.capabilities`:

spoken_prompts    Without it the device speaks the prompts of voice_msg_prompt and
                  voice_choice_prompt itself. With it, in calls with sound, the session's voice
                  does, and `assistant.tool_call` has `tool_call.spoken: true`: the device only
                  shows them. The words are part of the response that makes the call, in its text,
                  sound and segments; after the opener they are a response of their own.
resume            With it a lost socket does not end the session. `session.started` carries
                  `resume_token` and `resume_within_s`. Within that time a new socket, opened for
                  the same assistant by the same caller, sends as its first message
                      session.resume {session_id, resume_token, last_seq}
                  and gets
                      session.resumed {session_id, missed, received, resume_token,
                                       resume_within_s, audio?}
                  then the `missed` events after `last_seq`, each with its own `seq`, then what
                  happens now. `session.resumed` has no number of its own: its `seq` is `last_seq`,
                  and the numbers go on from there. A token is good until the client says something
                  at the socket at which it got the next one. `audio {turn, turn_id, response_id,
                  tts_id, offset_ms}` is there when a reply was cut off in the middle of its sound:
                  the next frame lies at `offset_ms` of that output, of which the client may have
                  heard a little more.
                  `received` counts the text frames of the client that the session has got after
                  session.start, whatever they said, over all its sockets; session.resume does not
                  count. What the client sent after them was lost, and nothing came of it: a client
                  that has kept it says it again, in order and before anything new. So that it need
                  not keep it for long, `heartbeat` has `received`, too. A client that counts says
                  nothing between session.resume and session.resumed. Lost audio is gone.
                  A session lives on while its client is away: replies are made, calls of tools wait
                  as long as they do, sound stands still. A reply whose sound was all sent is not
                  said again. A socket that is closed with 1000, or after session.stop, ends the
                  session. An older socket that still looks open is closed with 4409. Whatever is
                  wrong, the answer is the error `session.resume_expired` and the close code 4410.

And for all: options of a choice that the model gave as plain strings reach the device as objects.
A choice may be settled by what the user says or writes; the device learns of it, as of a time-out
(504) or a question that a newer one replaced (499), by `assistant.tool_result`, and takes the
question back. A device that could not do what nobody waits for may say so once, with a code of 400
or more, and the model is told.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Annotated, Any, Literal, assert_never, get_args

from django.utils.translation import gettext as _
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails

from realtime.messages import (
    AudioCleared,
    AudioEnded,
    AudioPlayed,
    AudioSegment,
    AudioSegmentEnded,
    AudioStarted,
    CancelResponse,
    Capability,
    ClearInput,
    ClientMessage,
    CommitInput,
    ConfigResolved,
    FirstByte,
    FirstTurn,
    Heartbeat,
    Hello,
    HelloAcknowledged,
    InputSpeechStarted,
    InputSpeechStopped,
    Interrupted,
    OpenerCall,
    OutputMode,
    Overrides,
    Problem,
    ResponseDelta,
    ResponseFinal,
    ResumeOffer,
    ResumeSession,
    ServerMessage,
    SessionResumed,
    SessionStarted,
    SessionStopped,
    SoundPosition,
    SourcesFound,
    Stage,
    StartSession,
    StopSession,
    TextInput,
    ToolOutput,
    ToolRequested,
    ToolResults,
    ToolSettled,
    TranscriptDelta,
    TranscriptFinal,
    TurnTimes,
)

VERSION = "v1"
ENCODING = "pcm_s16le"
SAMPLE_RATE_HZ = 16_000
CHANNELS = 1
FRAME_BYTES = 640
MAX_TEXT_BYTES = 64 * 1024
# Of one input.text, in characters.
MAX_WORDS_LENGTH = 8000
MAX_BINARY_BYTES = 64 * 1024

MAX_VARIABLES = 20
MAX_VARIABLE_CHARS = 1000
MAX_TOOL_CALLS = 8
_VARIABLE_NAME = re.compile(r"[A-Za-z_]\w{0,63}")
_TTS_ID = re.compile(r"tts_(\d{1,9})")
_TRACKS = {"audio_in": "audio_in", "audio_out": "audio_out", "control": "control"}


class BadFrame(Exception):
    """What the client sent cannot be used; `problem` is the answer. The session goes on."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def bad(code: str, message: str, *, stage: Stage = "protocol") -> BadFrame:
    return BadFrame(Problem(code, message, stage))


# --- frames from the client ----------------------------------------------------------------------
class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _has_words(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


_Words = Annotated[str, Field(max_length=MAX_WORDS_LENGTH), AfterValidator(_has_words)]


def _valid_names(variables: dict[str, str]) -> dict[str, str]:
    if wrong := [name for name in variables if not _VARIABLE_NAME.fullmatch(name)]:
        raise ValueError(f"{wrong[0][:64]!r} is not a variable name")
    return variables


class _Auth(_Frame):
    apiKey: str | None = None  # noqa: N815 - names of the protocol, here and below
    jwt: str | None = None


class _Hello(_Frame):
    type: Literal["hello"]
    version: str
    auth: _Auth = _Auth()

    def message(self) -> ClientMessage:
        if self.version != VERSION:
            raise bad(
                "protocol.version_unsupported",
                _("This server speaks version %(version)s of the protocol.") % {"version": VERSION},
            )
        return Hello(api_key=self.auth.apiKey, jwt=self.auth.jwt)


class _Audio(_Frame):
    encoding: str = ENCODING
    sample_rate_hz: int = SAMPLE_RATE_HZ
    channels: int = CHANNELS


class _Output(_Frame):
    mode: OutputMode


class _BargeIn(_Frame):
    enabled: bool | None = None
    minDurationMs: Annotated[int, Field(ge=50, le=5000)] | None = None  # noqa: N815


class _Switch(_Frame):
    enabled: bool


class _OpenerCall(_Frame):
    toolName: Annotated[str, Field(min_length=1, max_length=64)]  # noqa: N815
    arguments: dict[str, JsonValue] = {}


class _Overrides(_Frame):
    systemPrompt: Annotated[str, Field(max_length=50_000)] | None = None  # noqa: N815
    greeting: Annotated[str, Field(max_length=5000)] | None = None
    firstTurnMode: FirstTurn | None = None  # noqa: N815
    generatedOpenerEnabled: bool | None = None  # noqa: N815
    manualOpenerToolCalls: (  # noqa: N815
        Annotated[list[_OpenerCall], Field(max_length=MAX_TOOL_CALLS)] | None
    ) = None
    output: _Output | None = None
    bargeIn: bool | _BargeIn | None = None  # noqa: N815
    knowledgeBaseId: str | None = None  # noqa: N815
    knowledge: bool | _Switch | None = None
    tools: Annotated[list[str], Field(max_length=64)] | None = None
    openerAudio: bool | _Switch | None = None  # noqa: N815

    def overrides(self) -> Overrides:
        barge_in = (
            _BargeIn(enabled=self.bargeIn) if isinstance(self.bargeIn, bool) else self.bargeIn
        )
        calls = self.manualOpenerToolCalls
        return Overrides(
            system_prompt=self.systemPrompt,
            greeting=self.greeting,
            first_turn=self.firstTurnMode,
            generates_opener=self.generatedOpenerEnabled,
            opener_calls=(
                None
                if calls is None
                else tuple(OpenerCall(call.toolName, dict(call.arguments)) for call in calls)
            ),
            output=self.output.mode if self.output else None,
            can_be_interrupted=barge_in.enabled if barge_in else None,
            interruption_ms=barge_in.minDurationMs if barge_in else None,
            knowledge_base_id=self.knowledgeBaseId,
            uses_knowledge=_is_on(self.knowledge),
            tool_ids=None if self.tools is None else tuple(self.tools),
            uses_opener_audio=_is_on(self.openerAudio),
        )


def _is_on(switch: bool | _Switch | None) -> bool | None:
    return switch.enabled if isinstance(switch, _Switch) else switch


class _History(_Frame):
    userId: Annotated[str, Field(max_length=200)] | None = None  # noqa: N815


_Variables = Annotated[
    dict[str, Annotated[str, Field(max_length=MAX_VARIABLE_CHARS)]],
    Field(max_length=MAX_VARIABLES),
    AfterValidator(_valid_names),
]


class _Metadata(_Frame):
    channel: Annotated[str, Field(max_length=64)] = ""
    source: Annotated[str, Field(max_length=64)] = ""
    history: _History = _History()
    dynamicVariables: _Variables = {}  # noqa: N815
    overrides: _Overrides = _Overrides()
    workflow: JsonValue = None
    capabilities: Annotated[list[str], Field(max_length=32)] = []


class _SessionStart(_Frame):
    type: Literal["session.start"]
    audio: _Audio = _Audio()
    metadata: _Metadata = _Metadata()

    def message(self) -> ClientMessage:
        if self.audio != _Audio():
            raise bad(
                "audio.unsupported_format",
                _("Only pcm_s16le at 16000 Hz with one channel is supported."),
                stage="audio",
            )
        return StartSession(
            channel=self.metadata.channel,
            source=self.metadata.source,
            external_user_id=self.metadata.history.userId or "",
            variables=self.metadata.dynamicVariables,
            overrides=self.metadata.overrides.overrides(),
            capabilities=_known_capabilities(self.metadata.capabilities),
        )


_CAPABILITIES: tuple[Capability, ...] = get_args(Capability)


def _known_capabilities(names: list[str]) -> frozenset[Capability]:
    return frozenset(known for known in _CAPABILITIES if known in names)


class _SessionResume(_Frame):
    type: Literal["session.resume"]
    session_id: Annotated[str, Field(max_length=64)]
    resume_token: Annotated[str, Field(max_length=128)]
    last_seq: Annotated[int, Field(ge=0)]

    def message(self) -> ClientMessage:
        return ResumeSession(self.session_id, self.resume_token, self.last_seq)


class _InputText(_Frame):
    type: Literal["input.text"]
    text: _Words

    def message(self) -> ClientMessage:
        return TextInput(self.text.replace("\x00", ""))


class _ResponseCancel(_Frame):
    type: Literal["response.cancel"]
    graceful: bool = False

    def message(self) -> ClientMessage:
        return CancelResponse(self.graceful)


class _AudioPlayed(_Frame):
    type: Literal["output.audio.played"]
    tts_id: str
    response_id: str | None = None
    turn_id: str | None = None
    played_at_ms: float | None = None
    played_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    def message(self) -> ClientMessage:
        known = _TTS_ID.fullmatch(self.tts_id)
        return AudioPlayed(int(known[1]) if known else None, self.played_ms)


class _Status(_Frame):
    code: int
    message: Annotated[str, Field(max_length=1000)] = ""


class _ToolResult(_Frame):
    tool_call_id: str
    name: str
    output: JsonValue = None
    status: _Status

    def result(self) -> ToolOutput:
        output = self.output
        text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
        return ToolOutput(
            call_id=self.tool_call_id,
            name=self.name,
            output="" if output is None else text,
            code=self.status.code,
            message=self.status.message,
        )


class _ToolResults(_Frame):
    type: Literal["tool_call.results"]
    results: Annotated[list[_ToolResult], Field(min_length=1, max_length=64)]

    def message(self) -> ClientMessage:
        return ToolResults(tuple(result.result() for result in self.results))


class _InputCommit(_Frame):
    type: Literal["input.commit"]

    def message(self) -> ClientMessage:
        return CommitInput()


class _InputClear(_Frame):
    type: Literal["input.clear"]

    def message(self) -> ClientMessage:
        return ClearInput()


class _SessionStop(_Frame):
    type: Literal["session.stop"]
    reason: Annotated[str, Field(max_length=200)] | None = None

    def message(self) -> ClientMessage:
        return StopSession(self.reason or "")


_AnyFrame = (
    _Hello
    | _SessionStart
    | _SessionResume
    | _InputText
    | _ResponseCancel
    | _AudioPlayed
    | _ToolResults
    | _InputCommit
    | _InputClear
    | _SessionStop
)
_FRAMES: TypeAdapter[_AnyFrame] = TypeAdapter(Annotated[_AnyFrame, Field(discriminator="type")])


def decode(text: str) -> ClientMessage:
    """The message in a text frame. Raises BadFrame."""
    try:
        frame = _FRAMES.validate_json(text)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_context=False)[0]) from None
    return frame.message()


def _refusal(error: ErrorDetails) -> BadFrame:
    if error["type"] == "json_invalid":
        return bad("protocol.invalid_json", _("The message is not valid JSON."))
    place = ".".join(str(part) for part in error["loc"])
    code = "protocol.invalid_override" if _is_override(error) else "protocol.invalid_message"
    if error["type"] == "union_tag_invalid":
        return bad(code, _("Unknown message type."))
    message = _("Invalid message: %(place)s: %(problem)s")
    return bad(code, message % {"place": place[:200] or "-", "problem": error["msg"][:200]})


def _is_override(error: ErrorDetails) -> bool:
    """Whether the fault lies in what the client may change: overrides, services, any id."""
    place = error["loc"]
    if place[:2] != ("session.start", "metadata"):
        return False
    if "overrides" in place[2:3]:
        return True
    name = str(place[-1])
    is_unknown = error["type"] == "extra_forbidden"
    return is_unknown and (name == "services" or name.endswith(("Id", "_id")))


def check_audio(pcm: bytes) -> None:
    """Raises BadFrame unless the binary frame holds whole frames of 20 ms."""
    if len(pcm) % 2:
        raise bad("audio.invalid_pcm", _("The audio has half a sample."), stage="audio")
    if not pcm or len(pcm) % FRAME_BYTES:
        raise bad(
            "audio.frame_size_mismatch",
            _("Audio must come in multiples of %(bytes)d bytes.") % {"bytes": FRAME_BYTES},
            stage="audio",
        )


# --- frames to the client ------------------------------------------------------------------------
@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """How one message looks on the wire."""

    type: str
    track: Literal["audio_in", "audio_out", "control"]
    source: Literal["asr", "llm", "tts", "tool", "system", "server"]
    data: dict[str, Any]


def encode(message: ServerMessage, seq: int, timestamp_ms: int, session_id: str) -> str:
    """The text frame of a message; its data is repeated at the top level, for older clients."""
    shape = _shape(message, session_id)
    envelope = {
        "type": shape.type,
        "timestamp": timestamp_ms,
        "sessionId": session_id,
        "seq": seq,
        "source": shape.source,
        "trackId": shape.track,
        "data": shape.data,
    }
    return json.dumps({**shape.data, **envelope}, ensure_ascii=False, separators=(",", ":"))


def tts_id(turn: int) -> str:
    return f"tts_{turn}"


def _turn_ids(turn: int) -> dict[str, Any]:
    return {"turn": turn, "turn_id": f"turn_{turn}", "response_id": f"resp_{turn}"}


def _voice_ids(turn: int) -> dict[str, Any]:
    return {**_turn_ids(turn), "tts_id": tts_id(turn)}


def _segment_ids(turn: int, number: int) -> dict[str, Any]:
    return {**_voice_ids(turn), "segment_id": f"{tts_id(turn)}_{number}"}


def _utterance_id(utterance: int) -> dict[str, Any]:
    return {"utterance_id": f"utt_{utterance}"}


def _transcript_ids(turn: int, utterance: int) -> dict[str, Any]:
    return {"turn": turn, "turn_id": f"turn_{turn}", **_utterance_id(utterance)}


def _shape(message: ServerMessage, session_id: str) -> _Shape:
    match message:
        case ResponseDelta(turn, text):
            data = {**_turn_ids(turn), "text": text}
            return _Shape("assistant.response.delta", "audio_out", "llm", data)
        case ResponseFinal(turn, text):
            data = {**_turn_ids(turn), "text": text}
            return _Shape("assistant.response.final", "audio_out", "llm", data)
        case SourcesFound():
            return _Shape("assistant.citations", "audio_out", "system", _citations(message))
        case AudioSegment():
            return _Shape("output.audio.segment", "audio_out", "tts", _segment(message))
        case AudioSegmentEnded(turn, number, audio_end_ms):
            data = {**_segment_ids(turn, number), "audio_end_ms": audio_end_ms}
            return _Shape("output.audio.segment_end", "audio_out", "tts", data)
        case AudioStarted(turn):
            return _Shape("output.audio.start", "audio_out", "tts", _voice_ids(turn))
        case AudioEnded(turn):
            return _Shape("output.audio.end", "audio_out", "tts", _voice_ids(turn))
        case AudioCleared(turn):
            return _Shape("output.audio.clear", "audio_out", "tts", _voice_ids(turn))
        case Interrupted():
            return _Shape("response.interrupted", "audio_out", "system", _interrupted(message))
        case InputSpeechStarted(utterance, probability):
            data = {**_utterance_id(utterance), "probability": round(probability, 3)}
            return _Shape("input.speech_started", "audio_in", "asr", data)
        case InputSpeechStopped(utterance, probability):
            data = {**_utterance_id(utterance), "probability": round(probability, 3)}
            return _Shape("input.speech_stopped", "audio_in", "asr", data)
        case TranscriptDelta(turn, utterance, text):
            data = {**_transcript_ids(turn, utterance), "text": text}
            return _Shape("transcript.delta", "audio_in", "asr", data)
        case TranscriptFinal(turn, utterance, text):
            data = {**_transcript_ids(turn, utterance), "text": text}
            return _Shape("transcript.final", "audio_in", "asr", data)
        case ToolRequested():
            return _Shape("assistant.tool_call", "audio_out", "llm", _tool_call(message))
        case ToolSettled():
            return _Shape("assistant.tool_result", "audio_out", "tool", _tool_result(message))
        case FirstByte(turn, stage, latency_ms):
            data = {**_turn_ids(turn), "stage": stage, "latencyMs": latency_ms}
            return _Shape("metrics.ttfb", "audio_out", "system", data)
        case TurnTimes():
            return _Shape("metrics.turn", "audio_out", "system", _turn_times(message))
        case Heartbeat(received):
            data = {} if received is None else {"received": received}
            return _Shape("heartbeat", "control", "system", data)
        case HelloAcknowledged():
            return _Shape("hello.ack", "control", "system", {"version": VERSION})
        case SessionStarted(resume):
            data = {**_session(session_id), **_offer(resume)}
            return _Shape("session.started", "control", "system", data)
        case SessionResumed():
            data = _resumed(message, session_id)
            return _Shape("session.resumed", "control", "system", data)
        case ConfigResolved():
            return _Shape("config.resolved", "control", "system", {"config": _config(message)})
        case SessionStopped(reason):
            return _Shape("session.stopped", "control", "system", {"reason": reason})
        case Problem():
            return _Shape("error", "control", "server", _problem(message))
    assert_never(message)


def _citations(message: SourcesFound) -> dict[str, Any]:
    """`index` is how the text cites a passage, as in "[1]"; `score` and `page` may be null."""
    shown = [
        {
            "index": citation.index,
            "document": citation.document,
            "page": citation.page,
            "knowledge_base_id": citation.knowledge_base_id,
            "document_id": citation.document_id,
            "chunk_id": citation.chunk_id,
            "score": citation.score,
            "text": citation.text,
        }
        for citation in message.citations
    ]
    return {**_turn_ids(message.turn), "citations": shown}


def _segment(message: AudioSegment) -> dict[str, Any]:
    return {
        **_segment_ids(message.turn, message.number),
        "text": message.text,
        "audio_offset_ms": message.audio_offset_ms,
    }


def _interrupted(message: Interrupted) -> dict[str, Any]:
    return {
        **_turn_ids(message.turn),
        "reason": message.reason,
        "heard_text": message.heard_text,
        "heard_ms": message.heard_ms,
        "generated_text": message.generated_text,
    }


def _tool_call(message: ToolRequested) -> dict[str, Any]:
    arguments = message.refused_arguments
    if arguments is None:
        arguments = json.dumps(message.arguments, ensure_ascii=False)
    function = {"name": message.name, "arguments": arguments}
    call = {
        "id": message.call_id,
        "type": "function",
        "function": function,
        "executor": message.executor,
        "wait_for_response": message.wait_for_response,
        "timeout_ms": message.timeout_ms,
        **({"spoken": True} if message.is_spoken else {}),
    }
    return {**_turn_ids(message.turn), "tool_call_id": message.call_id, "tool_call": call}


def _tool_result(message: ToolSettled) -> dict[str, Any]:
    result = message.result
    return {
        **_turn_ids(message.turn),
        "tool_call_id": result.call_id,
        # The envelope's source is "tool"; who ran it stands here.
        "source": message.executor,
        "result": {
            "tool_call_id": result.call_id,
            "name": result.name,
            "output": result.output,
            "status": {"code": result.code, "message": result.message},
        },
    }


def _turn_times(message: TurnTimes) -> dict[str, Any]:
    return {
        **_turn_ids(message.turn),
        "eot_ms": message.eot_ms,
        "asr_ms": message.asr_ms,
        "llm_ttft_ms": message.llm_ttft_ms,
        "tts_ttfb_ms": message.tts_ttfb_ms,
        "v2v_ms": message.v2v_ms,
        "knowledge_ms": message.knowledge_ms,
    }


def _session(session_id: str) -> dict[str, Any]:
    return {
        "sessionId": session_id,
        "trackId": "control",
        "tracks": _TRACKS,
        "audio": {"encoding": ENCODING, "sample_rate_hz": SAMPLE_RATE_HZ, "channels": CHANNELS},
    }


def _offer(resume: ResumeOffer | None) -> dict[str, Any]:
    if resume is None:
        return {}
    return {"resume_token": resume.token, "resume_within_s": resume.within_s}


def _resumed(message: SessionResumed, session_id: str) -> dict[str, Any]:
    return {
        "session_id": session_id,
        "missed": message.missed,
        "received": message.received,
        **_offer(message.resume),
        **({} if message.sound is None else {"audio": _position(message.sound)}),
    }


def _position(sound: SoundPosition) -> dict[str, Any]:
    return {**_voice_ids(sound.turn), "offset_ms": sound.offset_ms}


def _config(message: ConfigResolved) -> dict[str, Any]:
    return {
        "channel": message.channel,
        "output": {"mode": message.output},
        "tools": {"enabled": message.tools_count > 0, "count": message.tools_count},
        "tracks": _TRACKS,
    }


_SENDERS: dict[Stage, str] = {
    "protocol": "client",
    "audio": "client",
    "asr": "asr",
    "llm": "llm",
    "tts": "tts",
    "tool": "tool",
}
_TRACK_OF_STAGE: dict[Stage, str] = {
    "protocol": "control",
    "audio": "audio_in",
    "asr": "audio_in",
    "llm": "audio_out",
    "tts": "audio_out",
    "tool": "audio_out",
}


def _problem(message: Problem) -> dict[str, Any]:
    return {
        **({} if message.turn is None else _turn_ids(message.turn)),
        **({} if message.call_id is None else {"tool_call_id": message.call_id}),
        "sender": "server" if message.code == "internal" else _SENDERS[message.stage],
        "code": message.code,
        "message": message.message,
        "stage": message.stage,
        "retryable": message.is_retryable,
        "trackId": _TRACK_OF_STAGE[message.stage],
    }
