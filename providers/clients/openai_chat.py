"""`POST /chat/completions` as OpenAI and most other vendors speak it."""

from __future__ import annotations

from openai import AsyncOpenAI
from pydantic_ai.models.openai import OpenAIChatModel

from providers.clients.direct import NO_KEY, DirectChat, http_client, load
from providers.profiles import PROFILES
from providers.types import LlmSpec

_NAMED = "pydantic_ai.providers.openai_compatible:OpenAICompatibleProvider"


class OpenAIChat(DirectChat):
    """ChatModel of any vendor with this protocol; its profile names the dialect."""

    def __init__(self, spec: LlmSpec) -> None:
        endpoint = spec.endpoint
        client = AsyncOpenAI(
            base_url=endpoint.base_url,
            api_key=endpoint.api_key or NO_KEY,
            http_client=http_client(endpoint),
            max_retries=0,
        )
        path = PROFILES[endpoint.vendor].chat_provider
        names = (endpoint.vendor,) if path == _NAMED else ()
        provider = load(path)(*names, openai_client=client)
        super().__init__(spec, OpenAIChatModel(endpoint.model_name, provider=provider))
