"""The real application on a real socket, and a client of the chat."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Conversation, Run
from core.db import in_db
from providers.fakes import FakeUpstream
from providers.models import Llm
from tests.conftest import make_key, make_user

PATIENCE_S = 40.0


@dataclasses.dataclass
class Stream:
    """What a client reads of one answer; comments are kept apart."""

    response: httpx.Response
    payloads: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    comments: list[str] = dataclasses.field(default_factory=list)
    is_over: bool = False

    def __post_init__(self) -> None:
        self._lines = self.response.aiter_lines()

    @property
    def text(self) -> str:
        """The answer, from its pieces."""
        return "".join(each["data"]["chunk"] for each in self.of("response_chunk"))

    def of(self, type: str) -> list[dict[str, Any]]:
        return [each for each in self.payloads if each.get("type") == type]

    async def next(self) -> dict[str, Any] | str | None:
        """The next payload or comment; None at the end, and once only."""
        assert not self.is_over, "the stream has ended"
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments.append(line)
                    return line
                if line:
                    assert line.startswith("data: "), line
                    self.payloads.append(json.loads(line.removeprefix("data: ")))
                    return self.payloads[-1]
        self.is_over = True
        return None

    async def rest(self) -> Stream:
        while await self.next() is not None:
            pass
        return self


class Client:
    """Somebody with a key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.http.post(path, json=body)

    @asynccontextmanager
    async def stream(self, path: str, **body: Any) -> AsyncIterator[Stream]:
        async with self.http.stream("POST", path, json=body) as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"].startswith("text/event-stream"), (
                await response.aread()
            )
            yield Stream(response)

    async def chat(self, dialog: Conversation | str, text: str, **more: Any) -> Stream:
        """The whole answer."""
        key = dialog.pk if isinstance(dialog, Conversation) else dialog
        async with self.stream("chat", user_input=text, dialog_id=key, **more) as stream:
            return await stream.rest()


ClientFor = Callable[[str], AbstractAsyncContextManager[Client]]


@pytest.fixture
async def address(transactional_db: None) -> AsyncIterator[str]:
    """Where the application listens, which this test serves."""
    from config.asgi import application

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(application, http="httptools", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.fixture
def client_for(address: str) -> ClientFor:
    """A client with this credential."""

    @asynccontextmanager
    async def opened(credential: str) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {credential}"}
        async with httpx.AsyncClient(
            base_url=f"{address}/api/v1/", headers=headers, timeout=PATIENCE_S, trust_env=False
        ) as http:
            yield Client(http)

    return opened


@pytest.fixture
def alice(transactional_db: None) -> User:
    return make_user("alice")


@pytest.fixture
def bob(transactional_db: None) -> User:
    return make_user("bob")


@pytest.fixture
async def alices(alice: User, client_for: ClientFor) -> AsyncIterator[Client]:
    async with client_for(await in_db(make_key, alice)) as client:
        yield client


@pytest.fixture
async def bobs(bob: User, client_for: ClientFor) -> AsyncIterator[Client]:
    async with client_for(await in_db(make_key, bob)) as client:
        yield client


@pytest.fixture
def llm(alice: User, upstream: FakeUpstream) -> Llm:
    row = {"owner": alice, "vendor": "openai_compatible", "base_url": upstream.base_url}
    return Llm.objects.create(name="llm", model_name="m", **row)


@pytest.fixture
def ada(alice: User, llm: Llm) -> Assistant:
    """An assistant of alice with a model at the fake vendor."""
    return Assistant.objects.create(owner=alice, name="Ada", language="en", llm=llm)


@pytest.fixture
async def dialog(alices: Client, ada: Assistant) -> Conversation:
    """A dialog of alice with Ada."""
    return await dialog_with(alices, ada)


async def dialog_with(client: Client, assistant: Assistant, **more: Any) -> Conversation:
    made = await client.post("dialog", name="Talk", agent_id=assistant.pk, **more)
    dialog_id = made.json()["data"]["dialog_id"]
    return await in_db(Conversation.objects.get, pk=dialog_id)


async def last_run(dialog: Conversation) -> Run:
    run = await in_db(Run.objects.filter(conversation=dialog).latest, "created_at")
    assert isinstance(run, Run)
    return run


async def until_over(dialog: Conversation) -> Run:
    """The dialog's latest run, when it has ended."""
    async with asyncio.timeout(PATIENCE_S):
        while not (run := await last_run(dialog)).is_over:
            await asyncio.sleep(0.01)
    return run
