"""What a process that begins has not loaded: each takes megabytes, of all processes together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bounded import in_time

ROOT = Path(__file__).resolve().parents[2]

# Package → megabytes that it takes, and what asks for it.
HEAVY = {
    "anthropic": 38,  # a question to a model of the vendor
    "openai": 30,  # a question to any other vendor's
    "pydantic_ai": 21,  # both
    "onnxruntime": 45,  # a call
    "mcp": 15,  # a tool of an MCP server
    "twisted": 15,  # the development server
    # The readers of documents, which work in processes of their own.
    "lxml": 5,
    "openpyxl": 5,
    "pypdfium2": 5,
}
BEGINNINGS = {
    "web": "import config.asgi, config.urls",
    "worker": "import config.celery; config.celery.app.loader.import_default_modules()",
    "command": "import django; django.setup()",
}


@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_it_begins_without_what_few_need(beginning: str) -> None:
    code = f"{BEGINNINGS[beginning]}\nimport sys\nprint(*sys.modules)"
    modules = set(in_time(code).split())
    assert "django.db" in modules
    assert modules.isdisjoint(HEAVY)


def test_the_names_are_those_of_packages_that_there_are() -> None:
    """Else one that was renamed would never be found."""
    code = f"import importlib.util\nprint(*(n for n in {[*HEAVY]} if importlib.util.find_spec(n)))"
    assert set(in_time(code).split()) == {*HEAVY}


def test_the_development_server_still_knows_sockets() -> None:
    command = [sys.executable, "manage.py", "runserver", "--help"]
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert "--websocket_handshake_timeout" in done.stdout
