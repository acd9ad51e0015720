"""The bytes of a request. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from core.wire.types import WireError

# Up to this size pieces are copied into one write; beyond it they are written as they lie.
JOINED_BYTES = 65_536

_START = re.compile(rb"[A-Z]+ /[!-~]* HTTP/1\.1\r\nhost: [!-~]+\r\n")
_BLOCK = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)*+")
# What frames a message, and whose connection it is, is decided here.
_OURS = frozenset(
    {b"host", b"connection", b"keep-alive", b"content-length", b"transfer-encoding", b"te",
     b"trailer", b"upgrade", b"expect"}
)  # fmt: skip
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


def head_of(
    method: str,
    target: str,
    authority: str,
    headers: Sequence[tuple[bytes, bytes]],
    size: int,
) -> bytes:
    """The head of a request whose body has `size` bytes.

    Raises WireError for a header that would frame the message anew, for one that is ours to send,
    and for bytes that no head may have.
    """
    head = _start(method, target, authority) + _block(tuple(headers))
    if size or method in _WITH_BODY:
        return b"%bcontent-length: %d\r\n\r\n" % (head, size)
    return head + b"\r\n"


# Requests of a process are few of their kind; checking every byte anew would be a third of the time
# that a request takes.
@lru_cache(maxsize=1024)
def _start(method: str, target: str, authority: str) -> bytes:
    """The first line, and the host."""
    # Whatever is not ASCII becomes bytes that the check refuses.
    text = f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\n"
    start = text.encode("utf-8", "surrogatepass")
    if start.count(b"\n") != 2 or _START.fullmatch(start) is None:
        raise WireError("the request has a method or path that cannot be", stage="send")
    return start


@lru_cache(maxsize=256)
def _block(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """The caller's headers, and what is added to them."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    names = {name.lower() for name, _value in headers}
    if b"accept-encoding" not in names:
        # A compressed stream is delayed, and could unfold to any size.
        lines.append(b"accept-encoding: identity\r\n")
    block = b"".join(lines)
    # Each line ends once, so that no value has brought a line of its own.
    if (
        block.count(b"\n") != len(lines)
        or not names.isdisjoint(_OURS)
        or _BLOCK.fullmatch(block) is None
    ):
        raise WireError("the request has a header that cannot be", stage="send")
    return block


def writes_of(
    head: bytes, body: Sequence[bytes | memoryview], size: int
) -> Sequence[bytes | memoryview]:
    """What to write in turn; a usual request is one write. Large pieces are not copied."""
    if size <= JOINED_BYTES:
        return [b"".join((head, *body)) if size else head]
    writes: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = [head]
    for piece in body:
        if memoryview(piece).nbytes <= JOINED_BYTES:
            small.append(piece)
            continue
        if small:
            writes.append(b"".join(small))
            small = []
        writes.append(memoryview(piece).cast("B"))
    if small:
        writes.append(b"".join(small))
    return writes
