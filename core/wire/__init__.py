"""A fast streaming HTTP/1.1 client for model vendors, behind the guard of `core.outbound`.

For what is asked often and streamed: a request costs a few tens of microseconds of the processor,
where httpx takes milliseconds. It does what vendors of models need and no more.

types        origins, time-outs, limits, the one error; all that pure code imports     pure
origins      a base URL → `Origin`                                                     pure
requests     method, path, headers, body → bytes to write                              pure
response     the answer: its head, its body in pieces, what waits for a slow reader
connection   one socket and its parser; deadlines; what comes → `Response`
pool         the connections of one origin
client       `Wire`, and the one of the running loop
"""

from core.wire.client import Wire, wire
from core.wire.origins import parse_origin
from core.wire.response import Response
from core.wire.types import ConnectionLost, Limits, Origin, Stats, Timeouts, WireError

__all__ = [
    "ConnectionLost",
    "Limits",
    "Origin",
    "Response",
    "Stats",
    "Timeouts",
    "Wire",
    "WireError",
    "parse_origin",
    "wire",
]
