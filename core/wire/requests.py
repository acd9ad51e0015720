"""The bytes of a request. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from core.wire.types import WireError

# Up to this size pieces are copied into one write; beyond it they are written as they lie.
JOINED_BYTES = 65_536

_HEAD = re.compile(
    rb"[A-Z]+ /[!-~]* HTTP/1\.1\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)++"
    rb"\r\n"
)
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
    # Whatever is not ASCII becomes bytes that the check below refuses.
    start = f"{method} {target} HTTP/1.1\r\nhost: {authority}\r\n"
    lines = [start.encode("utf-8", "surrogatepass")]
    lines += [b"%b: %b\r\n" % header for header in headers]
    names = {name.lower() for name, _value in headers}
    if b"accept-encoding" not in names:
        # A compressed stream is delayed, and could unfold to any size.
        lines.append(b"accept-encoding: identity\r\n")
    if size or method in _WITH_BODY:
        lines.append(b"content-length: %d\r\n" % size)
    lines.append(b"\r\n")
    head = b"".join(lines)
    # Each line ends once, so that no value has brought a line of its own.
    expected_lines = len(lines) + 1
    if (
        head.count(b"\n") != expected_lines
        or not names.isdisjoint(_OURS)
        or _HEAD.fullmatch(head) is None
    ):
        raise WireError("the request has a method, path or header that cannot be", stage="send")
    return head


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
