"""The addresses of the product: reserved from the start, open from when somebody serves."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections.abc import Iterator

import pytest

from config.supervisor import sockets
from config.supervisor.errors import StartError
from config.supervisor.process import free_port

HOST = "127.0.0.1"


@pytest.fixture
def reserved() -> Iterator[socket.socket]:
    (each,) = sockets.bind(HOST, [free_port()])
    with each:
        yield each


def _connect(reserved: socket.socket) -> socket.socket:
    return socket.create_connection(reserved.getsockname(), timeout=10)


def test_who_comes_before_anybody_serves_is_refused_at_once(reserved: socket.socket) -> None:
    with pytest.raises(ConnectionRefusedError):
        _connect(reserved)


def test_it_takes_connections_while_the_process_that_served_is_replaced(
    reserved: socket.socket,
) -> None:
    sockets.let_listen([reserved])
    served = socket.socket(fileno=socket.dup(reserved.fileno()))
    served.listen(5)
    served.close()
    with _connect(reserved) as client:
        successor, _address = reserved.accept()
        with successor:
            successor.sendall(b"hello")
            assert client.recv(5) == b"hello"


def test_a_reserved_port_is_nobody_elses(reserved: socket.socket) -> None:
    port = reserved.getsockname()[1]
    with pytest.raises(StartError, match=f"port {port} on {HOST} is taken"):
        sockets.bind(HOST, [port])
    reserved.close()
    for each in sockets.bind(HOST, [port]):
        each.close()


def test_connections_that_still_die_do_not_keep_a_port(reserved: socket.socket) -> None:
    port = reserved.getsockname()[1]
    sockets.let_listen([reserved])
    reserved.listen(5)
    with _connect(reserved):
        accepted, _address = reserved.accept()
        # The side that closes first keeps the address for a while.
        accepted.close()
        reserved.close()
    (again,) = sockets.bind(HOST, [port])
    with again:
        sockets.let_listen([again])
        again.listen(5)
        _connect(again).close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel keeps them")
def test_a_connection_of_which_nothing_is_taken_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "UNTAKEN_FOR_S", 0.5)
    (listening,) = sockets.bind(HOST, [free_port()])
    sockets.let_listen([listening])
    listening.listen(5)
    with listening, _connect(listening):
        accepted, _address = listening.accept()
        with accepted:
            accepted.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while accepted.send(bytes(2**20)):
                    pass
            watched = select.poll()
            watched.register(accepted, select.POLLERR)
            assert watched.poll(30_000)
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ETIMEDOUT
