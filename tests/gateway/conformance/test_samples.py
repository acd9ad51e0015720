"""The published samples, letter by letter but for address and key, on the first public names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.conformance.clients import DRIVERS, Client, command, environment, need
from tests.gateway.conformance.conftest import Served
from tests.gateway.conftest import PATIENCE_S

pytestmark = pytest.mark.django_db

SAMPLES = Path(__file__).parents[1] / "samples"


@pytest.fixture(scope="module", params=["newest", "previous", "older"])
def python(request: pytest.FixtureRequest, served: Served) -> Iterator[Client]:
    need(request.param)
    with Client(request.param, served) as running:
        yield running


def sample(name: str, served: Served) -> str:
    text = (SAMPLES / f"{name}.txt").read_text(encoding="utf-8")
    told = text.replace("https://api1.szaiai.com", served.address)
    return told.replace("sk-gw-your-key-here", served.key)


def printed(python: Client, source: str) -> str:
    (text,) = python.ask("anthropic", "program", source=source).pieces
    assert isinstance(text, str)
    return text.strip()


def run(arguments: list[str], *, folder: Path | None = None, kind: str = "newest") -> str:
    done = subprocess.run(
        arguments,
        env=environment(kind),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["6.1-python", "6.2-python-stream", "6.3-python-openai"])
def test_python(python: Client, served: Served, name: str) -> None:
    assert len(printed(python, sample(name, served))) > 10


def test_python_embeddings(python: Client, served: Served) -> None:
    assert printed(python, sample("6.6-embeddings", served)) == "向量维度: 2048"


def test_turns(python: Client, served: Served) -> None:
    head = sample("6.1-python", served).partition("response =")[0]
    source = head + sample("7-turns", served) + "print(response.content[0].text)"
    assert "小明" in printed(python, source)


def test_system(python: Client, served: Served) -> None:
    head = sample("6.1-python", served).partition("response =")[0]
    source = head + sample("8-system", served) + "print(response.model_dump_json())"
    message = json.loads(printed(python, source))
    assert (message["model"], message["stop_reason"]) == ("xiaoai-chat-v1", "end_turn")
    assert message["id"].startswith("msg-")


def test_node(served: Served) -> None:
    need("node")
    program = ["--input-type=module", "--eval", sample("6.4-node", served)]
    assert run(command("node", *program), folder=DRIVERS / "node", kind="node")


def test_curl(served: Served) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "curl is missing, and in CI its sample always runs"
        pytest.skip("no sample of curl: it is missing (apt-get install curl)")
    answer = json.loads(run(["sh", "-c", sample("6.5-curl", served)]))
    assert set(answer) >= {"id", "type", "role", "model", "content", "stop_reason", "usage"}
    assert answer["content"][0]["type"] == "text"
    assert answer["usage"]["output_tokens"] > 0
