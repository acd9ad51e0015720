"""The parent's side: starts the child, waits no longer than allowed, believes nothing unchecked."""

from __future__ import annotations

import array
import dataclasses
import importlib.util
import json
import logging
import os
import selectors
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from django.conf import settings

from knowledge.parse import wire
from knowledge.parse.failures import FAILURES, ParseFailed
from knowledge.parse.formats import FILE_TYPES
from knowledge.types import Block, Parsed

logger = logging.getLogger(__name__)

_TICK_S = 1.0
_EXIT_S = 10.0
_READ = 2**18
_STDERR_TAIL = 4000
# A document that keeps a free processor busy runs into this first, and is to blame; one that runs
# into the whole time-out met a busy machine.
_CPU_SHARE = 0.75


def ocr_is_installed() -> bool:
    """Whether images can be read here. Loads nothing."""
    return importlib.util.find_spec("rapidocr") is not None


def parse_file(
    path: Path,
    file_type: str,
    *,
    with_ocr: bool = False,
    on_wait: Callable[[], None] | None = None,
) -> Parsed:
    """Reads a document of one of `FILE_TYPES` in a child process, and blocks until it is read.

    Without `with_ocr`, pages that only OCR can read come back as `image_pages`, and an image as a
    document of one such page. `on_wait` is called about once a second; what it raises ends the
    child and comes out here. Raises ParseFailed; a text without a character is one, unless OCR can
    still be tried.
    """
    has_ocr = ocr_is_installed()
    is_image = FILE_TYPES[file_type].is_image
    _check_size(path)
    if is_image and not has_ocr:
        raise ParseFailed("ocr_missing")
    if is_image and not with_ocr:
        return Parsed("", (), page_count=1, image_pages=(1,))
    order = _order(path, file_type, with_ocr=with_ocr and has_ocr)
    parsed = _parsed(_run(order, on_wait), order)
    if parsed.text or (parsed.image_pages and has_ocr and not with_ocr):
        return parsed
    raise ParseFailed("ocr_missing" if parsed.image_pages and not has_ocr else "no_text")


def _check_size(path: Path) -> None:
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ParseFailed("missing") from None
    if size == 0:
        raise ParseFailed("empty")


def _order(path: Path, file_type: str, *, with_ocr: bool) -> wire.Order:
    return wire.Order(
        path=str(path.absolute()),
        file_type=file_type,
        with_ocr=with_ocr,
        memory_mb=settings.OCR_MEMORY_MB if with_ocr else settings.PARSE_MEMORY_MB,
        cpu_s=_cpu_s(with_ocr=with_ocr),
        max_pages=settings.PARSE_MAX_PAGES,
        max_chars=settings.PARSE_MAX_CHARS,
    )


def _timeout_s(order: wire.Order) -> float:
    return float(settings.OCR_TIMEOUT_S if order.with_ocr else settings.PARSE_TIMEOUT_S)


def _cpu_s(*, with_ocr: bool) -> int:
    if with_ocr:
        # Recognition uses all processors, whose times add up.
        return int(settings.OCR_TIMEOUT_S) * (os.cpu_count() or 1)
    return max(1, int(settings.PARSE_TIMEOUT_S * _CPU_SHARE))


@dataclasses.dataclass(slots=True)
class _Ended:
    """How a child ended, and what it said."""

    answer: bytearray
    complaint: bytearray
    status: int
    was_stopped: bool = False


def _run(order: wire.Order, on_wait: Callable[[], None] | None) -> bytearray:
    """The answer of a child that did what it should; raises ParseFailed for any other end."""
    ended = _ended(order, on_wait)
    if ended.complaint:
        text = ended.complaint.decode("utf-8", "replace")
        logger.warning("reading %s: %s", order.path, text[-_STDERR_TAIL:])
    if ended.was_stopped:
        raise ParseFailed("stalled")
    if ended.status == 0:
        return ended.answer
    raise ParseFailed(_reason_of(ended))


def _reason_of(ended: _Ended) -> str:
    if ended.status == -signal.SIGXCPU:
        return "timed_out"
    if ended.status == -signal.SIGKILL:
        return "killed"
    said = ended.complaint.lower()
    is_memory = any(word in said for word in (b"memoryerror", b"bad_alloc", b"out of memory"))
    return "out_of_memory" if is_memory else "crashed"


def _ended(order: wire.Order, on_wait: Callable[[], None] | None) -> _Ended:
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", "knowledge.parse.child", str(os.getpid()), order.to_json()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=settings.BASE_DIR,
            env=_environment(),
            start_new_session=True,
        )
    except OSError as error:
        logger.warning("the reader could not be started: %s", error)
        raise ParseFailed("unavailable") from error
    with child:
        try:
            return _watch(child, order, on_wait)
        finally:
            if child.poll() is None:
                # Not reaped yet, so its number is still its own; with all that it started.
                os.killpg(child.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """What a child needs of ours, which holds secrets."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    # Every thread's own heap would count against the limit of the address space.
    return kept | {"LANG": "C.UTF-8", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "2"}


def _watch(
    child: subprocess.Popen[bytes], order: wire.Order, on_wait: Callable[[], None] | None
) -> _Ended:
    deadline = time.monotonic() + _timeout_s(order)
    answer, complaint = bytearray(), bytearray()
    for data, is_answer in _output(child, deadline, on_wait):
        if not is_answer:
            complaint += data
            del complaint[:-_STDERR_TAIL]
            continue
        answer += data
        if len(answer) > order.max_answer:
            return _Ended(answer, complaint, status=-1)
    if time.monotonic() >= deadline:
        return _Ended(answer, complaint, status=-1, was_stopped=True)
    try:
        return _Ended(answer, complaint, status=child.wait(_EXIT_S))
    except subprocess.TimeoutExpired:
        return _Ended(answer, complaint, status=-1, was_stopped=True)


def _output(
    child: subprocess.Popen[bytes], deadline: float, on_wait: Callable[[], None] | None
) -> Iterator[tuple[bytes, bool]]:
    """What the child writes, and whether it is the answer, until it closes or time is up."""
    assert child.stdout is not None
    assert child.stderr is not None
    next_tick = time.monotonic() + _TICK_S
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ, True)
        selector.register(child.stderr, selectors.EVENT_READ, False)
        while selector.get_map():
            now = time.monotonic()
            if now >= deadline:
                return
            if now >= next_tick and on_wait is not None:
                on_wait()
                next_tick = time.monotonic() + _TICK_S
            for key, _events in selector.select(max(0.0, min(_TICK_S, deadline - now))):
                data = os.read(key.fd, _READ)
                if data:
                    yield data, key.data
                else:
                    selector.unregister(key.fileobj)


def _parsed(answer: bytearray, order: wire.Order) -> Parsed:
    """The answer as what it should be; anything else in it is a broken document's doing."""
    try:
        return _decoded(memoryview(answer), order)
    except (ValueError, LookupError, TypeError, AttributeError, struct.error) as error:
        logger.warning("reading %s: a malformed answer: %s", order.path, error)
        raise ParseFailed("crashed") from error


def _decoded(answer: memoryview, order: wire.Order) -> Parsed:
    (length,) = wire.LENGTH.unpack(answer[: wire.LENGTH.size])
    at = wire.LENGTH.size + length
    header: wire.Header = json.loads(bytes(answer[wire.LENGTH.size : at]))
    if "reason" in header:
        reason = header["reason"]
        raise ParseFailed(reason if reason in FAILURES else "crashed")
    numbers = array.array("I")
    end = at + numbers.itemsize * wire.NUMBERS_PER_BLOCK * header["blocks"]
    if end > len(answer):
        raise ValueError("fewer blocks than promised")
    numbers.frombytes(answer[at:end])
    text = str(answer[end:], "utf-8")
    if "\0" in text:
        raise ValueError("a character that no database takes")
    page_count = header["page_count"]
    if page_count is not None and not 0 <= page_count <= order.max_pages:
        raise ValueError("an impossible number of pages")
    image_pages = tuple(header["image_pages"])
    if any(not 0 < page <= (page_count or 0) for page in image_pages):
        raise ValueError("an image on a page that is not there")
    return Parsed(text, tuple(_blocks(numbers, text)), page_count, image_pages)


def _blocks(numbers: array.array[int], text: str) -> Iterator[Block]:
    at = 0
    columns = [numbers[column :: wire.NUMBERS_PER_BLOCK] for column in range(5)]
    for kind, start, end, page, level in zip(*columns, strict=True):
        if not at <= start < end <= len(text) or not (start == at or text[at:start].isspace()):
            raise ValueError("blocks that do not follow one another")
        yield Block(wire.KINDS[kind], start, end, page or None, level)
        at = end
    if text[at:].strip():
        raise ValueError("text outside of every block")
