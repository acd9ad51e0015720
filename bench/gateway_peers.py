"""Other gateways, where `make bench-peers` has installed them, in front of the mock upstream.

Each runs as its documentation says for one process, without a database: no keys are kept, no limits
and no records, which is less than our own gateway does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.programs import ROOT
from config.supervisor.process import free_port

FOLDER = ROOT / "build" / "peers"
_LITELLM = FOLDER / "litellm" / "bin" / "litellm"
_PORTKEY = FOLDER / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
STARTS_WITHIN_S = 120.0
_KEY = "sk-bench-peers-0123456789"


@dataclasses.dataclass(frozen=True)
class Peer:
    """A running gateway; `headers` is what it wants to be told beside the key."""

    name: str
    pid: int
    port: int
    key: str = "none"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def installed_peers(upstream_port: int) -> list[AbstractContextManager[Peer]]:
    """Those that are there, to be started."""
    peers: list[AbstractContextManager[Peer]] = []
    if _PORTKEY.exists():
        peers.append(_portkey(upstream_port))
    if _LITELLM.exists():
        peers.append(_litellm(upstream_port))
    return peers


@contextlib.contextmanager
def _portkey(upstream_port: int) -> Iterator[Peer]:
    port = free_port()
    headers = {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{upstream_port}/v1",
    }
    command = ["node", str(_PORTKEY), "--headless", f"--port={port}"]
    environment = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    with _running(command, environment, port) as pid:
        yield Peer("Portkey", pid, port, headers=headers)


@contextlib.contextmanager
def _litellm(upstream_port: int) -> Iterator[Peer]:
    port = free_port()
    model = {
        "model": "openai/bench",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "none",
    }
    config = {
        "model_list": [{"model_name": "bench", "litellm_params": model}],
        "general_settings": {"master_key": _KEY},
    }
    with TemporaryDirectory(prefix="bench-") as name:
        # Its settings are YAML, of which JSON is a part.
        path = Path(name) / "config.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")
        command = [str(_LITELLM), "--config", str(path), "--port", str(port), "--num_workers", "1"]
        # Or it would ask the network for prices, and tell it of its use.
        environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
        with _running([*command, "--telemetry", "False"], environment, port) as pid:
            yield Peer("LiteLLM", pid, port, key=_KEY)


@contextlib.contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str], port: int) -> Iterator[int]:
    """The process, once somebody listens on the port."""
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _await_port(process, port)
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise RuntimeError(f"a peer did not start: {process.args!r}")
