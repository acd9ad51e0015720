"""Documents read while somebody waits: by the knowledge's readers, for a short time only."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from django.utils.translation import gettext as _

from core.errors import InvalidRequest, Unavailable
from knowledge.parse import ParseFailed, ocr_is_installed, parse_file

T = TypeVar("T")

READ_TIMEOUT_S = 60.0
QUEUE_TIMEOUT_S = 30.0
# Each waits for a child process that may take a core and a gigabyte.
_READERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="reader")


class _GivenUp(Exception):
    """Nobody waits any more."""


async def off_the_loop(work: Callable[[Callable[[], None]], T]) -> T:
    """Runs reading work in one of few threads.

    The work gets a check, to be called about once a second, which raises where nobody waits any
    more, or InvalidRequest where it takes too long. Raises Unavailable where no thread is free.
    """
    is_over = threading.Event()
    has_begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def reading() -> T:
        loop.call_soon_threadsafe(has_begun.set)
        deadline = time.monotonic() + READ_TIMEOUT_S

        def check() -> None:
            if is_over.is_set():
                raise _GivenUp
            if time.monotonic() > deadline:
                text = _("Reading the file takes too long here; add it to a knowledge base.")
                raise InvalidRequest(text, code="UNREADABLE_FILE")

        return work(check)

    # Messages are told in the language that holds here.
    running = loop.run_in_executor(_READERS, contextvars.copy_context().run, reading)
    try:
        await _begun(has_begun, running)
        return await running
    finally:
        is_over.set()


async def _begun(has_begun: asyncio.Event, running: asyncio.Future[T]) -> None:
    try:
        async with asyncio.timeout(QUEUE_TIMEOUT_S):
            await has_begun.wait()
    except TimeoutError:
        running.cancel()
        text = _("Too many files are being read right now; try again later.")
        raise Unavailable(text, retry_after=30) from None


def text_of(path: Path, file_type: str, check: Callable[[], None]) -> str:
    """The text of a document, scanned pages by OCR where it has no other and OCR is installed.

    Raises InvalidRequest for what cannot be read, and says why.
    """
    try:
        parsed = parse_file(path, file_type, on_wait=check)
        if not parsed.text and ocr_is_installed():
            parsed = parse_file(path, file_type, with_ocr=True, on_wait=check)
    except ParseFailed as error:
        if error.is_permanent:
            raise InvalidRequest(error.message, code="UNREADABLE_FILE") from None
        raise Unavailable(error.message) from None
    return parsed.text
