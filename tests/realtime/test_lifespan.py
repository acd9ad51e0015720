"""A web process that is told to stop: calls hear of it first."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection
from websockets.asyncio.client import connect

from assistants.models import Assistant
from tests.realtime.conftest import Client

ROOT = Path(__file__).resolve().parents[2]
SERVE = """
import socket, sys, uvicorn
config = uvicorn.Config(
    "config.asgi:application", loop="uvloop", ws="websockets-sansio", lifespan="on", log_config=None
)
uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


@pytest.mark.processes
async def test_a_process_that_is_terminated_ends_its_calls_as_resumable(
    assistant: Assistant, alice_key: str
) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    database = connection.settings_dict
    address = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(listening.fileno())],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": address},
        pass_fds=[listening.fileno()],
    )
    url = f"ws://127.0.0.1:{listening.getsockname()[1]}/ws?assistant_id={assistant.pk}"
    headers = {"Authorization": f"Bearer {alice_key}"}
    try:
        async with connect(
            url, additional_headers=headers, open_timeout=60, proxy=None
        ) as websocket:
            client = Client(websocket)
            await client.start()
            process.send_signal(signal.SIGTERM)
            assert await client.closed() == 1001
        assert client.events[-1]["reason"] == "server_shutdown"
        assert process.wait(timeout=20) in (0, -signal.SIGTERM)
    finally:
        process.kill()
        process.wait()
        listening.close()
