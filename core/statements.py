"""Statements that are asked for every request, which Postgres need not plan each time.

To parse and plan one takes several times as long as to execute it, where it joins four tables or
writes into five. Prepared, it is planned once for each connection of the pool.
"""

from __future__ import annotations

from typing import Any, cast

from django.db import connection
from django.db.backends.utils import CursorWrapper


def prepared_cursor() -> CursorWrapper:
    """A cursor for statements whose text is always the same; their values are sent apart.

    They must be few, as every connection keeps each of them; and as no value is known to the plan,
    no value may call for another one.
    """
    # Of our own backend, which Django's types do not know.
    return cast(CursorWrapper, cast(Any, connection).prepared_cursor())
