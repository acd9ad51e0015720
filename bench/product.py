"""The product, started for a measurement with one web process, and stopped again."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import sys
import tempfile
import wave
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.programs import ROOT, Program, running
from config.supervisor.process import free_port


class Product:
    """A running product: its address, an operator's key, its one web process, its data folder."""

    def __init__(self, base_url: str, key: str, web: psutil.Process, data: Path) -> None:
        self.base_url = base_url
        self.key = key
        self.web = web
        self.data = data

    def voice_url(self, assistant_id: str) -> str:
        """Where calls to the assistant go."""
        return f"{self.base_url.replace('http', 'ws', 1)}/ws?assistant_id={assistant_id}"

    def get(self, path: str, **query: str) -> Any:
        """The data of a GET."""
        return self._request("GET", path, params=query)

    def post(self, path: str, **fields: Any) -> Any:
        """The data of a POST with a JSON body."""
        return self._request("POST", path, json=fields)

    def delete(self, path: str) -> Any:
        """The data of a DELETE."""
        return self._request("DELETE", path)

    def send_file(self, path: str, name: str, content: bytes) -> Any:
        """The data of a POST with a file."""
        return self._request("POST", path, files={"file": (name, content)})

    def speech(self, text: str) -> bytes:
        """The text as spoken by the built-in English voice: PCM, 16 kHz."""
        voices = self.get("/voices", vendor="builtin", language="en")["items"]
        preview = self.post(f"/voices/{voices[0]['id']}/preview", text=text)
        encoded = preview["audio_url"].partition("base64,")[2]
        with wave.open(io.BytesIO(base64.b64decode(encoded))) as sound:
            return bytes(sound.readframes(sound.getnframes()))

    def _request(self, method: str, path: str, **content: Any) -> Any:
        response = httpx.request(
            method,
            f"{self.base_url}/api/v1{path}",
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=60,
            **content,
        )
        if response.is_error:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json()["data"]


@contextlib.contextmanager
def running_product(settings: Mapping[str, str] | None = None) -> Iterator[Product]:
    """Starts everything with one web process and an empty data folder; stops and deletes it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        environment = {
            **os.environ,
            "DATA_DIR": str(data),
            "HOST": "127.0.0.1",
            "PORTS": str(port),
            "WEB_PROCESSES": "1",
            "OUTBOUND_ALLOW": "127.0.0.1/32",
            "VOICE_SOCKETS_PER_USER": "1000",
            "PLATFORM_REQUESTS_PER_MINUTE": "10000",
            "LOG_LEVEL": "WARNING",
            **(settings or {}),
        }
        for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "FIELD_KEYS"):
            environment.pop(name, None)
        command = [sys.executable, str(ROOT / "manage.py"), "up"]
        with running(command, until="ready", environment=environment) as supervisor:
            login = (data / "first-login.txt").read_text(encoding="utf-8")
            key = login.partition("API key: ")[2].split()[0]
            yield Product(f"http://127.0.0.1:{port}", key, _web_of(supervisor), data)


def _web_of(supervisor: Program) -> psutil.Process:
    for child in psutil.Process(supervisor.pid).children(recursive=True):
        if "config.supervisor.web" in child.cmdline():
            return child
    raise RuntimeError("the product has no web process")
