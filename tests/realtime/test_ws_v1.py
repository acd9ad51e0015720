"""The frames of voice protocol v1, one by one."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from conversations.events import Citation
from realtime import messages
from realtime.dialects import ws_v1
from realtime.messages import (
    AudioPlayed,
    CancelResponse,
    ClearInput,
    ClientMessage,
    CommitInput,
    Hello,
    OpenerCall,
    Overrides,
    Problem,
    ResumeSession,
    ServerMessage,
    StartSession,
    StopSession,
    TextInput,
    ToolOutput,
    ToolResults,
)

AUDIO = {"encoding": "pcm_s16le", "sample_rate_hz": 16000, "channels": 1}
TRACKS = {"audio_in": "audio_in", "audio_out": "audio_out", "control": "control"}
TURN = {"turn": 3, "turn_id": "turn_3", "response_id": "resp_3"}
VOICE = {**TURN, "tts_id": "tts_3"}
TOOL_OUTPUT = ToolOutput("c1", "choose", '{"selected_id":"a"}', 200, "ok")

# message → type, track, source, data
SENT: list[tuple[ServerMessage, str, str, str, dict[str, Any]]] = [
    (messages.HelloAcknowledged(), "hello.ack", "control", "system", {"version": "v1"}),
    (
        messages.SessionStarted(),
        "session.started",
        "control",
        "system",
        {"sessionId": "s1", "trackId": "control", "tracks": TRACKS, "audio": AUDIO},
    ),
    (
        messages.SessionStarted(messages.ResumeOffer("token", 60)),
        "session.started",
        "control",
        "system",
        {
            "sessionId": "s1",
            "trackId": "control",
            "tracks": TRACKS,
            "audio": AUDIO,
            "resume_token": "token",
            "resume_within_s": 60,
        },
    ),
    (
        messages.SessionResumed(2, messages.ResumeOffer("token", 60), 7),
        "session.resumed",
        "control",
        "system",
        {
            "session_id": "s1",
            "missed": 2,
            "received": 7,
            "resume_token": "token",
            "resume_within_s": 60,
        },
    ),
    (
        messages.SessionResumed(
            2, messages.ResumeOffer("token", 60), 0, messages.SoundPosition(3, 1200)
        ),
        "session.resumed",
        "control",
        "system",
        {
            "session_id": "s1",
            "missed": 2,
            "received": 0,
            "resume_token": "token",
            "resume_within_s": 60,
            "audio": {**VOICE, "offset_ms": 1200},
        },
    ),
    (
        messages.ConfigResolved("debug", "text", 2),
        "config.resolved",
        "control",
        "system",
        {
            "config": {
                "channel": "debug",
                "output": {"mode": "text"},
                "tools": {"enabled": True, "count": 2},
                "tracks": TRACKS,
            }
        },
    ),
    (messages.Heartbeat(), "heartbeat", "control", "system", {}),
    (messages.Heartbeat(7), "heartbeat", "control", "system", {"received": 7}),
    (
        messages.InputSpeechStarted(2, 0.98765),
        "input.speech_started",
        "audio_in",
        "asr",
        {"utterance_id": "utt_2", "probability": 0.988},
    ),
    (
        messages.InputSpeechStopped(2, 0.01),
        "input.speech_stopped",
        "audio_in",
        "asr",
        {"utterance_id": "utt_2", "probability": 0.01},
    ),
    (
        messages.TranscriptDelta(3, 2, "你"),
        "transcript.delta",
        "audio_in",
        "asr",
        {"turn": 3, "turn_id": "turn_3", "utterance_id": "utt_2", "text": "你"},
    ),
    (
        messages.TranscriptFinal(3, 2, "你好"),
        "transcript.final",
        "audio_in",
        "asr",
        {"turn": 3, "turn_id": "turn_3", "utterance_id": "utt_2", "text": "你好"},
    ),
    (
        messages.ResponseDelta(3, "Hi"),
        "assistant.response.delta",
        "audio_out",
        "llm",
        {**TURN, "text": "Hi"},
    ),
    (
        messages.ResponseFinal(3, "Hi there"),
        "assistant.response.final",
        "audio_out",
        "llm",
        {**TURN, "text": "Hi there"},
    ),
    (
        messages.SourcesFound(
            3, (Citation(1, "价目表.pdf", "咖啡三十元。", "kb1", "doc1", "42", 2, None),)
        ),
        "assistant.citations",
        "audio_out",
        "system",
        {
            **TURN,
            "citations": [
                {
                    "index": 1,
                    "document": "价目表.pdf",
                    "page": 2,
                    "knowledge_base_id": "kb1",
                    "document_id": "doc1",
                    "chunk_id": "42",
                    "score": None,
                    "text": "咖啡三十元。",
                }
            ],
        },
    ),
    (
        messages.ToolRequested(3, "c1", "choose", {"a": "é"}, "client", True, 60_000),
        "assistant.tool_call",
        "audio_out",
        "llm",
        {
            **TURN,
            "tool_call_id": "c1",
            "tool_call": {
                "id": "c1",
                "type": "function",
                "function": {"name": "choose", "arguments": '{"a": "é"}'},
                "executor": "client",
                "wait_for_response": True,
                "timeout_ms": 60_000,
            },
        },
    ),
    (
        messages.ToolRequested(
            3, "c1", "choose", {"a": "é"}, "client", True, 60_000, is_spoken=True
        ),
        "assistant.tool_call",
        "audio_out",
        "llm",
        {
            **TURN,
            "tool_call_id": "c1",
            "tool_call": {
                "id": "c1",
                "type": "function",
                "function": {"name": "choose", "arguments": '{"a": "é"}'},
                "executor": "client",
                "wait_for_response": True,
                "timeout_ms": 60_000,
                "spoken": True,
            },
        },
    ),
    (
        messages.ToolSettled(3, "client", TOOL_OUTPUT),
        "assistant.tool_result",
        "audio_out",
        "tool",
        {
            **TURN,
            "tool_call_id": "c1",
            "source": "client",
            "result": {
                "tool_call_id": "c1",
                "name": "choose",
                "output": '{"selected_id":"a"}',
                "status": {"code": 200, "message": "ok"},
            },
        },
    ),
    (messages.AudioStarted(3), "output.audio.start", "audio_out", "tts", VOICE),
    (
        messages.AudioSegment(3, 1, "Hi.", 240),
        "output.audio.segment",
        "audio_out",
        "tts",
        {**VOICE, "segment_id": "tts_3_1", "text": "Hi.", "audio_offset_ms": 240},
    ),
    (
        messages.AudioSegmentEnded(3, 1, 980),
        "output.audio.segment_end",
        "audio_out",
        "tts",
        {**VOICE, "segment_id": "tts_3_1", "audio_end_ms": 980},
    ),
    (messages.AudioEnded(3), "output.audio.end", "audio_out", "tts", VOICE),
    (messages.AudioCleared(3), "output.audio.clear", "audio_out", "tts", VOICE),
    (
        messages.Interrupted(3, "barge_in", "One", 300, "One two"),
        "response.interrupted",
        "audio_out",
        "system",
        {
            **TURN,
            "reason": "barge_in",
            "heard_text": "One",
            "heard_ms": 300,
            "generated_text": "One two",
        },
    ),
    (
        messages.FirstByte(3, "tts", 80),
        "metrics.ttfb",
        "audio_out",
        "system",
        {**TURN, "stage": "tts", "latencyMs": 80},
    ),
    (
        messages.TurnTimes(3, 500, 50, 100, 80, None),
        "metrics.turn",
        "audio_out",
        "system",
        {
            **TURN,
            "eot_ms": 500,
            "asr_ms": 50,
            "llm_ttft_ms": 100,
            "tts_ttfb_ms": 80,
            "v2v_ms": None,
            "knowledge_ms": None,
        },
    ),
    (messages.SessionStopped("bye"), "session.stopped", "control", "system", {"reason": "bye"}),
    (
        Problem("llm.failed", "No.", "llm", is_retryable=True, turn=3),
        "error",
        "control",
        "server",
        {
            **TURN,
            "sender": "llm",
            "code": "llm.failed",
            "message": "No.",
            "stage": "llm",
            "retryable": True,
            "trackId": "audio_out",
        },
    ),
]


def frame(type: str, **fields: Any) -> str:
    return json.dumps({"type": type, **fields})


def start(**metadata: Any) -> str:
    return frame("session.start", metadata=metadata)


@pytest.mark.parametrize(("message", "type", "track", "source", "data"), SENT)
def test_it_encodes(
    message: ServerMessage, type: str, track: str, source: str, data: dict[str, Any]
) -> None:
    sent = json.loads(ws_v1.encode(message, 7, 1234, "s1"))
    envelope = {
        "type": type,
        "timestamp": 1234,
        "sessionId": "s1",
        "seq": 7,
        "source": source,
        "trackId": track,
    }
    assert sent == {**data, **envelope, "data": data}


def test_every_message_has_a_golden_frame() -> None:
    assert {type(row[0]) for row in SENT} == set(get_args(ServerMessage))


RECEIVED: list[tuple[str, ClientMessage]] = [
    (frame("hello", version="v1"), Hello()),
    (frame("hello", version="v1", auth={"apiKey": "k"}), Hello(api_key="k")),
    (frame("hello", version="v1", auth={"jwt": "j"}), Hello(jwt="j")),
    (
        frame("session.resume", session_id="s1", resume_token="t", last_seq=0),
        ResumeSession("s1", "t", 0),
    ),
    (frame("session.start"), StartSession()),
    (frame("session.start", audio=AUDIO), StartSession()),
    (
        start(
            channel="debug",
            source="web",
            history={"userId": "u1"},
            dynamicVariables={"name": "Ada"},
            workflow={"any": 1},
            capabilities=["playback_ack", "spoken_prompts", "unknown"],
        ),
        StartSession(
            channel="debug",
            source="web",
            external_user_id="u1",
            variables={"name": "Ada"},
            capabilities=frozenset({"playback_ack", "spoken_prompts"}),
        ),
    ),
    (
        start(
            overrides={
                "systemPrompt": "p",
                "greeting": "g",
                "firstTurnMode": "user_first",
                "generatedOpenerEnabled": True,
                "manualOpenerToolCalls": [{"toolName": "t", "arguments": {"a": 1}}],
                "output": {"mode": "text"},
                "bargeIn": {"enabled": False, "minDurationMs": 300},
                "knowledgeBaseId": "kb",
                "knowledge": False,
                "tools": ["t"],
                "openerAudio": {"enabled": False},
            }
        ),
        StartSession(
            overrides=Overrides(
                system_prompt="p",
                greeting="g",
                first_turn="user_first",
                generates_opener=True,
                opener_calls=(OpenerCall("t", {"a": 1}),),
                output="text",
                can_be_interrupted=False,
                interruption_ms=300,
                knowledge_base_id="kb",
                uses_knowledge=False,
                tool_ids=("t",),
                uses_opener_audio=False,
            )
        ),
    ),
    (
        start(overrides={"bargeIn": True}),
        StartSession(overrides=Overrides(can_be_interrupted=True)),
    ),
    (frame("input.text", text="hi\0"), TextInput("hi")),
    (frame("response.cancel"), CancelResponse()),
    (frame("response.cancel", graceful=True), CancelResponse(is_graceful=True)),
    (frame("output.audio.played", tts_id="tts_4", played_ms=12.5), AudioPlayed(4, 12.5)),
    (
        frame("output.audio.played", tts_id="x", response_id="r", turn_id="t", played_at_ms=1),
        AudioPlayed(None, None),
    ),
    (
        frame(
            "tool_call.results",
            results=[
                {
                    "tool_call_id": "c1",
                    "name": "t",
                    "output": {"selected_id": "é"},
                    "status": {"code": 200, "message": "ok"},
                },
                {"tool_call_id": "c2", "name": "t", "output": None, "status": {"code": 500}},
            ],
        ),
        ToolResults(
            (
                ToolOutput("c1", "t", '{"selected_id": "é"}', 200, "ok"),
                ToolOutput("c2", "t", "", 500, ""),
            )
        ),
    ),
    (frame("input.commit"), CommitInput()),
    (frame("input.clear"), ClearInput()),
    (frame("session.stop"), StopSession()),
    (frame("session.stop", reason="bye"), StopSession("bye")),
]


@pytest.mark.parametrize(("text", "message"), RECEIVED)
def test_it_decodes(text: str, message: ClientMessage) -> None:
    assert ws_v1.decode(text) == message


def test_every_client_message_has_a_golden_frame() -> None:
    # But for the one that stands for what is none.
    golden = set(get_args(ClientMessage)) - {messages.BadMessage}
    assert {type(row[1]) for row in RECEIVED} == golden


REFUSED = [
    ("{", "protocol.invalid_json"),
    ("", "protocol.invalid_json"),
    ('{"type":"input.text","text":"\\ud800"}', "protocol.invalid_json"),
    ("[]", "protocol.invalid_message"),
    ('"hello"', "protocol.invalid_message"),
    ("{}", "protocol.invalid_message"),
    (frame("nonsense"), "protocol.invalid_message"),
    (frame("session.resume", session_id="s1", last_seq=1), "protocol.invalid_message"),
    (
        frame("session.resume", session_id="s1", resume_token="t", last_seq=-1),
        "protocol.invalid_message",
    ),
    (frame("input.text"), "protocol.invalid_message"),
    (frame("input.text", text=""), "protocol.invalid_message"),
    (frame("input.text", text="  "), "protocol.invalid_message"),
    (frame("input.text", text=3), "protocol.invalid_message"),
    (frame("input.text", text="x", more=1), "protocol.invalid_message"),
    (frame("response.cancel", graceful="yes"), "protocol.invalid_message"),
    (frame("output.audio.played", tts_id="t", played_ms=-1), "protocol.invalid_message"),
    (frame("tool_call.results", results=[]), "protocol.invalid_message"),
    (frame("hello", version="v2"), "protocol.version_unsupported"),
    (frame("hello", version="v1", auth={"apiKey": "k", "x": 1}), "protocol.invalid_message"),
    (start(unknown=1), "protocol.invalid_message"),
    (start(dynamicVariables={"1a": "x"}), "protocol.invalid_message"),
    (start(dynamicVariables={"a": 1}), "protocol.invalid_message"),
    (start(dynamicVariables={"a": "x" * 1001}), "protocol.invalid_message"),
    (start(dynamicVariables={f"a{n}": "x" for n in range(21)}), "protocol.invalid_message"),
    (start(services={}), "protocol.invalid_override"),
    (start(assistantId="x"), "protocol.invalid_override"),
    (start(overrides={"voice": "x"}), "protocol.invalid_override"),
    (start(overrides={"llmModelId": "x"}), "protocol.invalid_override"),
    (start(overrides={"output": {"mode": "video"}}), "protocol.invalid_override"),
    (start(overrides={"firstTurnMode": "nobody"}), "protocol.invalid_override"),
    (frame("session.start", audio={**AUDIO, "sample_rate_hz": 8000}), "audio.unsupported_format"),
    (frame("session.start", audio={**AUDIO, "encoding": "opus"}), "audio.unsupported_format"),
]


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_it_refuses(text: str, code: str) -> None:
    with pytest.raises(ws_v1.BadFrame) as refused:
        ws_v1.decode(text)
    assert refused.value.problem.code == code


@pytest.mark.parametrize(("size", "code"), [
    (641, "audio.invalid_pcm"),
    (0, "audio.frame_size_mismatch"),
    (642, "audio.frame_size_mismatch"),
])  # fmt: skip
def test_it_refuses_broken_audio(size: int, code: str) -> None:
    with pytest.raises(ws_v1.BadFrame) as refused:
        ws_v1.check_audio(bytes(size))
    assert refused.value.problem.code == code
    assert refused.value.problem.stage == "audio"


def test_it_takes_any_number_of_whole_frames() -> None:
    ws_v1.check_audio(bytes(640))
    ws_v1.check_audio(bytes(640 * 7))


def test_secrets_of_a_hello_are_not_shown() -> None:
    assert "topsecret" not in repr(ws_v1.decode(RECEIVED[1][0].replace('"k"', '"topsecret"')))
