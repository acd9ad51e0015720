"""The product's addresses: bound first of all, so that a taken port stops the start at once.

Nobody listens on them until a web process serves: until then connections are refused. From then on
the sockets listen for as long as the supervisor holds them, whichever process comes and goes.
"""

from __future__ import annotations

import errno
import http.client
import socket
import time
from collections.abc import Sequence

from config.supervisor.errors import StartError

# Where a web process finds the inherited sockets' numbers.
DESCRIPTORS_VARIABLE = "SUPERVISOR_SOCKET_FDS"
# A connection of which nothing is taken for so long is ended by the kernel, where it knows how to:
# what waits to be sent on it would be kept for ever, as nobody closes a connection before that.
UNTAKEN_FOR_S = 60.0


def bind(host: str, ports: Sequence[int], *, patience_s: float = 0) -> list[socket.socket]:
    """A socket for each port, reserved. Raises StartError, naming the port, when one is taken.

    `patience_s`: how long a taken port may take to become free, after an unclean end.
    """
    deadline = time.monotonic() + patience_s
    reserved: list[socket.socket] = []
    try:
        for port in dict.fromkeys(ports):
            reserved.append(_bind_one(host, port, deadline))
    except StartError:
        for taken in reserved:
            taken.close()
        raise
    return reserved


def let_listen(reserved: Sequence[socket.socket]) -> None:
    """From here on, the processes that inherit the sockets may listen on them."""
    for each in reserved:
        # Or connections of an earlier run that are still dying would be in the way.
        each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _bind_one(host: str, port: int, deadline: float) -> socket.socket:
    while True:
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            return _reserve(family, kind, address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise StartError(_explain(error, host, port)) from None


def _reserve(
    family: socket.AddressFamily, kind: socket.SocketKind, address: tuple[object, ...]
) -> socket.socket:
    reserved = socket.socket(family, kind)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            # Connections that are accepted have it from here.
            limit_ms = int(UNTAKEN_FOR_S * 1000)
            reserved.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)
        # Sockets that are bound and do not listen could share a port, unless one of them objects.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        reserved.close()
        raise
    return reserved


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken by another program: "
            "stop it, or choose other ports with --ports or PORTS"
        )
    return f"cannot listen on {host} port {port}: {error.strerror}"


def local_name(host: str) -> str:
    """A name under which this machine reaches a server bound to the address."""
    if host in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host


def answers(listening: socket.socket, *, host_header: str) -> bool:
    """Whether GET /health on the socket's address answers 200."""
    address, port = listening.getsockname()[:2]
    wildcard = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
    client = http.client.HTTPConnection(wildcard.get(address, address), port, timeout=3)
    try:
        # As a TLS proxy would ask, or the server answers with a redirection under HTTPS=true.
        headers = {"Host": host_header, "X-Forwarded-Proto": "https"}
        client.request("GET", "/health", headers=headers)
        return client.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        client.close()
