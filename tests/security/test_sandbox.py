"""Code that a model was talked into writing reaches nothing and ends soon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tooling import sandbox
from tooling.builtin import code_interpreter
from tooling.runner import run_tool
from tooling.types import BuiltinTarget, ToolContext, ToolResult, ToolSpec

CONTEXT = ToolContext(None, "assistant", "en", "UTC")
INTERPRETER = ToolSpec(
    id="code_interpreter",
    name="Code",
    description="",
    parameters={"type": "object", "properties": {"code": {"type": "string"}}},
    defaults={},
    executor="server",
    wait_for_response=True,
    timeout_ms=10_000,
    target=BuiltinTarget("code_interpreter"),
)


async def run(code: str) -> ToolResult:
    return await run_tool(INTERPRETER, {"code": code}, CONTEXT)


async def assert_it_still_works() -> None:
    assert (await run("print(6 * 7)")).output.strip() == "42"


REACHING_OUT = [
    "open('/etc/passwd').read()",
    "from pathlib import Path\nPath('/etc/passwd').read_text()",
    "import os\nos.system('id')",
    "import os\nos.environ['SECRET_KEY']",
    "import os\nos.getenv('FIELD_KEYS') or 1 / 0",
    "import os\nos.listdir('/')",
    "import subprocess\nsubprocess.run(['id'])",
    "import socket\nsocket.create_connection(('127.0.0.1', 80))",
    "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
    "import httpx",
    "import importlib\nimportlib.import_module('os')",
    "__import__('os').system('id')",
    "import ctypes",
    "import sys\nsys.modules['os'].system('id')",
    "().__class__.__bases__[0].__subclasses__()",
    "().__class__.__mro__[-1].__subclasses__()",
    "(lambda: 0).__globals__['__builtins__']",
    "(lambda: 0).__code__.replace(co_code=b'')",
    "globals()['__builtins__']",
    "eval('__import__(\\'os\\').system(\\'id\\')')",
    "exec('import os; os.system(\\'id\\')')",
    "compile('1', '', 'eval')",
    "'{0.__class__.__mro__}'.format(1)",
    "getattr((), '__cla' + 'ss__').__bases__",
    "import pickle\npickle.loads(b'cos\\nsystem\\n(S\\'id\\'\\ntR.')",
    "from django.conf import settings\nsettings.SECRET_KEY",
    "input()",
    "breakpoint()",
]


@pytest.mark.parametrize("code", REACHING_OUT)
async def test_code_reaches_nothing(code: str) -> None:
    result = await run(f"{code}\nprint('reached')")
    assert result.code == 400
    assert "reached" not in result.output
    for secret in ("root:", "uid=", os.environ["PATH"]):
        assert secret not in result.output + result.message
    await assert_it_still_works()


WITHOUT_END = [
    "while True: pass",
    "def f(): return f()\nf()",
    "f = lambda: f()\nf()",
    "x = 'a' * 10**10",
    "x = [0] * 10**9",
    "x = 10 ** (10 ** 8)",
    "x = 2 ** (2 ** 40)",
    "x = []\nwhile True: x.append('a' * 100000)",
    "while True: print('a' * 1000)",
    "import time\ntime.sleep(3600)",
    "import asyncio\nasyncio.run(asyncio.sleep(3600))",
    "x = []\nfor i in range(100000): x = [x, x]\nx",
    "list(range(10**12))",
    "sum(range(10**12))",
    "'a'.join(['b' * 1000000] * 100000)",
    "x = {}\nfor i in range(10**9): x[i] = i",
    "int('9' * 10**7)",
]


@pytest.mark.parametrize("code", WITHOUT_END)
async def test_code_ends_within_its_limits(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_interpreter, "TIME_LIMIT_S", 0.5)
    started = time.monotonic()
    result = await run(code)
    assert time.monotonic() - started < 10
    assert len(result.output.encode()) <= 8000
    assert len(result.message) < 3000
    await assert_it_still_works()


async def test_a_pattern_without_end_ends() -> None:
    started = time.monotonic()
    await run("import re\nre.match('(a+)+$', 'a' * 40 + 'b')")
    assert time.monotonic() - started < 10
    await assert_it_still_works()


async def test_no_code_sees_what_other_code_left() -> None:
    assert (await run("secret = 'of alice'\nprint(secret)")).output.strip() == "of alice"
    result = await run("print(secret)")
    assert result.code == 400
    assert "of alice" not in result.output + result.message


async def test_code_writes_no_file(tmp_path: Path) -> None:
    path = tmp_path / "written"
    result = await run(f"open({str(path)!r}, 'w').write('x')")
    assert result.code == 400
    assert not path.exists()
    await assert_it_still_works()


async def test_no_code_runs_where_the_interpreter_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await assert_it_still_works()
    await sandbox.close()

    class Missing:
        def __init__(self, **_options: object) -> None: ...

        async def __aenter__(self) -> Missing:
            raise FileNotFoundError("monty")

    marker = tmp_path / "ran"
    with monkeypatch.context() as patch:
        patch.setattr(sandbox, "AsyncMonty", Missing)
        result = await run(f"open({str(marker)!r}, 'w')\nprint(1)")
        assert result.code == 503
        assert result.output == ""
        assert not marker.exists()
    await assert_it_still_works()
