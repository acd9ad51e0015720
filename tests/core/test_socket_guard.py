"""Tests reach this machine and nothing beyond it."""

from __future__ import annotations

import socket

import pytest


def test_it_connects_to_this_machine_only() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()
    with pytest.raises(PermissionError, match="wanted to connect"):
        socket.create_connection(("192.0.2.1", 80), timeout=5)
