"""`python -m providers.fakes --port 9100 --asr-ms 50 …`: a fake vendor as a process.

Prints `ready http://127.0.0.1:PORT/v1` and serves until SIGINT or SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import signal
import sys
from pathlib import Path

from providers.fakes.behaviour import KINDS, Behaviour, Step
from providers.fakes.upstream import Upstream

_TYPES = {"str": str, "int": int, "float": float}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="providers.fakes", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--script", type=Path, help="JSON file: {kind: [step, …]}")
    for field in dataclasses.fields(Behaviour):
        if field.type in _TYPES:
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(flag, type=_TYPES[str(field.type)], default=field.default)
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    names = {field.name for field in dataclasses.fields(Behaviour)}
    given = {name: value for name, value in vars(arguments).items() if name in names}
    upstream = Upstream(Behaviour(**given))
    if arguments.script is not None:
        script = json.loads(arguments.script.read_text(encoding="utf-8"))
        for kind in KINDS:
            upstream.script(kind, *(Step(**step) for step in script.get(kind, [])))
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    server = await loop.create_server(
        upstream.connection, arguments.host, arguments.port, backlog=512
    )
    port = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"ready http://{arguments.host}:{port}/v1\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    upstream.close_connections()


def main() -> None:
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    run(_serve(_arguments()))


if __name__ == "__main__":
    main()
