"""What the documents promise runs as they print it, with the package installed from its wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.browser.product import ROOT
from tests.sdks.conftest import Server

PACKAGE = ROOT / "sdks" / "python"
ADDRESS = "http://localhost:8080"
EXAMPLES = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text("utf-8"), re.S)

# As the product's API reference prints it.
PUBLISHED = """\
from ai_video_assistant import AIVideoAssistant

client = AIVideoAssistant(
    api_url="http://localhost:8080",
    ws_url="ws://localhost:8000"
)

# 创建助手
assistant = client.assistants.create(
    name="客服助手",
    prompt="你是一个友好的客服助手"
)

# 开始对话
async with client.connect(assistant.id) as conv:
    response = await conv.send_text("你好")
    print(f"助手回复: {response}")
"""
# Runs a program that awaits outside of functions, as `python -m asyncio` and notebooks do.
_AWAITING = """
import ast, asyncio, inspect, sys
code = compile(sys.stdin.read(), "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
made = eval(code, {"__name__": "__main__"})
if inspect.iscoroutine(made):
    asyncio.run(made)
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python in an environment of its own, with the wheel and, of ours, what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PACKAGE, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    subprocess.run([sys.executable, *install, str(packages), str(wheel)], check=True)
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "dependencies.pth").write_text(f"{ours}\n", "utf-8")
    return python


def run(python: Path, program: str, server: Server, folder: Path) -> str:
    """What the program prints, talking to the test's server; no warning, even at its end."""
    assert ADDRESS in program
    program = program.replace(ADDRESS, server.api_url)
    program = program.replace("ws://localhost:8000", server.ws_url)
    done = subprocess.run(
        [str(python), "-I", "-X", "utf8", "-W", "error", "-c", _AWAITING],
        input=program,
        env=server.environment,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_its_types_and_its_licence(installed: Path) -> None:
    (packages,) = installed.parents[1].glob("lib/python*/site-packages")
    assert (packages / "ai_video_assistant" / "py.typed").exists()
    assert not (packages / "codegen").exists()
    (about,) = packages.glob("ai_video_assistant-*.dist-info")
    assert (about / "licenses" / "LICENSE").exists()


def test_the_published_snippet_runs_unchanged(
    installed: Path, server: Server, tmp_path: Path
) -> None:
    printed = run(installed, PUBLISHED, server, tmp_path)
    assert printed.startswith("助手回复: 你好！")


def test_the_readme_shows_how_to_talk_by_text(
    installed: Path, server: Server, tmp_path: Path
) -> None:
    printed = run(installed, EXAMPLES[0], server, tmp_path)
    assert "Ann" in printed.splitlines()[-1]


def test_the_readme_shows_how_to_fill_and_search_a_knowledge_base(
    installed: Path, server: Server, worker: None, tmp_path: Path
) -> None:
    printed = run(installed, EXAMPLES[1], server, tmp_path)
    assert printed.startswith("guide.md: ")
    assert "closed on Mondays" in printed


def test_the_readme_shows_how_to_give_a_conversation_a_tool(
    installed: Path, server: Server, tmp_path: Path
) -> None:
    printed = run(installed, EXAMPLES[2], server, tmp_path)
    assert "turn_on_camera({})" in printed
    assert "The camera is on." in printed
    assert (tmp_path / "reply.wav").stat().st_size > 1000


def test_the_readme_has_three_complete_examples() -> None:
    assert len(EXAMPLES) == 3
