"""What a call is set up with: from its assistant and what its client asked for. Pure."""

from __future__ import annotations

from assistants.runtime import AssistantRuntime
from realtime.events import Plan
from realtime.messages import ConfigResolved, OutputMode, ResumeOffer, StartSession


def plan_of(runtime: AssistantRuntime, start: StartSession, resume: ResumeOffer | None) -> Plan:
    """The plan of a call; `resume` is offered to clients that asked for it."""
    output: OutputMode = "audio" if runtime.voice is not None and runtime.voice_output else "text"
    speaks_first = runtime.first_turn == "bot_first"
    config = ConfigResolved(start.channel, output, len(runtime.tools)) if start.is_debug else None
    return Plan(
        output=output,
        can_be_interrupted=runtime.turn_taking.can_be_interrupted,
        has_opener=speaks_first and (runtime.generates_opener or bool(runtime.opener.strip())),
        has_opener_calls=(
            speaks_first and not runtime.generates_opener and bool(runtime.opener_tool_calls)
        ),
        language=runtime.language,
        config=config,
        resume=resume,
    )


def metadata_of(start: StartSession) -> dict[str, str]:
    """What the record of a call keeps of what its client said about it."""
    known = {
        "channel": start.channel,
        "source": start.source,
        "external_user_id": start.external_user_id,
    }
    return {name: value for name, value in known.items() if value}
