"""OCR is optional: where it is installed it has a worker of its own, and health names it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from config import health, settings
from config.celery import WORKER_KEY
from config.supervisor import up
from config.supervisor.folder import DataFolder
from config.supervisor.parts import Recipe
from config.supervisor.supervisor import Supervisor
from core.redis import redis_sync


class Recorder:
    """A supervisor that starts nothing."""

    def __init__(self) -> None:
        self.recipes: list[Recipe] = []

    def start(self, recipes: Sequence[Recipe], **options: Any) -> None:
        self.recipes += recipes


def workers_of(folder: Path) -> dict[str, list[str]]:
    recorder = Recorder()
    data = cast(DataFolder, SimpleNamespace(path=folder))
    up.Start(cast(Supervisor, recorder), data, [])._workers()
    return {recipe.name: recipe.command for recipe in recorder.recipes}


@pytest.fixture(params=[True, False], ids=["installed", "missing"])
def has_ocr(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    for module in (up, health):
        monkeypatch.setattr(module, "ocr_is_installed", lambda: request.param)
    monkeypatch.setattr(health, "_last", None)
    return bool(request.param)


def test_images_have_a_worker_of_one_process_where_they_can_be_read(
    tmp_path: Path, has_ocr: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = workers_of(tmp_path)
    assert ("worker ocr" in workers) is has_ocr
    assert ("for OCR" in capsys.readouterr().out) is has_ocr
    if has_ocr:
        command = " ".join(workers["worker ocr"])
        assert "-Q ocr" in command
        assert "-P prefork" in command
        assert "-c 1" in command


def test_processes_that_read_documents_are_replaced_when_they_have_grown(
    tmp_path: Path, has_ocr: bool
) -> None:
    for name, command in workers_of(tmp_path).items():
        is_limited = any(option.startswith("--max-memory-per-child=") for option in command)
        assert is_limited is (name != "worker io")


def test_its_processes_have_their_connections(has_ocr: bool) -> None:
    one_process = settings.DATABASE_POOL_SIZE
    without = (up.web_processes() + settings.PARSE_PROCESSES + 3) * one_process
    room = up.most_connections() - without - up.SPARE_CONNECTIONS
    assert room == (2 * one_process if has_ocr else 0)


@pytest.mark.django_db
def test_health_names_it_where_it_is_installed(has_ocr: bool) -> None:
    assert health.part_states().get("ocr") == ("down" if has_ocr else None)
    redis_sync().set(f"{WORKER_KEY}ocr", "1")
    health._last = None
    assert health.part_states().get("ocr") == ("ok" if has_ocr else None)
