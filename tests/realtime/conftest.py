"""The real application on a real socket, and a client that waits for what it expects."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from accounts.models import User
from assistants.models import Assistant
from core.db import in_db
from providers.catalogue import sync_builtin_models
from providers.fakes import FakeUpstream
from providers.models import Asr, Llm, Voice
from providers.registry import speaker
from providers.types import Endpoint, VoiceSpec
from realtime import pipeline
from tests.conftest import make_key, make_user
from tooling.catalogue import sync_builtin_tools

PATIENCE_S = 20.0
SILENCE = bytes(640)

Event = dict[str, Any]


class Client:
    """One voice client. What arrives is kept in order: events as dicts, audio as bytes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[Event | bytes] = []

    @property
    def events(self) -> list[Event]:
        return [item for item in self.seen if isinstance(item, dict)]

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    @property
    def audio(self) -> bytes:
        return b"".join(item for item in self.seen if isinstance(item, bytes))

    def of(self, type: str) -> list[Event]:
        return [event for event in self.events if event["type"] == type]

    async def send(self, type: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": type, **fields}))

    async def start(self, **metadata: Any) -> Event:
        await self.send("session.start", metadata=metadata)
        return await self.wait("session.started")

    async def say(self, pcm: bytes, *, silence_ms: int = 900) -> None:
        """Sends speech and the silence after it, as fast as it goes."""
        pcm += bytes(-len(pcm) % 640) + SILENCE * (silence_ms // 20)
        for start in range(0, len(pcm), 6400):
            await self.socket.send(pcm[start : start + 6400])

    async def next(self) -> Event | bytes:
        async with asyncio.timeout(PATIENCE_S):
            received = await self.socket.recv()
        item: Event | bytes = json.loads(received) if isinstance(received, str) else received
        self.seen.append(item)
        return item

    async def wait(self, *types: str, **data: Any) -> Event:
        """The next event of one of these types whose data agrees."""
        while True:
            item = await self.next()
            if isinstance(item, bytes) or item["type"] not in types:
                continue
            if all(item["data"].get(name) == value for name, value in data.items()):
                return item

    async def wait_audio(self) -> bytes:
        while True:
            if isinstance(item := await self.next(), bytes):
                return item

    async def closed(self) -> int:
        """The code with which the server closes; what comes before is kept."""
        try:
            while True:
                await self.next()
        except ConnectionClosed:
            return self.socket.close_code or 0


Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
async def connect_to(transactional_db: None) -> AsyncIterator[Connect]:
    """Connects a client to the application, which this test serves on a port of its own."""
    from config.asgi import application

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        application, ws="websockets-sansio", lifespan="off", log_config=None, ws_max_size=2**20
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))

    @asynccontextmanager
    async def connected(
        assistant: Assistant | str | None,
        *,
        key: str | None = None,
        query: str = "",
        headers: dict[str, str] | None = None,
        subprotocols: list[str] | None = None,
        path: str = "/ws",
        **options: Any,
    ) -> AsyncIterator[Client]:
        name = assistant.pk if isinstance(assistant, Assistant) else assistant
        address = f"ws://127.0.0.1:{port}{path}?" + (f"assistant_id={name}" if name else "")
        all_headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        async with connect(
            address + query,
            additional_headers=all_headers,
            subprotocols=[Subprotocol(name) for name in subprotocols] if subprotocols else None,
            compression=None,
            max_size=None,
            proxy=None,
            **options,
        ) as client:
            yield Client(client)

    yield connected
    await pipeline.close_all()
    server.should_exit = True
    await serving


@pytest.fixture
def alice(transactional_db: None) -> User:
    return make_user("alice")


@pytest.fixture
def alice_key(alice: User) -> str:
    return make_key(alice)


@pytest.fixture
def builtin(transactional_db: None) -> None:
    """The offline models and the built-in tools."""
    sync_builtin_tools()
    sync_builtin_models()


@pytest.fixture
def assistant(builtin: None, alice: User, upstream: FakeUpstream) -> Assistant:
    """An assistant of alice that waits for the user, with models at the fake vendor."""
    row = {"owner": alice, "vendor": "openai_compatible", "base_url": upstream.base_url}
    return Assistant.objects.create(
        owner=alice,
        name="Ada",
        language="en",
        first_turn_mode="user_first",
        llm=Llm.objects.create(name="llm", model_name="m", **row),
        asr=Asr.objects.create(name="asr", model_name="m", **row),
        voice=Voice.objects.create(name="voice", model="m", voice_key="v", language="en", **row),
        interruption_sensitivity_ms=200,
        end_of_turn_silence_ms=300,
    )


@pytest.fixture
async def speech() -> bytes:
    """About two seconds of somebody speaking."""
    return await spoken("Good morning, please tell me something about your work.")


@pytest.fixture
async def word() -> bytes:
    """One short word."""
    return (await spoken("Hm."))[: 32 * 160]


_SPOKEN: dict[str, bytes] = {}


async def spoken(text: str) -> bytes:
    """The text as the built-in voice says it."""
    if text not in _SPOKEN:
        voice = VoiceSpec(Endpoint("test", "builtin", "", "", "espeak"), "test", "en", "en-us")
        async with speaker(voice).speak(text) as pieces:
            _SPOKEN[text] = b"".join([pcm async for pcm in pieces])
    return _SPOKEN[text]


async def change(row: Any, **fields: Any) -> None:
    """Saves these fields of a row, from asynchronous code."""
    for name, value in fields.items():
        setattr(row, name, value)
    await in_db(row.save)
