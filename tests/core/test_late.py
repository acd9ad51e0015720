"""What is loaded late is loaded once, and holds nobody up."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.late import Late
from tests.bounded import in_time


class Heavy:
    """Counts how often it was loaded; while the gate is shut, loading takes for ever."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.has_begun = threading.Event()
        self.times = 0

    def load(self) -> Heavy:
        self.has_begun.set()
        assert self.gate.wait(10)
        self.times += 1
        return self


@pytest.fixture
def heavy() -> Heavy:
    return Heavy()


def test_nothing_is_loaded_before_it_is_wanted(heavy: Heavy) -> None:
    late = Late(heavy.load)
    assert not late.is_loaded
    heavy.gate.set()
    assert late.load() is heavy
    assert late.is_loaded


def test_it_is_loaded_once_for_all_threads(heavy: Heavy) -> None:
    late = Late(heavy.load)
    with ThreadPoolExecutor(2) as threads:
        asked = [threads.submit(late.load) for _ in range(2)]
        assert heavy.has_begun.wait(10)
        heavy.gate.set()
        assert [each.result(10) for each in asked] == [heavy, heavy]
    assert heavy.times == 1


async def test_the_loop_goes_on_while_it_is_loaded(heavy: Heavy) -> None:
    late = Late(heavy.load)
    # The gate is opened by this loop: one that waited for the load would wait in vain.
    asyncio.get_running_loop().call_later(0.01, heavy.gate.set)
    assert await late.get() is heavy
    assert await late.get() is heavy
    assert heavy.times == 1


def test_what_failed_is_tried_again() -> None:
    failures = [ImportError("broken")]

    def load() -> str:
        if failures:
            raise failures.pop()
        return "loaded"

    late = Late(load)
    with pytest.raises(ImportError):
        late.load()
    assert late.load() == "loaded"


# In a process of its own, as it is about all that a process has.
def frozen_by_loading(beforehand: str) -> int:
    code = f"""
import gc
from core.late import Late
{beforehand}
before = gc.get_freeze_count()
late = Late(lambda: [[] for _ in range(1_000)])
late.load()
print(gc.get_freeze_count() - before)
"""
    return int(in_time(code))


def test_where_garbage_is_not_looked_for_in_the_beginning_it_is_not_in_what_comes_later() -> None:
    assert frozen_by_loading("gc.freeze()") >= 1_000
    assert frozen_by_loading("") == 0
