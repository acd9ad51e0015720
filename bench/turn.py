"""What a turn with a tool costs of our own, against the same loop written by hand with httpx.

    make bench BENCH=turn        or    python -m bench.turn --turns 200 --concurrent 200

A fake vendor in a process of its own calls the calculator and then answers in a sentence, each
after a fixed time. The turn is made by `conversations.turn`, and by a loop that does no more than
it must: two requests, the sum, the words put together. Both are run in turn, so that both meet the
same machine. "processor" is what a turn takes of it in this process; "over the model" is the time
on the clock less the vendor's. Of many turns, the figure is what a tenth of them stay below; of
many "at once", their share in the cheapest of some rounds. Nothing that a turn takes may grow with
their number. The last line is a call of the sandbox.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from typing import Any

# No database is asked and no Redis, but the settings want to know where they are.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
os.environ.setdefault("SECRET_KEY", "bench-" * 10)

import django
import httpx
import uvloop
from django.apps import apps
from django.conf import settings

if not apps.ready:
    django.setup()

from assistants.runtime import AssistantRuntime, TurnTaking
from bench.programs import running
from bench.voice import machine
from conversations.encoding import collect
from conversations.turn import TurnRequest, run_turn
from providers.types import Endpoint, LlmSpec
from tooling import sandbox
from tooling.builtin.calculator import calculate
from tooling.catalogue import BUILTIN_TOOLS
from tooling.types import BuiltinTarget, ToolSpec

QUESTION = "What is 17 times 23?"
CALL_JSON = json.dumps({"name": "calculator", "arguments": {"expression": "17 * 23"}})
ANSWER = "Seventeen times twenty-three is three hundred and ninety-one."
PROMPT = "You are a friendly assistant on the telephone. Answer in one short sentence."
FIRST_TOKEN_MS = 20
MODEL_MS = 2 * FIRST_TOKEN_MS
WARM_UP = 20
# Turns at once are run so often, and the cheapest round counts.
ROUNDS = 5

Turn = Callable[[], Coroutine[Any, Any, None]]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What turns took, each: on the clock and of the processor, in milliseconds."""

    wall_ms: float
    processor_ms: float


@dataclasses.dataclass(frozen=True)
class Result:
    """The figures of one run."""

    ours: Cost
    by_hand: Cost
    together: Cost
    by_hand_together: Cost
    concurrent: int
    sandbox: Cost

    @property
    def growth(self) -> float:
        """Processor time of a turn among many, as a share of one alone."""
        return self.together.processor_ms / self.ours.processor_ms

    def lines(self) -> Iterator[str]:
        """What is printed."""
        ratio = self.ours.processor_ms / self.by_hand.processor_ms
        yield "one after the other      processor   over the model"
        for name, cost in (("ours", self.ours), ("by hand", self.by_hand)):
            over = cost.wall_ms - MODEL_MS
            yield f"{name:>20}  {cost.processor_ms:9.2f} ms  {over:9.2f} ms"
        more = self.ours.processor_ms - self.by_hand.processor_ms
        yield f"{'ours to by hand':>20}  {ratio:9.1f} x   {more:+9.2f} ms of the processor"
        yield f"{self.concurrent} at once"
        yield f"{'ours':>20}  {self.together.processor_ms:9.2f} ms a turn"
        yield f"{'by hand':>20}  {self.by_hand_together.processor_ms:9.2f} ms a turn"
        yield f"{'ours to one alone':>20}  {self.growth:9.2f} x"
        yield f"sandbox: {self.sandbox.processor_ms:.2f} ms, {self.sandbox.wall_ms:.2f} ms in all"


# --- The two loops -------------------------------------------------------------------------------


def calculator() -> ToolSpec:
    """The built-in tool, as an assistant has it."""
    builtin = BUILTIN_TOOLS["calculator"]
    return ToolSpec(
        id=builtin.id,
        name=builtin.name.get("en"),
        description=builtin.told("en"),
        parameters=builtin.parameters("en"),
        defaults={},
        executor="server",
        wait_for_response=True,
        timeout_ms=builtin.timeout_ms,
        target=BuiltinTarget(builtin.id),
    )


def assistant(base_url: str) -> AssistantRuntime:
    """An assistant that thinks at the vendor and may calculate."""
    return AssistantRuntime(
        id="bench",
        owner_id=None,
        name="Bench",
        language="en",
        prompt=PROMPT,
        first_turn="user_first",
        opener="",
        generates_opener=False,
        opener_tool_calls=(),
        opener_pcm=None,
        llm=LlmSpec(Endpoint("bench", "openai_compatible", base_url, "key", "model"), "Model"),
        recogniser=None,
        voice=None,
        voice_output=False,
        turn_taking=TurnTaking(True, 500, 500, False),
        tools=(calculator(),),
        knowledge=None,
        embedder=None,
        time_zone="UTC",
    )


def our_turn(base_url: str) -> Turn:
    """A turn as the product makes it."""
    runtime = assistant(base_url)

    async def turn() -> None:
        request = TurnRequest(turn=1, text=QUESTION, history=(), variables={})
        async with aclosing(run_turn(request, runtime)) as events:
            done = await collect(events)
        assert (done.text, done.tool_results[0].output) == (ANSWER, "391"), done

    return turn


def turn_by_hand(base_url: str, client: httpx.AsyncClient) -> Turn:
    """The least that a program can do for the same answer."""
    spec = calculator()
    function = {
        "name": spec.id,
        "description": spec.description,
        "parameters": spec.parameters,
    }
    body = {
        "model": "model",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": function}],
    }

    async def turn() -> None:
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": PROMPT},
            {"role": "user", "content": QUESTION},
        ]
        text, calls = "", True
        while calls:
            text, said = await _asked(client, base_url, {**body, "messages": messages})
            calls = bool(said.get("tool_calls"))
            messages.append(said)
            for call in said.get("tool_calls", ()):
                expression = json.loads(call["function"]["arguments"])["expression"]
                result = {"tool_call_id": call["id"], "content": calculate(expression)}
                messages.append({"role": "tool", **result})
        assert text == ANSWER, text

    return turn


async def _asked(
    client: httpx.AsyncClient, base_url: str, body: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    text = ""
    calls: dict[int, dict[str, Any]] = {}
    async with client.stream("POST", f"{base_url}/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            for choice in json.loads(line[6:])["choices"]:
                delta = choice["delta"]
                text += delta.get("content") or ""
                for piece in delta.get("tool_calls", ()):
                    if "id" in piece:
                        calls[piece["index"]] = piece
                    else:
                        arguments = piece["function"]["arguments"]
                        calls[piece["index"]]["function"]["arguments"] += arguments
    said: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        said["tool_calls"] = list(calls.values())
    return text, said


# --- Measuring -----------------------------------------------------------------------------------


async def cost_of(turns: Callable[[], Awaitable[object]], count: int = 1) -> Cost:
    """What `count` turns took together, divided by their number."""
    wall, processor = time.perf_counter(), time.process_time()
    await turns()
    spent_s = time.process_time() - processor
    return Cost((time.perf_counter() - wall) * 1000, spent_s * 1000 / count)


def undisturbed(costs: list[Cost]) -> Cost:
    """What a tenth of the turns stay below: others on the machine cost the rest of them more."""
    return Cost(_tenth(cost.wall_ms for cost in costs), _tenth(cost.processor_ms for cost in costs))


def _tenth(values: Iterable[float]) -> float:
    return statistics.quantiles(values, n=10)[0]


async def one_by_one(turns: list[Turn], count: int) -> list[Cost]:
    """The cost of each kind of turn, made alternately."""
    costs: list[list[Cost]] = [[] for _ in turns]
    for number in range(WARM_UP + count):
        for turn, spent in zip(turns, costs, strict=True):
            cost = await cost_of(turn)
            if number >= WARM_UP:
                spent.append(cost)
    return [undisturbed(spent) for spent in costs]


async def at_once(turn: Turn, count: int) -> Cost:
    """The cost of a turn among many; connections are made in a first round that is not counted."""

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(turn())

    await all_of_them()
    rounds = [await cost_of(all_of_them, count) for _ in range(ROUNDS)]
    return min(rounds, key=lambda cost: cost.processor_ms)


async def measure(base_url: str, *, turns: int, concurrent: int) -> Result:
    """Everything, in one process and one event loop."""
    limits = httpx.Limits(max_connections=1000, max_keepalive_connections=1000)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        ours, hand = our_turn(base_url), turn_by_hand(base_url, client)
        gc.collect()
        alone, hand_alone = await one_by_one([ours, hand], turns)
        together = await at_once(ours, concurrent)
        hand_together = await at_once(hand, concurrent)

    async def run_code() -> None:
        assert (await sandbox.run_code("sum(range(100))")).value == "4950"

    (code,) = await one_by_one([run_code], turns)
    return Result(alone, hand_alone, together, hand_together, concurrent, code)


@contextlib.contextmanager
def vendor() -> Iterator[str]:
    """The fake vendor's address."""
    options = {
        "reply": ANSWER,
        "tool-call": CALL_JSON,
        "llm-first-ms": FIRST_TOKEN_MS,
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    with running([sys.executable, "-m", "providers.fakes", *arguments], until="ready") as program:
        yield program.ready_line.split()[1]


def allow_loopback() -> None:
    """Lets the guarded client reach the vendor, without asking a database."""
    settings.OUTBOUND_ALLOW = ["127.0.0.1/32"]
    settings.OUTBOUND_RULES_SOURCE = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, default=200, help="turns one after the other")
    parser.add_argument("--concurrent", type=int, default=200, help="turns at once")
    options = parser.parse_args()
    allow_loopback()
    print(f"machine: {machine()}", flush=True)
    with vendor() as base_url:
        result = uvloop.run(measure(base_url, turns=options.turns, concurrent=options.concurrent))
    print("\n".join(result.lines()))


if __name__ == "__main__":
    main()
