"""`POST /v1/messages` as Anthropic speaks it."""

from __future__ import annotations

from anthropic import AsyncAnthropic
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

from providers.clients.direct import NO_KEY, DirectChat, http_client
from providers.types import LlmSpec


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
        super().__init__(spec, AnthropicModel(endpoint.model_name, provider=provider))
