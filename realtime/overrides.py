"""What a caller may change of an assistant for one call. Pure."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

from django.utils.translation import gettext as _

from assistants.runtime import AssistantRuntime, OpenerToolCall
from realtime.messages import Overrides
from tooling.catalogue import normalise_tool_id

logger = logging.getLogger(__name__)

# What a stranger on a public assistant may choose: how it is talked to, not what it is. The rest
# would make the owner's model anybody's.
_OPEN_TO_ALL = frozenset({"first_turn", "output", "can_be_interrupted", "interruption_ms"})


class OverrideRefused(Exception):
    """An override that this caller, or this assistant, does not allow."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def overridden(
    runtime: AssistantRuntime, overrides: Overrides, *, is_stranger: bool
) -> AssistantRuntime:
    """The assistant as this call wants it. Raises OverrideRefused.

    Tools and knowledge can be narrowed down to what the assistant has, never widened.
    """
    wanted = {
        field.name: value
        for field in dataclasses.fields(overrides)
        if (value := getattr(overrides, field.name)) is not None
    }
    if is_stranger and (refused := sorted(wanted.keys() - _OPEN_TO_ALL)):
        message = _("Without a credential this may not be changed: %(names)s")
        raise OverrideRefused(message % {"names": ", ".join(refused)})
    changes = {**_opener(runtime, overrides), **_tools(runtime, overrides)}
    changes |= _knowledge(runtime, overrides)
    if overrides.system_prompt is not None:
        changes["prompt"] = overrides.system_prompt
    if overrides.output is not None:
        changes["voice_output"] = runtime.voice_output and overrides.output == "audio"
    changes["turn_taking"] = _turn_taking(runtime, overrides)
    return dataclasses.replace(runtime, **changes)


def _opener(runtime: AssistantRuntime, overrides: Overrides) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if overrides.first_turn is not None:
        changes["first_turn"] = overrides.first_turn
    if overrides.generates_opener is not None:
        changes["generates_opener"] = overrides.generates_opener
    if overrides.greeting is not None:
        changes["opener"] = overrides.greeting
        changes["generates_opener"] = bool(overrides.generates_opener)
        changes["opener_pcm"] = None
    if overrides.uses_opener_audio is False:
        changes["opener_pcm"] = None
    if overrides.opener_calls is not None:
        changes["opener_tool_calls"] = tuple(
            OpenerToolCall(normalise_tool_id(call.tool_name), call.arguments)
            for call in overrides.opener_calls
        )
    return changes


def _tools(runtime: AssistantRuntime, overrides: Overrides) -> dict[str, Any]:
    if overrides.tool_ids is None:
        return {}
    wanted = {normalise_tool_id(tool_id) for tool_id in overrides.tool_ids}
    if missing := wanted - {tool.id for tool in runtime.tools}:
        message = _("The assistant does not have these tools: %(names)s")
        raise OverrideRefused(message % {"names": ", ".join(sorted(missing))[:200]})
    return {"tools": tuple(tool for tool in runtime.tools if tool.id in wanted)}


def _knowledge(runtime: AssistantRuntime, overrides: Overrides) -> dict[str, Any]:
    if overrides.uses_knowledge is False:
        return {"knowledge": None}
    wanted, use = overrides.knowledge_base_id, runtime.knowledge
    if wanted is None:
        return {}
    if use is None or wanted not in use.base_ids:
        raise OverrideRefused(_("The assistant does not have this knowledge base."))
    bases = tuple(base for base in use.bases if base.id == wanted)
    return {"knowledge": dataclasses.replace(use, bases=bases)}


def _turn_taking(runtime: AssistantRuntime, overrides: Overrides) -> Any:
    taking = runtime.turn_taking
    if overrides.can_be_interrupted is not None:
        taking = dataclasses.replace(taking, can_be_interrupted=overrides.can_be_interrupted)
    if overrides.interruption_ms is not None:
        taking = dataclasses.replace(taking, interruption_ms=overrides.interruption_ms)
    return taking
