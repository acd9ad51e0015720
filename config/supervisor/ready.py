"""How a child tells the supervisor that it serves: one byte on an inherited pipe."""

from __future__ import annotations

import contextlib
import os

VARIABLE = "SUPERVISOR_READY_FD"


def announce() -> None:
    """Called in the child, once it serves. Does nothing when nobody asked."""
    descriptor = os.environ.pop(VARIABLE, "")
    if not descriptor:
        return
    # A supervisor that stopped waiting has closed its end.
    with contextlib.suppress(OSError):
        os.write(int(descriptor), b"1")
        os.close(int(descriptor))
