"""The Celery application. Workers are woken by it; what is to be done is read from Postgres."""

from __future__ import annotations

import os
import warnings
from typing import Any

from celery import Celery, signals
from celery.platforms import SecurityWarning
from redis import Redis

from config.supervisor.process import die_with_parent
from config.supervisor.ready import announce

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Whether to run as root is the operator's choice, made for the whole product; messages are JSON.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("ai_video_assistant")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["conversations.memory"])

# A worker that has not been heard of for this long counts as gone (it beats every 2 s).
WORKER_IS_GONE_AFTER_S = 15
WORKER_KEY = "worker:"
WORKER_NAMES = ("io", "parse")


def _worker_serves(**kwargs: Any) -> None:
    announce()


def _beat_serves(**kwargs: Any) -> None:
    announce()


def _pool_process_starts(**kwargs: Any) -> None:
    die_with_parent()


def _worker_lives(sender: Any, **kwargs: Any) -> None:
    """What /api/v1/health reads: asking the workers themselves would take a second."""
    name = str(sender.eventer.hostname).split("@", 1)[0]
    _store().set(WORKER_KEY + name, "1", ex=WORKER_IS_GONE_AFTER_S)


def _store() -> Redis:
    global _client
    if _client is None:
        _client = Redis.from_url(str(app.conf.broker_url))
    return _client


_client: Redis | None = None
signals.worker_ready.connect(_worker_serves)
signals.beat_init.connect(_beat_serves)
signals.worker_process_init.connect(_pool_process_starts)
signals.heartbeat_sent.connect(_worker_lives)
