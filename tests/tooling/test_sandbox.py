"""The sandbox: what it gives back, what it refuses, and how it survives what is run in it."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tooling import sandbox
from tooling.builtin import code_interpreter
from tooling.catalogue import BUILTIN_TOOLS
from tooling.sandbox import SandboxResult, SandboxUnavailable, run_code, shown
from tooling.types import ToolContext

ROOT = Path(__file__).parents[2]
CONTEXT = ToolContext(None, "assistant", "en", "UTC")
ENDLESS = "while True: pass"
VALUES = "{'a': (1,), 'b': {2}, 'c': (1, 2), 'd': set(), 3: None, 4: b'x', 5: 1.5}"


def workers() -> list[psutil.Process]:
    """The interpreters that belong to this process."""
    # A child has no command line between its fork and its exec, nor once it has ended.
    children = [(each, each.cmdline()) for each in psutil.Process().children()]
    return [child for child, words in children if words and "monty" in Path(words[0]).name]


@pytest.fixture(autouse=True)
async def ended_workers() -> AsyncIterator[None]:
    yield
    await sandbox.close()
    gone, alive = await asyncio.to_thread(psutil.wait_procs, workers(), 5)
    assert not alive, gone


# --- Results -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "stdout", "value"),
    [
        (VALUES, "", VALUES),
        ("print('hello')", "hello\n", None),
        ("6 * 7", "", "42"),
        ("print('a')\nx = [1, 2]\nx", "a\n", "[1, 2]"),
        ("x = 1", "", None),
        ("'é二\ud800'", "", "'é二?'"),
        ("import decimal\ndecimal.Decimal('0.10') * 3", "", "Decimal('0.30')"),
        ("import datetime\ndatetime.date(2026, 1, 2)", "", "datetime.date(2026, 1, 2)"),
        ("import collections\ncollections.Counter('aab')", "", "{'a': 2, 'b': 1}"),
        ("class A:\n  def __init__(self): self.x = [1]\nA()", "", "A(x=[1])"),
        ("10 ** 4000", "", str(10**4000)),
        ("", "", None),
    ],
)
async def test_it_gives_back_what_is_printed_and_the_last_value(
    code: str, stdout: str, value: str | None
) -> None:
    assert await run_code(code) == SandboxResult(stdout, value)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("print('a')\n1/0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError"),
        ("class A: pass\nclass B(A): pass", "NotImplementedError"),
        ("raise ValueError('é')", "ValueError: é"),
    ],
)
async def test_it_says_how_code_failed_and_where(code: str, error: str) -> None:
    done = await run_code(code)
    assert done.error is not None
    assert error in done.error
    assert "line 1" in done.error or "line 2" in done.error
    assert (done.stdout, done.value) == ("a\n" if "print" in code else "", None)


async def test_each_call_starts_anew() -> None:
    assert (await run_code("secret = 42\nsecret")).value == "42"
    for _call in range(2 * sandbox.MAX_AT_ONCE):
        assert "NameError" in str((await run_code("secret")).error)


# --- What it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("open('/etc/passwd').read()", "PermissionError"),
        ("open('x', 'w')", "PermissionError"),
        ("from pathlib import Path\nPath('/etc/passwd').read_text()", "PermissionError"),
        ("import os\nos.listdir('/')", "PermissionError"),
        ("import os\nos.environ", "not supported"),
        ("import os\nos.system('id')", "AttributeError"),
        ("import socket", "ModuleNotFoundError"),
        ("import subprocess", "ModuleNotFoundError"),
        ("import urllib.request", "ModuleNotFoundError"),
        ("import importlib", "ModuleNotFoundError"),
        ("import ctypes", "ModuleNotFoundError"),
        ("__import__('os')", "NameError"),
        ("globals()", "NameError"),
        ("input()", "NameError"),
        ("().__class__.__bases__[0].__subclasses__()", "AttributeError"),
        ("(lambda: 0).__globals__", "AttributeError"),
        ("'{0.__class__}'.format(1)", "Error"),
        ("while True: open('x')", "PermissionError"),
        ("def f(): return f()\nf()", "RecursionError"),
        ("10 ** 10 ** 8", "MemoryError"),
        ("'a' * 10 ** 10", "MemoryError"),
        ("2 ** (2 ** 40)", "MemoryError"),
        ("x = []\nwhile True: x.append('a' * 100000)", "MemoryError"),
        ("'a' * 30_000_000", "MemoryError"),
        ("import time\ntime.sleep(5)", "sleep limit exceeded"),
        ("import asyncio\nawait asyncio.sleep(5)", "sleep limit exceeded"),
        ("import time\nfor _ in range(100): time.sleep(0.1)", "sleep limit exceeded"),
        ("(" * 5000, "SyntaxError"),
        ("[" + "1+" * 15_000 + "1]", "Error"),
        ("1" + " " * sandbox.MAX_CODE_CHARS, "longer than"),
        ("10 ** 100_000", "cannot be shown"),
    ],
)
async def test_it_refuses(code: str, error: str) -> None:
    done = await run_code(code)
    assert error in str(done.error)
    assert done.value is None
    assert len(str(done.error)) < 2 * sandbox.MAX_ERROR_CHARS
    assert await run_code("6 * 7") == SandboxResult("", "42")


@pytest.mark.parametrize(
    "code",
    [
        ENDLESS,
        "try:\n  while True: pass\nexcept BaseException: pass\nwhile True: pass",
        "sum(range(10 ** 12))",
    ],
)
async def test_it_ends_what_does_not_end_by_itself(code: str) -> None:
    done = await run_code(code, timeout_s=0.1)
    assert "TimeoutError" in str(done.error)
    assert (await run_code("1")).value == "1"


async def test_it_counts_what_code_asks_of_us() -> None:
    flood = "n = 0\nwhile True:\n  try:\n    open('x')\n  except PermissionError: n += 1"
    done = await run_code(flood, timeout_s=5)
    assert "RuntimeError" in str(done.error)


async def test_a_pattern_without_end_ends() -> None:
    done = await run_code("import re\nre.match('(a+)+$', 'a' * 40 + 'b')", timeout_s=0.5)
    assert done.value is None


async def test_a_flood_of_output_is_stopped_at_once() -> None:
    started = time.process_time()
    done = await run_code("while True: print('x' * 1000)", timeout_s=60)
    assert time.process_time() - started < 10
    assert "printed more than" in str(done.error)
    assert len(done.stdout) == sandbox.MAX_PRINTED_CHARS
    assert (await run_code("print('x' * 19_000)")).error is None


# --- Values --------------------------------------------------------------------------------------


async def test_a_value_that_shares_its_parts_takes_no_time_to_show() -> None:
    done = await run_code("x = [0] * 100\nfor _ in range(30): x = [x] * 10\nx")
    assert done.value is not None
    assert done.value.startswith("[[[[")
    assert len(done.value) == sandbox.MAX_VALUE_CHARS + 1


async def test_a_deep_value_is_shown_as_far_as_anybody_reads() -> None:
    done = await run_code("x = 1\nfor _ in range(100_000): x = [x]\nx")
    levels = sandbox.MAX_VALUE_LEVELS
    assert done.value == "[" * levels + "…" + "]" * levels


@pytest.mark.parametrize("value", ["a" * 100_000, [1] * 100_000, {n: n for n in range(99_999)}])
def test_a_long_value_is_cut(value: object) -> None:
    text = shown(value)
    assert len(text) == sandbox.MAX_VALUE_CHARS + 1
    assert text == repr(value)[: sandbox.MAX_VALUE_CHARS] + "…"


# --- Workers -------------------------------------------------------------------------------------


async def test_it_leaves_the_event_loop_free() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    ticking = asyncio.create_task(tick())
    done = await run_code(ENDLESS, timeout_s=0.2)
    ticking.cancel()
    assert "TimeoutError" in str(done.error)
    assert ticks > 100


async def test_it_survives_a_worker_that_is_killed_while_it_works(
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = asyncio.create_task(run_code(ENDLESS, timeout_s=30))
    (worker,) = await _until(workers)
    await _until(lambda: worker.cpu_times().user > 0)
    os.kill(worker.pid, signal.SIGKILL)
    done = await running
    assert "was stopped" in str(done.error)
    assert "ended its interpreter" in caplog.text
    assert (await run_code("1")).value == "1"


async def test_it_survives_a_worker_that_is_killed_while_it_waits() -> None:
    assert (await run_code("1")).value == "1"
    for worker in workers():
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait(5)
    assert (await run_code("1")).value == "1"


async def test_leaving_a_call_ends_its_worker() -> None:
    running = asyncio.create_task(run_code(ENDLESS, timeout_s=60))
    (worker,) = await _until(workers)
    await _until(lambda: worker.cpu_times().user > 0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.to_thread(worker.wait, 5)
    assert (await run_code("1")).value == "1"


async def test_no_more_run_at_once_than_there_are_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "QUEUE_S", 0.05)
    busy = [asyncio.create_task(run_code(ENDLESS, timeout_s=60)) for _ in range(20)]
    finished, running = await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)
    while len(running) > sandbox.MAX_AT_ONCE:
        more, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finished |= more
    assert len(workers()) <= sandbox.MAX_AT_ONCE
    for task in finished:
        with pytest.raises(SandboxUnavailable, match="busy"):
            task.result()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert (await run_code("1")).value == "1"


async def test_those_who_wait_get_their_turn() -> None:
    done = await asyncio.gather(*(run_code(f"{number}") for number in range(50)))
    assert [each.value for each in done] == [str(number) for number in range(50)]


async def test_workers_know_nothing_of_our_environment() -> None:
    assert (await run_code("1")).value == "1"
    for worker in workers():
        assert worker.environ() == {}


def test_workers_end_with_the_event_loop() -> None:
    async def run() -> list[psutil.Process]:
        await run_code("1")
        return workers()

    started = asyncio.run(run())
    assert started
    assert not psutil.wait_procs(started, 5)[1]


# --- Where it cannot run -------------------------------------------------------------------------


@pytest.mark.parametrize("binary", ["/nowhere/monty", "/bin/true", "/etc/passwd"])
async def test_no_code_is_run_without_the_interpreter(
    binary: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MONTY_BIN", binary)
        try:
            done = await run_code("print(6 * 7)")
        except SandboxUnavailable:
            pass
        else:
            assert done.error
            assert "42" not in done.stdout
    await sandbox.close()
    assert (await run_code("print(6 * 7)")).stdout == "42\n"


async def test_the_tool_says_that_it_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await code_interpreter.run({"code": "6 * 7"}, CONTEXT)).output == "42"
    await sandbox.close()
    monkeypatch.setenv("MONTY_BIN", "/nowhere/monty")
    with pytest.raises(SandboxUnavailable) as caught:
        await code_interpreter.run({"code": "6 * 7"}, CONTEXT)
    assert caught.value.http_status == 503
    assert "nowhere" not in caught.value.message


_FORKS = """
import asyncio, os, sys
import django
django.setup()
from tooling.sandbox import SandboxUnavailable, run_code

def told():
    try:
        return asyncio.run(run_code("6 * 7")).value
    except SandboxUnavailable:
        return "refused"

if sys.argv[1] == "used":
    assert told() == "42"
child = os.fork()
if child == 0:
    print(told(), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(told())
"""


@pytest.mark.parametrize(("before", "child"), [("unused", "42"), ("used", "refused")])
def test_a_forked_process_runs_code_only_if_its_parent_had_not(before: str, child: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKS, before],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.split() == [child, "42"], done.stderr


# --- The tool ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "output", "code_of_result"),
    [
        ("print('a')", "a\n", 200),
        ("2", "2", 200),
        ("print('a')\n2", "a\n2", 200),
        ("print('a', end='')\n2", "a\n2", 200),
        ("x = 1", "The code ran. It printed nothing and its last line has no value.", 200),
        ("print('a')\n1/0", "a\n", 400),
        (" \n", "", 400),
    ],
)
async def test_the_tool_tells_what_came_of_the_code(
    code: str, output: str, code_of_result: int
) -> None:
    result = await code_interpreter.run({"code": code}, CONTEXT)
    assert (result.output, result.code) == (output, code_of_result)


def modules_named(sentence: str) -> list[str]:
    _before, _mark, rest = BUILTIN_TOOLS["code_interpreter"].told("en").partition(sentence)
    return re.findall(r"[a-z]+[0-9]*", rest.partition(".")[0].replace(" and ", ", "))


async def test_models_are_told_what_there_is() -> None:
    present, missing = modules_named("Available are"), modules_named("the modules")
    assert {"math", "base64", "hashlib"} <= set(present)
    assert {"statistics", "heapq"} <= set(missing)
    for name in present:
        assert (await run_code(f"import {name}")).error is None, name
    for name in [*missing, "numpy", "pandas"]:
        assert "ModuleNotFoundError" in str((await run_code(f"import {name}")).error), name


@pytest.mark.parametrize(
    "code",
    [
        "class A: pass\nclass B(A): pass",
        "def f(): yield 1",
        "x = 1\ndel x",
        "class A:\n  @staticmethod\n  def f(): return 1",
        "class A:\n  @property\n  def f(self): return 1",
    ],
)
async def test_models_are_told_what_the_language_lacks(code: str) -> None:
    assert "does not yet support" in str((await run_code(code)).error)


async def test_a_call_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await run_code("1")).value == "1"
    costs: list[float] = []
    gc.collect()
    for _call in range(100):
        began = time.process_time()
        await run_code("sum(range(100))")
        costs.append(time.process_time() - began)
    assert statistics.median(costs) < 0.002


async def _until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(10):
        while not (found := condition()):
            await asyncio.sleep(0.005)
    return found
