"""`manage.py up` while it runs: what it answers, refuses, restarts."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import httpx
import psutil
import pytest

from config.supervisor.ocr import ocr_is_installed
from tests.ops.product import Product, eventually, manage

pytestmark = pytest.mark.processes


def test_every_port_serves_everything(product: Product) -> None:
    for port in product.ports:
        assert httpx.get(f"{product.url(port)}/health").json() == {"status": "ok"}
        answer = httpx.get(
            f"{product.url(port)}/api/v1/assistants",
            headers={"Authorization": f"Bearer {product.login()['API key']}"},
        )
        assert answer.status_code == 200, answer.text
        names = {item["name"] for item in answer.json()["data"]["items"]}
        assert "Demo" in names


def test_it_tells_the_state_of_each_part(product: Product) -> None:
    assert eventually(product.is_well)
    answer = httpx.get(f"{product.url()}/api/v1/health")
    assert answer.status_code == 200
    names = ["database", "redis", "workers", "migrations"]
    parts = dict.fromkeys([*names, "ocr"] if ocr_is_installed() else names, "ok")
    assert answer.json() == {"success": True, "status": "ok", "parts": parts}


def test_it_prints_a_line_for_each_part_and_where_to_go(product: Product) -> None:
    said = product.said()
    order = ["database", "redis", "migrations", "first start", "web", "workers", "beat", "ready"]
    starts = [f"\n{said}".index(f"\n{name} ") for name in order]
    assert starts == sorted(starts)
    assert f"{product.data}/first-login.txt" in said
    for path in ("/admin/", "/talk/", "/api/docs"):
        assert path in said


def test_what_it_generates_is_for_its_owner_alone(product: Product) -> None:
    for name in ("first-login.txt", "runtime.env", "up.lock", "redis/redis.conf"):
        assert stat.S_IMODE((product.data / name).stat().st_mode) == 0o600
    for name in ("postgres", "redis", "media", "logs"):
        assert stat.S_IMODE((product.data / name).stat().st_mode) == 0o700
    assert set(product.login()) == {"username", "password", "API key"}


def test_the_embedded_servers_want_a_password_and_stay_local(product: Product) -> None:
    runtime = product.runtime()
    with socket.create_connection(("127.0.0.1", int(runtime["EMBEDDED_REDIS_PORT"]))) as redis:
        redis.sendall(b"INFO\r\n")
        assert redis.recv(100).startswith(b"-NOAUTH")
    for part in (product.part("bin/postgres"), product.part("redis-server")):
        listening = [c for c in part.net_connections() if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_a_second_start_on_the_same_folder_is_refused(product: Product) -> None:
    other = Product(product.data)
    refused = manage("up", *other.options())
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"{product.data} is in use" in refused.stderr
    assert product.is_well()


def test_a_taken_port_is_refused_by_name(product: Product, tmp_path: Path) -> None:
    other = Product(tmp_path / "other")
    other.ports[1] = product.ports[0]
    refused = manage("up", *other.options())
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert f"port {product.ports[0]} on 127.0.0.1 is taken" in refused.stderr
    assert not (other.data / "postgres").exists()
    assert product.is_well()


@pytest.mark.parametrize(
    "words",
    [
        ("config.supervisor.web",),
        ("worker", "io@"),
        ("worker", "parse@"),
        ("beat",),
        ("redis-server",),
        ("bin/postgres",),
    ],
    ids=" ".join,
)
def test_a_part_that_is_killed_comes_back(product: Product, words: tuple[str, ...]) -> None:
    assert eventually(product.is_well)
    killed = product.part(*words)
    helpers = killed.children(recursive=True)
    killed.kill()
    _, left = psutil.wait_procs(helpers, timeout=10)
    assert not left

    def is_back() -> bool:
        try:
            return product.part(*words).pid != killed.pid and product.is_well()
        except (AssertionError, psutil.Error):
            return False

    assert eventually(is_back), product.said()
    assert "killed by SIGKILL" in product.said()
    key = {"X-Api-Key": product.login()["API key"]}
    # A pool that met no database waits for some seconds before it tries again.
    assert eventually(
        lambda: httpx.get(f"{product.url()}/api/v1/assistants", headers=key, timeout=30).is_success
    )


def test_a_key_from_the_command_line_opens_the_api(product: Product) -> None:
    made = manage("create_api_key", "admin", "--name", "ops", DATA_DIR=str(product.data))
    assert made.returncode == 0, made.stderr
    key = made.stdout.removesuffix("\n")
    assert key.split() == [key]
    url = f"{product.url()}/api/v1/assistants"
    assert httpx.get(url, headers={"X-Api-Key": key}).status_code == 200
    assert httpx.get(url, headers={"X-Api-Key": key + "x"}).status_code == 401
