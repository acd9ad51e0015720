"""What a call does next: a pure state machine.

`step(session, event, moment)` gives the next session and the effects to carry out. It awaits
nothing and reads no clock: the time, and what the listener has heard, come with the event.
`TRANSITIONS` says which event means what in which phase; what is not in it has no meaning there.

    connecting → ready → listening ⇄ user_speaking → thinking → speaking → listening
                                                                any of them → closed

Turns are counted; everything that belongs to a reply carries its turn's number, and what comes from
a turn that is no longer the live one is dropped by comparing numbers. There is at most one live
reply, and each one ends once: final, interrupted or failed.

    state      what is known of a call, and one step in the making
    replying   the live reply, from its start to its one end
    turns      whose turn it is when somebody has finished
    tools      calls of tools, and the choices among them
    user       what the user says or writes, and what becomes of it
    ends       how a call begins, and how it ends
"""

from __future__ import annotations

from typing import Any

from realtime.events import (
    Admitted,
    Begun,
    Effect,
    Event,
    Moment,
    PartlyTranscribed,
    RecognitionFailed,
    ReplyDone,
    Searched,
    SegmentBegun,
    SegmentEnded,
    SpeechStarted,
    SpeechStopped,
    SpeechSustained,
    Stopped,
    TextMade,
    ToolAnswered,
    ToolAsked,
    ToolRefused,
    ToolTimedOut,
    Transcribed,
    TurnEnded,
    VoiceBegun,
    VoiceFailed,
    VoiceSent,
)
from realtime.messages import (
    CancelResponse,
    ClearInput,
    CommitInput,
    Hello,
    ResumeSession,
    StopSession,
    TextInput,
    ToolResults,
)
from realtime.session import ends, replying, tools, turns, user
from realtime.session.state import Draft, Handler, Phase, Session

__all__ = ["TRANSITIONS", "Session", "step"]


def step(session: Session, event: Event, moment: Moment) -> tuple[Session, tuple[Effect, ...]]:
    """The session after the event, and what is to be done now, in order."""
    handler = TRANSITIONS.get((session.phase, type(event)))
    if handler is None:
        return session, ()
    draft = Draft(session, moment)
    handler(draft, event)
    return draft.session, tuple(draft.effects)


def _table(*rows: tuple[type[Any], dict[str, Handler]]) -> dict[tuple[Phase, type[Any]], Handler]:
    table: dict[tuple[Phase, type[Any]], Handler] = {}
    for event, handlers in rows:
        for phases, handler in handlers.items():
            for phase in _PHASES[phases]:
                table.setdefault((phase, event), handler)
    return table


_PHASES: dict[str, tuple[Phase, ...]] = {
    "connecting": ("connecting",),
    "ready": ("ready",),
    "listening": ("listening",),
    "user_speaking": ("user_speaking",),
    "thinking": ("thinking",),
    "speaking": ("speaking",),
    "replying": ("thinking", "speaking"),
    "quiet": ("listening", "thinking"),
    "started": ("listening", "user_speaking", "thinking", "speaking"),
    "open": ("connecting", "ready", "listening", "user_speaking", "thinking", "speaking"),
}

# One row per event: what it does in which phase. Of two entries for a phase, the first holds.
TRANSITIONS: dict[tuple[Phase, type[Any]], Handler] = _table(
    (Admitted, {"connecting": ends.admit}),
    (Begun, {"ready": ends.begin, "started": ends.refuse_restart}),
    (Hello, {"ready": ends.greet, "started": ends.refuse_restart}),
    (ResumeSession, {"started": ends.refuse_restart}),
    (TextInput, {"ready": ends.refuse_order, "started": user.take_text}),
    (CancelResponse, {"ready": ends.refuse_order, "replying": turns.cancel_reply}),
    (ToolResults, {"ready": ends.refuse_order, "started": tools.take_results}),
    (ClearInput, {"ready": ends.refuse_order, "started": user.clear_speech}),
    (CommitInput, {"ready": ends.refuse_order}),
    (StopSession, {"ready": ends.refuse_order, "started": ends.stop_as_asked}),
    (Stopped, {"open": ends.stop}),
    (
        SpeechStarted,
        {
            "listening": user.start_speech,
            "user_speaking": user.note_start,
            "thinking": user.start_speech_while_thinking,
            "speaking": user.start_speech_over_reply,
        },
    ),
    (SpeechSustained, {"speaking": user.sustain_speech}),
    (SpeechStopped, {"started": user.stop_speech}),
    (
        TurnEnded,
        {
            "user_speaking": user.end_turn,
            "speaking": user.end_speech_over_reply,
            "quiet": user.end_answer,
        },
    ),
    (
        PartlyTranscribed,
        {"user_speaking": user.transcribe_partly, "replying": user.transcribe_partly},
    ),
    (Transcribed, {"started": user.transcribe}),
    (RecognitionFailed, {"started": user.fail_recognition}),
    (TextMade, {"replying": replying.add_text}),
    (Searched, {"replying": replying.take_sources}),
    (ToolAsked, {"started": tools.ask_tool}),
    (ToolAnswered, {"started": tools.answer_tool}),
    (ToolRefused, {"started": tools.note_refusal}),
    (ToolTimedOut, {"started": tools.time_out_tool}),
    (VoiceBegun, {"thinking": replying.begin_voice}),
    (SegmentBegun, {"speaking": replying.begin_segment}),
    (SegmentEnded, {"speaking": replying.end_segment}),
    (VoiceSent, {"speaking": replying.end_voice}),
    (VoiceFailed, {"replying": replying.lose_voice}),
    (ReplyDone, {"replying": turns.end_reply}),
)
