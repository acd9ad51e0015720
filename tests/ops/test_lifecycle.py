"""Starting, ending and starting again: nothing survives, nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from config.supervisor.process import free_port
from tests.ops.product import Product, manage

pytestmark = pytest.mark.processes


@pytest.fixture
def own_product(tmp_path: Path) -> Iterator[Product]:
    """A product that the test may end. Its folder lies below one that is closed to others."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    running = Product(closed / "data")
    try:
        yield running
    finally:
        running.end()


def test_nothing_survives_a_kill_nothing_is_lost_and_a_newer_database_is_refused(
    own_product: Product,
) -> None:
    product = own_product
    product.start()
    login, runtime = product.login(), product.runtime()
    helpers = product.descendants()
    assert len(helpers) >= 6

    assert product.signal(signal.SIGKILL) == -signal.SIGKILL
    _, left = psutil.wait_procs(helpers, timeout=10)
    assert not left

    product.start()
    assert product.login() == login
    assert "first start" not in product.said()
    assert product.runtime() == runtime
    answer = httpx.get(
        f"{product.url()}/api/v1/assistants", headers={"X-Api-Key": login["API key"]}
    )
    assert answer.status_code == 200

    with psycopg.connect(runtime["DATABASE_URL"], autocommit=True) as connection:
        connection.execute(
            "INSERT INTO django_migrations (app, name, applied)"
            " VALUES ('accounts', '9999_from_the_future', now())"
        )
    helpers = product.descendants()
    started = time.monotonic()
    assert product.signal(signal.SIGTERM) == 0
    assert time.monotonic() - started < 15
    assert not any(process.is_running() for process in helpers)
    assert "stopped " in product.said()

    refused = manage("up", *product.options())
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "accounts.9999_from_the_future" in refused.stderr
    assert not (product.data / "postgres" / "postmaster.pid").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "data", Path("/proc/data")):
        refused = manage("up", "--data-dir", str(folder), "--ports", str(free_port()))
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert refused.stderr.startswith(f"the data folder {folder} cannot be written")


def test_options_that_make_no_sense_are_refused_in_one_line(tmp_path: Path) -> None:
    for options, words in (
        (("--ports", "eight"), "PORTS 'eight'"),
        (("--ports", "70000"), "PORTS '70000'"),
        (("--host", "203.0.113.1"), "cannot listen on 203.0.113.1"),
    ):
        refused = manage("up", "--data-dir", str(tmp_path / "data"), *options)
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1
        assert words in refused.stderr


def test_a_command_says_that_the_product_does_not_run(tmp_path: Path) -> None:
    refused = manage("create_api_key", "admin", DATA_DIR=str(tmp_path / "nothing"))
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.count("\n") == 1
    assert "make run" in refused.stderr
    assert os.listdir(tmp_path) == []
