"""Loads what conversations will need, before anybody waits for it: for models and servers in use.

What nobody uses is not loaded. Where it is asked for later, it is loaded then, off the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from assistants.models import Assistant
from conversations.models import Conversation
from core import changes
from core.db import in_db
from providers import registry, specs
from providers.profiles import Kind
from tooling.mcp import client as mcp_client
from tooling.models import McpServer

logger = logging.getLogger(__name__)

# A process begins to serve without a database, too.
_LOOK_WITHIN_S = 5.0


async def warm_up(*, workers: bool = True) -> None:
    """Loads it; `workers`: also starts the processes of built-in models. A failure is logged."""
    try:
        async with asyncio.timeout(_LOOK_WITHIN_S):
            models, has_servers = await in_db(_in_use)
        await asyncio.to_thread(registry.warm_up, models, workers=workers)
        if has_servers:
            await asyncio.to_thread(mcp_client.warm_up)
    except Exception:
        # The outer edge of what a process can do without: whatever a vendor's SDK raises while it
        # is loaded would end the lifespan of a web process, and its calls would not end in order.
        logger.exception("a model could not be warmed up")


def _in_use() -> tuple[set[tuple[Kind, str]], bool]:
    # Models may serve the gateway alone, which needs none of this.
    answering: set[str | None] = set()
    if Conversation.objects.exists():
        vendors = Assistant.objects.order_by().values_list("llm__vendor", flat=True)
        answering.update(vendors.distinct())
    models = {
        (kind, vendor)
        for kind, vendor in specs.in_use()
        # An assistant without a model answers by any.
        if kind != "text" or vendor in answering or None in answering
    }
    return models, McpServer.objects.filter(is_enabled=True).exists()


@asynccontextmanager
async def kept_warm() -> AsyncIterator[None]:
    """Loads what comes into use meanwhile, too: word of changed models is followed.

    Of an assistant that is given another model there is no word, nor of the first conversation of
    all: their first question loads.
    """
    news = asyncio.Event()
    changes.subscribe("models", lambda _what: news.set(), news.set)
    async with asyncio.TaskGroup() as group:
        following = group.create_task(_follow(news), name="kept warm")
        try:
            yield
        finally:
            following.cancel()


async def _follow(news: asyncio.Event) -> None:
    while True:
        await news.wait()
        news.clear()
        await warm_up()
