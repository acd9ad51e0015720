"""Of processes that end it is known that they are gone; of others that they live, or nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from conversations.runs import processes
from conversations.runs.processes import is_gone, this_process

pytestmark = pytest.mark.skipif(not processes._place(), reason="there is no /proc to tell")

NAMED = (
    "from conversations.runs.processes import this_process; print(this_process(), flush=True);"
    "input()"
)


@pytest.fixture
def neighbour() -> Iterator[subprocess.Popen[str]]:
    """Another process, which says its name."""
    command = [sys.executable, "-c", NAMED]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def name_said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_it_knows_that_a_process_lives_until_it_is_killed(
    neighbour: subprocess.Popen[str],
) -> None:
    name = name_said(neighbour)
    assert name != this_process()
    assert not is_gone(name)
    neighbour.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, neighbour.pid, os.WSTOPPED | os.WNOWAIT)
    assert not is_gone(name)
    neighbour.kill()
    # Its parent has yet to take leave of it.
    os.waitid(os.P_PID, neighbour.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(name)
    neighbour.wait()
    assert is_gone(name)


def test_it_is_not_misled_by_a_number_that_was_given_again() -> None:
    process, _, place = this_process().rpartition("@")
    shown, _, began = process.rpartition(" ")
    assert not is_gone(f"{shown} {began}@{place}")
    assert is_gone(f"{shown} {int(began) - 1}@{place}")


@pytest.mark.parametrize("place", ["", "@", "@0123456789abcdef:1", "elsewhere"])
def test_it_knows_nothing_of_processes_elsewhere(
    neighbour: subprocess.Popen[str], place: str
) -> None:
    name = name_said(neighbour)
    neighbour.kill()
    neighbour.wait()
    assert is_gone(name)
    process, _, _here = name.rpartition("@")
    assert not is_gone(f"{process}{place}")


def test_it_knows_nothing_where_the_system_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_place", lambda: "")
    processes._name_of.cache_clear()
    try:
        assert not is_gone(this_process())
        assert not is_gone("")
        assert not is_gone("somewhere:4194305")
    finally:
        processes._name_of.cache_clear()


def test_a_name_has_room_in_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * 64)
    processes._name_of.cache_clear()
    try:
        longest = this_process().replace(f":{os.getpid()} ", ":4194304 ")
        assert len(longest) < 100 - len("4294967295")
        assert not is_gone(this_process())
    finally:
        processes._name_of.cache_clear()
