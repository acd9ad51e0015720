"""The load: N users, each of whom sends a message and watches its task. A process of its own.

Reads one JSON job from standard input and prints one line, the findings. Who polls begins with it
when the first messages of all are accepted, which a line says: `accepted`. Users speak HTTP by
hand, over one connection each, so that they cost less than what is measured.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import uvloop

ACCEPTED = "accepted"
OVER = frozenset({"succeeded", "failed", "canceled"})
ENDS_WITHIN_S = 300.0


@dataclasses.dataclass(frozen=True)
class Job:
    """What the users do: `rounds` messages each, watched `polls_per_s` times a second.

    Without polls they wait for events, as long as the server lets them.
    """

    base_url: str
    keys: list[str]
    model_id: str
    expected: str
    rounds: int = 1
    polls_per_s: float = 0.0
    is_one_after_the_other: bool = False


@dataclasses.dataclass
class Findings:
    """What all users saw; times in milliseconds."""

    failures: list[str] = dataclasses.field(default_factory=list)
    to_accepted: list[float] = dataclasses.field(default_factory=list)
    to_first_event: list[float] = dataclasses.field(default_factory=list)
    poll: list[float] = dataclasses.field(default_factory=list)
    events: int = 0
    chunks: int = 0
    tasks: int = 0
    took_s: float = 0.0


class Connection:
    """One connection to the server that is kept open."""

    def __init__(self, base_url: str, key: str) -> None:
        self._url = urlsplit(base_url)
        self._head = f"Host: {self._url.netloc}\r\nX-Api-Key: {key}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer."""
        if self._streams is None:
            assert self._url.hostname is not None
            self._streams = await asyncio.open_connection(self._url.hostname, self._url.port)
        reader, writer = self._streams
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} /api/v1{path} HTTP/1.1\r\n{self._head}"
        if content:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        elif method == "POST":
            head += "Content-Length: 0\r\n"
        writer.write(f"{head}\r\n".encode() + content)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines[1:] if line)
        }
        answer = await reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split(" ")[1]), json.loads(answer)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class Start:
    """Where users wait for each other; the last one says so."""

    def __init__(self, users: int) -> None:
        self._missing = users
        self._is_given = asyncio.Event()

    async def wait(self) -> None:
        self.pass_by()
        await self._is_given.wait()

    def pass_by(self) -> None:
        """Lets the others begin without this user."""
        self._missing -= 1
        if not self._missing:
            print(ACCEPTED, flush=True)
            self._is_given.set()


class Watcher:
    """One user. What it sees of a task must be whole, in order and once."""

    def __init__(self, job: Job, key: str, findings: Findings, start: Start | None) -> None:
        self._job, self._findings, self._start = job, findings, start
        self._connection = Connection(job.base_url, key)
        self._conversation_id: str | None = None

    async def work(self) -> None:
        """Sends the messages, each when the one before it is answered."""
        try:
            for _ in range(self._job.rounds):
                async with asyncio.timeout(ENDS_WITHIN_S):
                    await self._round()
        except (OSError, EOFError, TimeoutError, KeyError) as error:
            self._findings.failures.append(f"{type(error).__name__}: {error}")
        finally:
            if self._start is not None:
                self._start.pass_by()
            self._connection.close()

    async def _round(self) -> None:
        sent_at = time.perf_counter()
        status, answer = await self._connection.request(
            "POST",
            "/messages",
            {
                "message": "Go on.",
                "model_key": self._job.model_id,
                "conversation_id": self._conversation_id,
                "run_mode": "fast",
            },
        )
        accepted_at = time.perf_counter()
        if status != 202:
            self._findings.failures.append(f"POST {status}: {answer}")
            return
        self._findings.to_accepted.append((accepted_at - sent_at) * 1000)
        self._conversation_id = answer["conversation_id"]
        if self._start is not None:
            start, self._start = self._start, None
            await start.wait()
        events = await self._watched(answer["task_id"], accepted_at)
        self._findings.events += len(events)
        self._findings.tasks += 1
        self._check(events)

    async def _watched(self, task_id: str, accepted_at: float) -> list[dict[str, Any]]:
        """All events, as they came."""
        seen: list[dict[str, Any]] = []
        has_begun = False
        every_s = 1 / self._job.polls_per_s if self._job.polls_per_s else 0
        next_at = time.perf_counter() + random.random() * every_s
        while True:
            if every_s:
                await asyncio.sleep(next_at - time.perf_counter())
                next_at += every_s
            data = await self._read(task_id, len(seen), waits=not every_s)
            seen += data["events"]
            if not has_begun and any(each["type"] == "ai_message_start" for each in seen):
                has_begun = True
                elapsed_ms = (time.perf_counter() - accepted_at) * 1000
                self._findings.to_first_event.append(elapsed_ms)
            if data["next_offset"] != len(seen):
                self._findings.failures.append(f"offset {data['next_offset']} of {len(seen)}")
            if data["status"] in OVER:
                return seen

    async def _read(self, task_id: str, first: int, *, waits: bool) -> dict[str, Any]:
        wait = "&wait=20" if waits else ""
        asked_at = time.perf_counter()
        status, answer = await self._connection.request(
            "GET", f"/tasks/{task_id}?from={first}{wait}"
        )
        if not waits:
            self._findings.poll.append((time.perf_counter() - asked_at) * 1000)
        if status != 200:
            raise KeyError(f"GET {status}: {answer}")
        data: dict[str, Any] = answer["data"]
        return data

    def _check(self, events: list[dict[str, Any]]) -> None:
        failures = self._findings.failures
        if [each["idx"] for each in events] != list(range(len(events))):
            failures.append("events are lost, doubled or out of order")
        chunks = [each["data"]["content"] for each in events if each["type"] == "text_chunk"]
        self._findings.chunks += len(chunks)
        if "".join(chunks) != self._job.expected:
            failures.append(f"the text is not whole: {events[-1]}")
        if events[-1]["type"] != "task_complete":
            failures.append(f"the last event: {events[-1]}")


async def _run(job: Job) -> Findings:
    findings = Findings()
    start = Start(len(job.keys)) if job.polls_per_s else None
    watchers = [Watcher(job, key, findings, start) for key in job.keys]
    began = time.perf_counter()
    if job.is_one_after_the_other:
        for watcher in watchers:
            await watcher.work()
    else:
        await asyncio.gather(*(watcher.work() for watcher in watchers))
    findings.took_s = time.perf_counter() - began
    return findings


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    print(json.dumps(dataclasses.asdict(uvloop.run(_run(job)))))


if __name__ == "__main__":
    main()
