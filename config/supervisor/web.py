"""One web process: uvicorn on sockets that the supervisor bound.

The first process to serve listens on them. They outlive it, so a connection made while it restarts
waits instead of failing.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import uvicorn

from config.supervisor.protocol import Protocol
from config.supervisor.ready import announce
from config.supervisor.sockets import DESCRIPTORS_VARIABLE

# A client's frame above 64 kB gets our own error; above this, the connection is closed.
LARGEST_FRAME = 2**20
PING_EVERY_S = PONG_WITHIN_S = 20.0
GRACE_S = 5
KEEP_ALIVE_S = 75
# How long a thread that works on the database may keep the event loop waiting; Python's own 5 ms,
# times the threads at work, is what every stream and call of the process would stand still.
SWITCH_INTERVAL_S = 0.0005


class Server(uvicorn.Server):
    """Tells the supervisor when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        announce()


def configuration() -> uvicorn.Config:
    """How every web process serves."""
    return uvicorn.Config(
        "config.asgi:application",
        loop="uvloop",
        http=Protocol,
        ws="websockets-sansio",
        ws_max_size=LARGEST_FRAME,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PONG_WITHIN_S,
        # Speech does not compress, and deflate costs memory and time per socket.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=GRACE_S,
        # In `config.asgi`, for what wants to know.
        proxy_headers=False,
        # Clients close an idle connection after 5 s, as uvicorn does: they would meet.
        timeout_keep_alive=KEEP_ALIVE_S,
        server_header=False,
        access_log=False,
        log_config=None,
    )


def main() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # uvicorn raises the signal again after its graceful stop; by then all is done.
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    descriptors = [int(text) for text in os.environ.pop(DESCRIPTORS_VARIABLE).split(",")]
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    Server(configuration()).run(sockets=sockets)


if __name__ == "__main__":
    main()
