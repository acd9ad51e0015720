"""The two clients: the same resources, called plainly or awaited."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import httpx

from ai_video_assistant._generated import asynchronous as generated_asynchronous
from ai_video_assistant._generated import sync as generated_sync
from ai_video_assistant._settings import Settings
from ai_video_assistant._transport.asynchronous import AsyncTransport
from ai_video_assistant._transport.sync import Transport
from ai_video_assistant.errors import ConfigurationError
from ai_video_assistant.resources import asynchronous, sync
from ai_video_assistant.voice.conversation import Conversation
from ai_video_assistant.voice.options import Options, Reconnect
from ai_video_assistant.voice.tools import ToolFunction

TIMEOUT_S = 60.0
MAX_RETRIES = 2
REPLY_TIMEOUT_S = 120.0


class _Connecting:
    """How both clients open voice conversations, which are always asynchronous."""

    _settings: Settings

    def __repr__(self) -> str:
        # Without what an address may hold before an "@": the key is not the only secret.
        scheme, _, place = self._settings.api_url.partition("://")
        return f"{type(self).__name__}(api_url='{scheme}://{place.rpartition('@')[2]}')"

    def connect(
        self,
        assistant_id: str,
        *,
        output: Literal["audio", "text"] | None = None,
        tools: Mapping[str, ToolFunction] | None = None,
        variables: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        source: str = "",
        channel: str = "",
        user_id: str | None = None,
        capabilities: Sequence[str] = (),
        reconnect: bool | Reconnect = True,
        timeout: float | None = None,
        reply_timeout: float = REPLY_TIMEOUT_S,
        ping_interval: float = 20.0,
    ) -> Conversation:
        """A conversation by voice or text, to be entered with `async with`.

        output: "text" for replies without sound; else as the assistant is set up.
        tools: functions for tools that run on the client, by name. See `Conversation.tool`.
        variables: what replaces `{{name}}` in the assistant's prompt and opener.
        overrides: what this conversation does otherwise than the assistant, as in the protocol.
        source, channel, user_id: what the history shows of where the conversation came from.
        capabilities: further parts of the protocol that your code takes part in.
        reconnect: whether a broken connection is taken up again, and for how long.
        timeout: seconds to connect; the client's unless given.
        reply_timeout: seconds that `send_text` waits for a complete reply.
        ping_interval: seconds between signs of life; a dead connection is noticed after two.
        """
        if not assistant_id or not assistant_id.strip():
            raise ConfigurationError("the assistant's id is missing")
        options = Options(
            assistant_id=assistant_id,
            output=output,
            variables=dict(variables or {}),
            overrides=dict(overrides or {}),
            source=source,
            channel=channel,
            user_id=user_id,
            capabilities=tuple(capabilities),
            reconnect=Reconnect.of(reconnect),
            connect_timeout_s=self._settings.timeout_s if timeout is None else timeout,
            reply_timeout_s=reply_timeout,
            ping_interval_s=ping_interval,
        )
        return Conversation(self._settings, options, tools or {})


class AIVideoAssistant(_Connecting):
    """A client of AI Video Assistant. Close it, or use it with `with`.

    api_url: where the product is; http://localhost:8080 unless given.
    ws_url: where its voice socket is; derived from `api_url` unless given.
    api_key: a key; from the environment's AI_VIDEO_ASSISTANT_API_KEY unless given.
    timeout: seconds for a complete answer, or until a stream begins; that may then go on for as
        long as something comes.
    max_retries: how often a request is made again, where that is safe.
    headers: what is sent with every request, such as {"Accept-Language": "zh"}.
    http_client: an httpx client of yours, for proxies and certificates. You close it.
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        ws_url: str | None = None,
        api_key: str | None = None,
        timeout: float = TIMEOUT_S,
        max_retries: int = MAX_RETRIES,
        headers: Mapping[str, str] | None = None,
        http_client: httpx.Client | None = None,
    ) -> None:
        settings = Settings.of(
            api_url=api_url,
            ws_url=ws_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            headers=headers,
        )
        self._use(Transport(settings, http_client))

    def _use(self, transport: Transport) -> None:
        self._transport = transport
        self._settings = transport.settings
        self.assistants = generated_sync.Assistants(transport)
        self.llm = generated_sync.Llm(transport)
        self.asr = generated_sync.Asr(transport)
        self.voices = generated_sync.Voices(transport)
        self.knowledge_bases = sync.KnowledgeBases(transport)
        self.history = generated_sync.History(transport)
        self.tools = generated_sync.Tools(transport)
        self.tasks = sync.Tasks(transport)
        self.chat = sync.Chat(transport)
        self.api_keys = generated_sync.ApiKeys(transport)
        self.gateway = generated_sync.Gateway(transport)
        self.voice_tickets = generated_sync.VoiceTickets(transport)

    def with_options(
        self, *, timeout: float | None = None, max_retries: int | None = None
    ) -> AIVideoAssistant:
        """The same client with other limits, over the same connections."""
        changed = _changed(self._settings, timeout, max_retries)
        client = object.__new__(AIVideoAssistant)
        client._use(self._transport.with_settings(changed))
        return client

    def close(self) -> None:
        """Closes the connections that the client opened."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncAIVideoAssistant(_Connecting):
    """The same client for asynchronous code: every operation is awaited.

    Lists' `iterate`, and `tasks.follow`, are read with `async for`. Arguments as those of
    `AIVideoAssistant`; close it, or use it with `async with`.
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        ws_url: str | None = None,
        api_key: str | None = None,
        timeout: float = TIMEOUT_S,
        max_retries: int = MAX_RETRIES,
        headers: Mapping[str, str] | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        settings = Settings.of(
            api_url=api_url,
            ws_url=ws_url,
            api_key=api_key,
            timeout=timeout,
            max_retries=max_retries,
            headers=headers,
        )
        self._use(AsyncTransport(settings, http_client))

    def _use(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._settings = transport.settings
        self.assistants = generated_asynchronous.AsyncAssistants(transport)
        self.llm = generated_asynchronous.AsyncLlm(transport)
        self.asr = generated_asynchronous.AsyncAsr(transport)
        self.voices = generated_asynchronous.AsyncVoices(transport)
        self.knowledge_bases = asynchronous.AsyncKnowledgeBases(transport)
        self.history = generated_asynchronous.AsyncHistory(transport)
        self.tools = generated_asynchronous.AsyncTools(transport)
        self.tasks = asynchronous.AsyncTasks(transport)
        self.chat = asynchronous.AsyncChat(transport)
        self.api_keys = generated_asynchronous.AsyncApiKeys(transport)
        self.gateway = generated_asynchronous.AsyncGateway(transport)
        self.voice_tickets = generated_asynchronous.AsyncVoiceTickets(transport)

    def with_options(
        self, *, timeout: float | None = None, max_retries: int | None = None
    ) -> AsyncAIVideoAssistant:
        """The same client with other limits, over the same connections."""
        changed = _changed(self._settings, timeout, max_retries)
        client = object.__new__(AsyncAIVideoAssistant)
        client._use(self._transport.with_settings(changed))
        return client

    async def close(self) -> None:
        """Closes the connections that the client opened."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _changed(settings: Settings, timeout: float | None, max_retries: int | None) -> Settings:
    return dataclasses.replace(
        settings,
        timeout_s=settings.timeout_s if timeout is None else timeout,
        max_retries=settings.max_retries if max_retries is None else max_retries,
    )
