"""What one process may assume of the others: whom to believe, and how many there can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config import settings
from config.supervisor import postgres, up, web
from core.asgi import with_told_addresses


@pytest.mark.parametrize(("peer", "seen"), [("10.1.2.3", "9.9.9.9"), ("11.1.2.3", "11.1.2.3")])
async def test_it_believes_the_address_that_a_trusted_proxy_tells(
    peer: str, seen: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own is not ours
    settings.TRUSTED_PROXIES = ["127.0.0.1", "10.0.0.0/8"]
    found = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found.append(scope["client"][0])

    assert not web.configuration().proxy_headers
    scope = {
        "type": "http",
        "scheme": "http",
        "client": (peer, 1),
        "headers": [(b"x-forwarded-for", b"9.9.9.9")],
    }
    await with_told_addresses(application)(scope, None, None)
    assert found == [seen]


@pytest.mark.parametrize("cores", [1, 64])
def test_the_embedded_database_has_room_for_every_pool(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "WEB_PROCESSES", cores)
    pool = settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    processes = cores + settings.PARSE_PROCESSES + 3
    command = postgres.command(Path("/x"), port=1, connections=up.most_connections())
    (setting,) = [text for text in command if text.startswith("max_connections=")]
    assert int(setting.split("=")[1]) > processes * pool
