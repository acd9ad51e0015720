"""The order in which rows are locked, wherever a transaction locks more than one of them:

a base, its documents by id, their chunks by id, its spaces by id.

Whoever deletes or replaces what is in a base holds the base first; whoever deletes the base locks
it, and so waits for them before it takes anything else. A space may be held before chunks by those
who only add to it: their locks on either do not exclude each other.
"""

from __future__ import annotations

from django.db import connection


def hold_base(base_id: str) -> bool:
    """Whether the base exists, and will until the end of the transaction. It may be changed."""
    return _found("select from knowledge_knowledgebase where id = %s for key share", base_id)


def lock_base(base_id: str) -> bool:
    """Whether the base exists; until the end of the transaction nobody else holds it."""
    return _found("select from knowledge_knowledgebase where id = %s for update", base_id)


def hold_space(space_id: int) -> bool:
    """Whether the space exists, and will until the end of the transaction."""
    return _found("select from knowledge_vectorspace where id = %s for key share", space_id)


def _found(statement: str, row_id: str | int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, [row_id])
        return bool(cursor.rowcount)
