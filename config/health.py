"""Whether the product works, for load balancers, people and the console."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.http import HttpRequest, JsonResponse
from redis import Redis
from redis.exceptions import RedisError

from config.celery import WORKER_KEY, WORKER_NAMES
from config.supervisor.ocr import OCR_WORKER, ocr_is_installed
from core.db import in_db

PartState = Literal["ok", "down", "pending"]
# Anybody may ask, so asking often must cost nothing.
REMEMBERED_S = 2.0
TIMEOUT_S = 5.0
_DOWN: tuple[PartState, ...] = ("down", "down")

_last: tuple[float, dict[str, str]] | None = None


async def health(request: HttpRequest) -> JsonResponse:
    """This process answers. Touches nothing else, and needs no credential."""
    return JsonResponse({"status": "ok"})


async def parts_health(request: HttpRequest) -> JsonResponse:
    """Each part's state, without a credential; 503 when one is not well."""
    try:
        found = await asyncio.wait_for(in_db(part_states), TIMEOUT_S)
    except TimeoutError:
        found = dict.fromkeys(("database", "redis", "workers", "migrations"), "down")
    is_well = all(state == "ok" for state in found.values())
    return JsonResponse(
        {"success": is_well, "status": "ok" if is_well else "degraded", "parts": found},
        status=200 if is_well else 503,
    )


def part_states() -> dict[str, str]:
    """The state of each part: ok, down, or pending (migrations that wait to be applied)."""
    global _last
    if _last is not None and time.monotonic() - _last[0] < REMEMBERED_S:
        return _last[1]
    database, migrations = _or_down(_database)
    redis, workers = _or_down(_redis)
    found: dict[str, str] = {
        "database": database,
        "redis": redis,
        "workers": workers,
        "migrations": migrations,
    }
    if ocr_is_installed():
        found["ocr"] = _or_down(_ocr)[0]
    _last = (time.monotonic(), found)
    return found


def _or_down(look: Callable[[], tuple[PartState, ...]]) -> tuple[PartState, ...]:
    try:
        return look()
    except (DatabaseError, RedisError, OSError):
        return _DOWN


def _database() -> tuple[PartState, PartState]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations")
        applied = frozenset(cursor.fetchall())
    return "ok", "ok" if _our_migrations() <= applied else "pending"


@lru_cache(maxsize=1)
def _our_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None).graph.nodes)


def _redis() -> tuple[PartState, PartState]:
    with Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as client:
        alive = client.exists(*(WORKER_KEY + name for name in WORKER_NAMES))
    return "ok", "ok" if alive == len(WORKER_NAMES) else "down"


def _ocr() -> tuple[PartState, ...]:
    """Images are read by a worker that there is only where OCR is installed."""
    with Redis.from_url(settings.REDIS_URL, socket_connect_timeout=2, socket_timeout=2) as client:
        return ("ok" if client.exists(WORKER_KEY + OCR_WORKER) else "down",)
