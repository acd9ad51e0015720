"""What requests took: on disk before the answer ends, in the database soon after, once."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError

from accounts.actions import create_api_key
from accounts.models import ApiKey, User
from config import lifespan
from conversations import warming
from core.db import in_db
from gateway import metering
from gateway.metering import Journal, Meter, write_lines, write_parts
from gateway.models import PublicModel, Route, UsageDay, UsageRecord
from gateway.types import Metered, Target
from providers.actions import note_broken
from providers.models import Llm
from providers.types import Endpoint, LlmSpec

pytestmark = pytest.mark.django_db(transaction=True)

SPEC = LlmSpec(Endpoint("row", "openai_compatible", "http://127.0.0.1:9/v1", "", "m"), "m")


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.GATEWAY_JOURNAL_DIR = tmp_path / "journal"
    folder: Path = settings.GATEWAY_JOURNAL_DIR
    return folder


def metered(number: int, **values: Any) -> Metered:
    fields = {
        "endpoint": "messages",
        "key_id": 7,
        "owner_id": 1,
        "started_at": 1_790_000_000.0,
        "model": "fast",
        "status": 200,
        "input_tokens": 10,
        "output_tokens": 5,
        "cost": Decimal("0.25"),
    }
    return Metered(request_id=f"req_{number}", **{**fields, **values})


async def test_it_writes_requests_and_their_sums() -> None:
    meter = Meter()
    meter.record(metered(1))
    meter.record(metered(2, status=502, error_type="upstream_error", output_tokens=0))
    meter.record(metered(3, model="slow"))
    meter.record(metered(4, model="slow", error_type="upstream_error"))
    await meter.flush()
    rows = await in_db(lambda: list(UsageRecord.objects.order_by("request_id")))
    assert [row.request_id for row in rows] == ["req_1", "req_2", "req_3", "req_4"]
    assert (rows[0].cost, rows[0].key_id) == (Decimal("0.25"), 7)
    (day, slow) = await in_db(lambda: list(UsageDay.objects.order_by("model")))
    # What broke off after it had begun is an error, too.
    assert (slow.requests, slow.errors) == (2, 1)
    assert (day.requests, day.errors, day.input_tokens, day.output_tokens) == (2, 1, 20, 5)
    await meter.close()


async def test_nothing_is_left_on_disk_when_all_is_written(folder: Path) -> None:
    meter = Meter()
    meter.record(metered(1))
    await meter.close()
    assert await in_db(UsageRecord.objects.count) == 1
    assert list(folder.iterdir()) == []


async def test_a_request_that_is_written_twice_counts_once(folder: Path) -> None:
    meter = Meter()
    meter.record(metered(1))
    await meter.flush()
    line = metering._encode(metered(1))
    await in_db(write_lines, [line, metering._encode(metered(2))])
    (day,) = await in_db(lambda: list(UsageDay.objects.all()))
    assert day.requests == 2
    await meter.close()


async def test_what_a_killed_process_put_down_is_written_by_the_next(folder: Path) -> None:
    script = (
        "import fcntl, sys, time, pathlib\n"
        "from gateway.metering import Journal\n"
        "journal = Journal(pathlib.Path(sys.argv[1]))\n"
        "journal.append(sys.stdin.buffer.readline())\n"
        "print('written', flush=True)\n"
        "time.sleep(600)\n"
    )
    setup = "import django; django.setup()\n" + script
    process = subprocess.Popen(
        [sys.executable, "-c", setup, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings"},
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(metering._encode(metered(1)) + b"\n")
        process.stdin.flush()
        assert await asyncio.to_thread(process.stdout.readline) == b"written\n"
        await in_db(write_parts, folder)
        # It lives, and its journal is its own.
        assert await in_db(UsageRecord.objects.count) == 0
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    await in_db(write_parts, folder)
    assert await in_db(UsageRecord.objects.count) == 1
    assert list(folder.iterdir()) == []


async def test_a_process_that_begins_writes_what_was_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing() -> None:
        pass

    journal = Journal(folder)
    journal.append(metering._encode(metered(1)) + b"\n")
    journal.close()
    monkeypatch.setattr(warming, "warm_up", nothing)
    # What it does to the garbage collector is for a process of its own.
    monkeypatch.setattr(lifespan, "gc", Mock())
    await lifespan.warm_up()
    async with asyncio.timeout(20):
        while not await in_db(UsageRecord.objects.count):
            await asyncio.sleep(0.05)


async def test_nothing_is_lost_while_the_database_is_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_lines: list[bytes]) -> None:
        raise OperationalError("away")

    meter = Meter()
    with monkeypatch.context() as patch:
        patch.setattr(metering, "write_lines", away)
        for number in range(3):
            meter.record(metered(number))
            with pytest.raises(OperationalError):
                await meter.flush()
    await meter.flush()
    assert await in_db(UsageRecord.objects.count) == 3
    await meter.close()


async def test_a_line_that_was_cut_off_does_not_hold_up_the_others(folder: Path) -> None:
    journal = Journal(folder)
    journal.append(metering._encode(metered(1)) + b"\n")
    journal.append(metering._encode(metered(2))[:40])
    journal.close()
    await in_db(write_parts, folder)
    assert await in_db(UsageRecord.objects.count) == 1


def test_a_large_journal_grows_by_bounded_steps(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = 4 * metering._ROOM_BYTES
    monkeypatch.setattr(metering, "_MOST_ROOM_AT_ONCE", at_once)
    journal = Journal(folder)
    (path,) = folder.iterdir()
    sizes = [0]
    for _number in range(200):
        journal.append(b"x" * 9_999 + b"\n")
        sizes.append(path.stat().st_size)
    journal.close()
    assert sizes[-1] >= 200 * 10_000
    assert max(after - before for before, after in itertools.pairwise(sizes)) == at_once


async def test_lines_arrive_whole_however_often_the_journal_grows(folder: Path) -> None:
    meter = Meter()
    for number in range(1_000):
        meter.record(metered(number, error_message="e" * 500))
    await meter.flush()
    assert await in_db(UsageRecord.objects.filter(error_message="e" * 500).count) == 1_000
    await meter.close()


async def test_a_disk_that_is_full_for_a_while_loses_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes part of the room that the journal wants, and nothing after that."""
    pwrite = os.pwrite
    taken: list[int] = []

    def nearly_full(file: int, zeros: bytes, at: int) -> int:
        if taken:
            raise OSError(28, "No space left on device")
        taken.append(pwrite(file, zeros[:100], at))
        return taken[0]

    meter = Meter()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", nearly_full)
        meter.record(metered(1))
    assert taken == [100]
    meter.record(metered(2))
    await meter.flush()
    assert await in_db(UsageRecord.objects.count) == 2
    await meter.close()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"model": r"\u0000"}, {"model": r"\u0000"}),
        ({"model": "a\0b"}, {"model": "ab"}),
        ({"model": "m" * 10_000}, {"model": "m" * 200}),
        ({"error_message": "e" * 600}, {"error_message": "e" * 500}),
        ({"error_type": "e" * 100}, {"error_type": "e" * 64}),
        ({"target_row": "r" * 100}, {"target_row": "r" * 64}),
        ({"cache_read_tokens": 10**30, "cache_write_tokens": -1}, {"cache_write_tokens": 0}),
        ({"input_tokens": 10**12, "output_tokens": -7}, {"input_tokens": 2**31 - 1}),
        ({"output_tokens": -7}, {"output_tokens": 0}),
    ],
)
async def test_what_clients_and_vendors_say_can_always_be_written(
    values: dict[str, Any], shown: dict[str, Any]
) -> None:
    meter = Meter()
    meter.record(metered(1, **values))
    meter.record(metered(2))
    await meter.flush()
    rows = await in_db(lambda: list(UsageRecord.objects.order_by("request_id")))
    assert [row.request_id for row in rows] == ["req_1", "req_2"]
    assert {name: getattr(rows[0], name) for name in shown} == shown
    await meter.close()


async def test_a_request_that_can_never_be_written_holds_up_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    meter = Meter()
    for number in range(5):
        meter.record(metered(number, cost=Decimal("1e30") if number == 3 else Decimal(1)))
    await meter.flush()
    rows = await in_db(lambda: list(UsageRecord.objects.order_by("request_id")))
    assert [row.request_id for row in rows] == ["req_0", "req_1", "req_2", "req_4"]
    assert "can never be written" in caplog.text
    await meter.close()


async def test_requests_of_several_users_without_a_key_are_summed() -> None:
    meter = Meter()
    meter.record(metered(1, key_id=None, owner_id=1))
    meter.record(metered(2, key_id=None, owner_id=2))
    await meter.flush()
    (day,) = await in_db(lambda: list(UsageDay.objects.all()))
    assert (day.key_id, day.requests) == (None, 2)
    await meter.close()


async def test_sums_have_no_names_that_clients_made_up() -> None:
    meter = Meter()
    for number in range(3):
        meter.record(metered(number, model=f"made-up-{number}", status=404))
    meter.record(metered(3))
    await meter.flush()
    days = await in_db(lambda: list(UsageDay.objects.order_by("model")))
    assert [(day.model, day.requests) for day in days] == [("", 3), ("fast", 1)]
    records = await in_db(lambda: set(UsageRecord.objects.values_list("model", flat=True)))
    assert "made-up-1" in records
    await meter.close()


async def test_keys_with_the_same_model_on_a_day_can_all_be_deleted(alice: User) -> None:
    def make() -> list[ApiKey]:
        return [create_api_key(alice, name=name)[0] for name in ("one", "two")]

    keys = await in_db(make)
    meter = Meter()
    for number, key in enumerate(keys):
        meter.record(metered(number, key_id=key.pk, owner_id=alice.pk))
    await meter.flush()
    await in_db(alice.delete)
    days = await in_db(lambda: list(UsageDay.objects.order_by("key_name")))
    assert [(day.key_id, day.key_name) for day in days] == [(key.pk, key.name) for key in keys]
    await meter.close()


async def test_a_full_disk_keeps_requests_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_line: bytes) -> None:
        raise OSError(28, "No space left on device")

    meter = Meter()
    with monkeypatch.context() as patch:
        patch.setattr(meter._journal, "append", full)
        meter.record(metered(1))
    await meter.flush()
    assert await in_db(UsageRecord.objects.count) == 1
    await meter.close()


async def test_failures_of_upstreams_are_shown_on_their_rows(alice: User) -> None:
    def make() -> Route:
        llm = Llm.objects.create(name="m", vendor="openai_compatible", owner=alice)
        model = PublicModel.objects.create(name="public")
        return Route.objects.create(model=model, llm=llm)

    route = await in_db(make)
    target = Target(
        row_id=route.llm_id,
        route_id=route.pk,
        dialect="chat_completions",
        origin=None,
        model_name="m",
        spec=SPEC,
    )
    meter = Meter()
    meter.note_failure(target, "The key was refused.", is_lasting=True)
    await meter.flush()
    await in_db(route.refresh_from_db)
    assert route.last_error == "The key was refused."
    llm = await in_db(lambda: Llm.objects.get(pk=route.llm_id))
    assert (llm.last_check_ok, llm.last_check_message) == (False, "The key was refused.")
    await meter.close()


@pytest.mark.parametrize(
    ("values", "is_well"),
    [
        ({}, True),
        ({"status": 502, "error_type": "upstream_error"}, False),
        ({"error_type": "upstream_error"}, False),
        ({"is_cached": True}, False),
        ({"target_row": "another"}, False),
        ({"started_at": 1_000.0}, False),
    ],
)
async def test_a_model_that_answers_again_is_shown_as_broken_no_longer(
    alice: User, values: dict[str, Any], is_well: bool
) -> None:
    llm = await in_db(lambda: Llm.objects.create(name="m", vendor="openai_compatible", owner=alice))
    await in_db(note_broken, llm.pk, "The key was refused.")
    asked = {"target_row": llm.pk, "started_at": time.time() + 1, **values}
    meter = Meter()
    meter.record(metered(1, **asked))
    await meter.flush()
    await in_db(llm.refresh_from_db)
    assert llm.last_check_ok is is_well
    await meter.close()


async def test_parts_are_cut_so_that_no_writer_and_reader_meet(folder: Path) -> None:
    """Many cuts, with somebody writing parts all the time: every line arrives once."""
    meter = Meter()
    deadline = time.monotonic() + 60
    for number in range(40):
        meter.record(metered(number))
        await asyncio.gather(in_db(write_parts, folder), meter.flush())
        assert time.monotonic() < deadline
    await meter.flush()
    (day,) = await in_db(lambda: list(UsageDay.objects.all()))
    assert day.requests == 40
    await meter.close()


async def test_what_another_flush_is_writing_is_written_when_a_flush_returns(folder: Path) -> None:
    meter = Meter()
    for number in range(40):
        meter.record(metered(number))
        earlier = asyncio.create_task(meter.flush())
        # The other one has a part in its hands by now, or is done.
        await asyncio.sleep(number / 10_000)
        await meter.flush()
        (day,) = await in_db(lambda: list(UsageDay.objects.all()))
        assert day.requests == number + 1
        await earlier
    await meter.close()
