"""The embedded servers' folders after an unclean end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from config.supervisor import postgres
from config.supervisor.errors import StartError
from config.supervisor.process import free_port, is_free
from config.supervisor.secrets import RuntimeFile

pytestmark = pytest.mark.processes


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    folder = tmp_path / "postgres"
    folder.mkdir()
    return folder


def test_a_lock_file_that_names_a_stranger_is_removed(cluster: Path) -> None:
    lock = cluster / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{cluster}\n")
    postgres.clear_the_way(cluster)
    assert not lock.exists()


def test_a_lock_file_that_names_nobody_is_left_to_the_server(cluster: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    lock = cluster / "postmaster.pid"
    lock.write_text(f"{gone.pid}\n{cluster}\n")
    postgres.clear_the_way(cluster)
    assert lock.exists()


def test_a_server_that_was_left_behind_is_ended(cluster: Path) -> None:
    program = "import sys, time; print('up', flush=True); time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=cluster, stdout=subprocess.PIPE, stderr=-3
    ) as left:
        assert left.stdout is not None
        left.stdout.readline()
        postgres.clear_the_way(cluster)
        assert not psutil.pid_exists(left.pid) or left.wait(5) != 0


def test_a_start_that_was_cut_off_begins_anew(tmp_path: Path) -> None:
    draft = tmp_path / "postgres.new"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("18\n")
    folder = tmp_path / "postgres"
    process = postgres.start(folder, port=free_port(), password="test")
    process.send_signal(postgres.STOP_SIGNAL)
    assert process.wait(30) == 0
    assert not draft.exists()


def test_ports_and_passwords_stay_while_they_are_free(tmp_path: Path) -> None:
    runtime = RuntimeFile.load(tmp_path / "runtime.env")
    first = runtime.server("EMBEDDED_REDIS")
    runtime.save()
    again = RuntimeFile.load(tmp_path / "runtime.env")
    assert is_free(first.port)
    assert again.server("EMBEDDED_REDIS") == first
    assert again.values == runtime.values


def test_a_runtime_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "runtime.env").mkdir()
    with pytest.raises(StartError, match=r"runtime\.env cannot be read"):
        RuntimeFile.load(tmp_path / "runtime.env")
