"""A fake vendor in a thread of its own, for tests: works beside any event loop or none."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

from providers.fakes.behaviour import Behaviour, Kind, Stats, Step
from providers.fakes.upstream import Upstream


class FakeUpstream:
    """`with FakeUpstream() as fake: … fake.base_url …`; the port is free when it ends."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self._upstream = Upstream(behaviour)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fake-upstream", daemon=True)
        self._is_up = threading.Event()
        self._stop = asyncio.Event()
        self.port = 0

    @property
    def root_url(self) -> str:
        """Where /stats is, and where Anthropic's SDK starts."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI-compatible vendor's row names."""
        return f"{self.root_url}/v1"

    @property
    def behaviour(self) -> Behaviour:
        """Its fields may be changed at any time; a request sees what is set when it arrives."""
        return self._upstream.behaviour

    def set_behaviour(self, behaviour: Behaviour) -> None:
        """Replaces the behaviour."""
        self._upstream.behaviour = behaviour

    @property
    def stats(self) -> Stats:
        return self._upstream.stats

    @property
    def conversations(self) -> dict[str, list[str]]:
        """What was said in each conversation that Dify or FastGPT keeps, by its id there."""
        return {key: list(said) for key, said in self._upstream.conversations.items()}

    def script(self, kind: Kind, *steps: Step) -> None:
        """Queues answers for the next requests of a kind."""
        self._upstream.script(kind, *steps)

    def reset(self) -> None:
        """Forgets counters and scripts."""
        self._upstream.reset()

    def drop_connections(self) -> None:
        """Cuts off every client, as a vendor does with connections it has kept long enough."""
        done = threading.Event()

        def drop() -> None:
            self._upstream.close_connections()
            # The clients' sockets are closed when the loop has gone round once more.
            self._loop.call_soon(done.set)

        self._loop.call_soon_threadsafe(drop)
        done.wait(timeout=5)

    def __enter__(self) -> Self:
        self._thread.start()
        self._is_up.wait(timeout=10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await self._loop.create_server(self._upstream.connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._is_up.set()
        await self._stop.wait()
        server.close()
        self._upstream.close_connections()
        await asyncio.sleep(0)
