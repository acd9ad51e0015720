"""What comes into use is loaded before anybody asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from accounts.models import User
from assistants.models import Assistant
from conversations.models import Channel, Conversation
from conversations.warming import kept_warm, warm_up
from core.db import in_db
from providers import registry
from providers.models import Llm
from tests.core.test_changes import until
from tooling.mcp import client as mcp_client
from tooling.models import McpServer

pytestmark = pytest.mark.django_db(transaction=True)


class Loaded(list[tuple[set[tuple[str, str]], bool]]):
    """What the registry was told to load: models, and whether to start processes."""

    def warm_up(self, models: Collection[tuple[str, str]], *, workers: bool) -> None:
        self.append((set(models), workers))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Loaded:
    told = Loaded()
    monkeypatch.setattr(registry, "warm_up", told.warm_up)
    return told


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr(mcp_client, "warm_up", lambda: told.append("mcp"))
    return told


def make_llm(vendor: str, *, is_enabled: bool = True) -> Llm:
    return Llm.objects.create(name=vendor, vendor=vendor, model_name="m", is_enabled=is_enabled)


def make_assistant(llm: Llm | None) -> Assistant:
    """An assistant to which somebody has spoken."""
    owner = User.objects.get_or_create(username="alice")[0]
    assistant = Assistant.objects.create(owner=owner, name="A", llm=llm)
    Conversation.objects.create(owner=owner, assistant=assistant, channel=Channel.CHAT)
    return assistant


async def test_models_in_use_are_loaded(loaded: Loaded, sessions: list[str]) -> None:
    def make() -> None:
        make_assistant(make_llm("openai"))
        make_assistant(make_llm("anthropic", is_enabled=False))
        make_llm("deepseek")

    await in_db(make)
    await warm_up()
    assert loaded == [({("text", "openai")}, True)]
    assert sessions == []


async def test_nothing_is_loaded_where_nobody_has_spoken_yet(loaded: Loaded) -> None:
    def make() -> None:
        make_assistant(make_llm("openai"))
        Conversation.objects.all().delete()

    await in_db(make)
    await warm_up()
    assert loaded == [(set(), True)]


async def test_an_assistant_without_a_model_may_answer_by_any(loaded: Loaded) -> None:
    def make() -> None:
        make_assistant(None)
        make_llm("openai")
        make_llm("anthropic", is_enabled=False)

    await in_db(make)
    await warm_up()
    assert loaded == [({("text", "openai")}, True)]


async def test_a_worker_starts_no_processes(loaded: Loaded) -> None:
    await warm_up(workers=False)
    assert loaded == [(set(), False)]


@pytest.mark.usefixtures("loaded")
async def test_mcp_is_loaded_for_those_who_have_a_server(sessions: list[str]) -> None:
    server = await in_db(lambda: McpServer.objects.create(name="s", prefix="s", is_enabled=False))
    await warm_up()
    assert sessions == []
    await in_db(McpServer.objects.filter(pk=server.pk).update, is_enabled=True)
    await warm_up()
    assert sessions == ["mcp"]


async def test_a_model_that_is_enabled_meanwhile_is_loaded(loaded: Loaded) -> None:
    def make() -> Llm:
        llm = make_llm("anthropic", is_enabled=False)
        make_assistant(llm)
        return llm

    llm = await in_db(make)
    async with kept_warm():
        await until(lambda: bool(loaded))
        assert loaded[-1] == (set(), True)
        await in_db(Llm.objects.filter(pk=llm.pk).update, is_enabled=True)
        await until(lambda: loaded[-1] == ({("text", "anthropic")}, True))


@pytest.mark.parametrize("error", [ImportError("no such SDK"), AttributeError("another version")])
async def test_what_cannot_be_loaded_is_logged_and_tried_again(
    loaded: Loaded,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def broken(models: Collection[tuple[str, str]], *, workers: bool) -> None:
        monkeypatch.setattr(registry, "warm_up", loaded.warm_up)
        raise error

    monkeypatch.setattr(registry, "warm_up", broken)
    async with kept_warm():
        await until(lambda: "could not be warmed up" in caplog.text)
        assert loaded == []
        await in_db(make_llm, "openai")
        await until(lambda: bool(loaded))


async def test_it_ends_with_who_keeps_it(loaded: Loaded) -> None:
    async with kept_warm():
        await until(lambda: bool(loaded))
    assert "kept warm" not in {task.get_name() for task in asyncio.all_tasks()}
