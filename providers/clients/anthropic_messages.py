"""`POST /v1/messages` as Anthropic speaks it."""

from __future__ import annotations

import dataclasses
from typing import Any, cast

from anthropic import AsyncAnthropic
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
from pydantic_ai.providers.anthropic import AnthropicProvider

from providers.clients.direct import NO_KEY, DirectChat, http_client, to_messages, to_settings
from providers.types import AssistantMessage, ChatMessage, ChatRequest, LlmSpec, ToolMessage

THINKING_TOKENS = 10_000
# The vendor takes no less; and thinking is part of the longest answer, which it must leave room in.
MIN_THINKING_TOKENS = 1_024
MIN_ANSWER_TOKENS = 1_024


class AnthropicMessages(DirectChat):
    """ChatModel of Anthropic and of what imitates it."""

    def __init__(self, spec: LlmSpec) -> None:
        endpoint = spec.endpoint
        client = AsyncAnthropic(
            # The SDK adds /v1 itself; people paste the address with and without it.
            base_url=endpoint.base_url.rstrip("/").removesuffix("/v1"),
            api_key=endpoint.api_key or NO_KEY,
            http_client=http_client(endpoint),
            max_retries=0,
        )
        provider = AnthropicProvider(anthropic_client=client)
        model = AnthropicModel(endpoint.model_name, provider=provider)
        super().__init__(spec, model)
        # Newer models choose how much they think and refuse a number; older ones want one.
        self._is_adaptive = bool(model.profile.get("anthropic_supports_adaptive_thinking"))
        # These refuse to be told not to; pydantic-ai knows what to say to each instead.
        self._takes_off = not (
            model.profile.get("thinking_always_enabled")
            or model.profile.get("anthropic_disables_thinking_with_between_tools")
        )

    def settings(self, request: ChatRequest) -> AnthropicModelSettings:
        """What the request says beside messages and tools."""
        thinks = self._thinks(request)
        asked = dataclasses.replace(request, thinking=thinks)
        # Both are the same dictionary at run time; this one has more names.
        settings = cast(AnthropicModelSettings, to_settings(asked, self._spec))
        if thinks is None:
            return settings
        if thinks:
            settings["anthropic_thinking"] = self._thinking_on(settings.get("max_tokens"))
        elif self._takes_off:
            settings["anthropic_thinking"] = {"type": "disabled"}
        else:
            settings["thinking"] = False
        return settings

    def messages(self, request: ChatRequest) -> list[ModelMessage]:
        """What the model is shown; thoughts only where it thinks on."""
        system = "" if self._thinks(request) is False else self._model.system
        return to_messages(request.messages, system=system)

    def _thinks(self, request: ChatRequest) -> bool | None:
        if not request.thinking or self._is_adaptive:
            return request.thinking
        longest = request.max_tokens or self._spec.max_output_tokens
        has_room = longest is None or longest >= MIN_THINKING_TOKENS + MIN_ANSWER_TOKENS
        return has_room and _may_begin(request.messages)

    def _thinking_on(self, longest: int | None) -> Any:
        if self._is_adaptive:
            # The newest say nothing of what they think unless asked.
            return {"type": "adaptive", "display": "summarized"}
        room = THINKING_TOKENS if longest is None else longest - MIN_ANSWER_TOKENS
        return {"type": "enabled", "budget_tokens": min(THINKING_TOKENS, room)}


def _may_begin(messages: tuple[ChatMessage, ...]) -> bool:
    """Whether the model may think now: a turn that went on without thoughts must end without."""
    if not isinstance(messages[-1], ToolMessage):
        return True
    last = next(each for each in reversed(messages) if isinstance(each, AssistantMessage))
    return bool(last.thoughts)
