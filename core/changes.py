"""Word of rows that changed, from triggers of the database to the memory of each event loop.

A trigger says `pg_notify('changes', '<topic>:<what>')` in the transaction of the change, so that
raw SQL, bulk updates and other processes count like a save. Each loop has one connection that
listens. Word may be lost while it does not: whoever keeps something in memory asks `is_listening`
before it trusts it for long, and is told by `on_gap`, after every connect, that anything may have
changed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import traceback
from collections.abc import Callable
from typing import Any

import psycopg
from django.db import connections

from core.loops import PerLoop

logger = logging.getLogger(__name__)

CHANNEL = "changes"
APPLICATION = "changes"
_CONNECT_TIMEOUT_S = 5.0
# A server that vanished without a word says nothing for ever: it is asked this often.
_ASK_EVERY_S = 1.0
_ANSWER_TIMEOUT_S = 2.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 2.0


@dataclasses.dataclass(frozen=True, slots=True)
class _Subscription:
    topic: str
    callback: Callable[[str], None]
    on_gap: Callable[[], None]


class Listener:
    """The one listening connection of an event loop; it comes back by itself."""

    def __init__(self) -> None:
        self.is_listening = False
        self._subscriptions: list[_Subscription] = []
        self._task: asyncio.Task[None] | None = None
        self._is_outage_said = False
        # Since the present attempt to connect began.
        self._has_listened = False

    def subscribe(
        self, topic: str, callback: Callable[[str], None], on_gap: Callable[[], None]
    ) -> None:
        """Calls back on this loop with the `<what>` of every change of the topic."""
        self._subscriptions.append(_Subscription(topic, callback, on_gap))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="changes")

    async def close(self) -> None:
        """Ends the connection; no one is called back afterwards."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            self._has_listened = False
            try:
                await self._connect_and_listen()
            except (psycopg.Error, OSError) as error:
                self._report(error)
            except Exception:
                # Without a listener every key would be read from the database every 2 s, for ever.
                logger.exception("Word of changed rows could not be passed on")
            self.is_listening = False
            if self._has_listened:
                wait_s = _FIRST_WAIT_S
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    async def _connect_and_listen(self) -> None:
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            connection = await _connect()
        try:
            await self._listen(connection)
        finally:
            await connection.close()

    async def _listen(self, connection: psycopg.AsyncConnection[Any]) -> None:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            await connection.execute(f"LISTEN {CHANNEL}")
        for subscription in self._subscriptions:
            subscription.on_gap()
        self.is_listening = self._has_listened = True
        self._is_outage_said = False
        while True:
            async for word in connection.notifies(timeout=_ASK_EVERY_S):
                self._pass_on(word.payload)
            await self._ask(connection)

    async def _ask(self, connection: psycopg.AsyncConnection[Any]) -> None:
        # To give up takes psycopg ten seconds more, in which it asks the server to stop.
        silence = asyncio.get_running_loop().call_later(_ANSWER_TIMEOUT_S, self._note_silence)
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                await connection.execute("SELECT 1")
            # An answer in the last moment; what it tells of came with it.
            self.is_listening = True
        finally:
            silence.cancel()

    def _note_silence(self) -> None:
        self.is_listening = False

    def _pass_on(self, payload: str) -> None:
        topic, _colon, what = payload.partition(":")
        for subscription in self._subscriptions:
            if subscription.topic == topic:
                subscription.callback(what)

    def _report(self, error: Exception) -> None:
        """Once for each outage."""
        if not self._is_outage_said:
            self._is_outage_said = True
            logger.warning("No word of changed rows until the database is back: %r", error)


async def _connect() -> psycopg.AsyncConnection[Any]:
    try:
        return await psycopg.AsyncConnection.connect(**_parameters())
    except asyncio.CancelledError as error:
        # What is half open is held by the frames, which would live until garbage is collected.
        traceback.clear_frames(error.__traceback__)
        raise


def _parameters() -> dict[str, Any]:
    """Django's own, without what is for its connections only."""
    parameters: dict[str, Any] = connections["default"].get_connection_params()
    for name in ("cursor_factory", "context"):
        parameters.pop(name, None)
    return {**parameters, "autocommit": True, "application_name": APPLICATION}


async def _close(listener: Listener) -> None:
    await listener.close()


_LISTENERS = PerLoop(Listener, _close)


def listener() -> Listener:
    """The running loop's; whoever asks often keeps it. It ends together with the loop."""
    return _LISTENERS.get()


def subscribe(topic: str, callback: Callable[[str], None], on_gap: Callable[[], None]) -> None:
    """Calls back, on the running loop, with the `<what>` of every change of the topic.

    `on_gap` is called after every connect: what was learnt before may not hold any more. Both must
    be quick, and may not raise.
    """
    listener().subscribe(topic, callback, on_gap)


def is_listening() -> bool:
    """Whether word of every change reaches the running loop at present."""
    return listener().is_listening
