"""What the logs of runs tell of their course, read without the pieces of text they are made of."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import connection

from conversations.reports.timeline import SILENT, LoggedEvent

# Of what was said, asked and returned, as much as a line shows.
MAX_CHARS = 300
MAX_ANSWER_CHARS = 2_000
_REST_OF_WORD = re.compile(r"\S{0,40}\s+(?=\S)")

# The latest of each run: how it ended matters more than how it began. Sizes are cut in the
# database, so that no result of a tool comes here as a whole.
_READ = """
select e.run_id, e.type, e.created_at,
  coalesce(e.data->>'id', ''), coalesce(e.data->>'name', e.data->>'model', ''),
  left(coalesce(case e.type
    when 'user_message' then e.data->>'message'
    when 'conversation_changed' then e.data->>'title'
    else coalesce(e.data->>'full_content', e.data->>'arguments', e.data->>'path',
      e.data->>'intent')
  end, ''), %(chars)s),
  coalesce(e.data->>'status', case e.type when 'error' then e.data->>'code' end, ''),
  case when e.type <> 'user_message' then left(e.data->>'message', %(chars)s) else '' end,
  (e.data->>'code'), (e.data->>'attempt'), (e.data->>'max_attempts'),
  (e.data->>'input_tokens'), (e.data->>'output_tokens'),
  case jsonb_typeof(e.data->'sources') when 'array' then jsonb_array_length(e.data->'sources') end,
  (e.data->>'duration_ms'),
  case when e.type in ('stream_reset', 'system_message', 'error') then (
    select max(b.created_at) from conversations_runevent b
    where b.run_id = e.run_id and b.seq = e.seq - 1
  ) end
from unnest(%(ids)s::uuid[]) as r(id)
cross join lateral (
  select * from conversations_runevent
  where run_id = r.id and type <> all(%(silent)s)
  order by seq desc limit %(most)s
) e
order by e.run_id, e.seq
"""

# The pieces after whatever began the text that is open, or voided the one before it. One character
# more than is shown tells whether there were others before it.
_SAYING = """
select right(coalesce(string_agg(data->>'content', '' order by seq), ''), %(chars)s)
from conversations_runevent
where run_id = %(id)s and type = 'text_chunk' and seq > coalesce((
  select max(seq) from conversations_runevent
  where run_id = %(id)s and type in ('text_start', 'stream_reset', 'ai_message_start')
), -1)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Steps:
    """The latest steps of a run, and whether there were earlier ones."""

    events: tuple[LoggedEvent, ...] = ()
    is_cut: bool = False


def steps_of(run_ids: Sequence[UUID], *, most: int) -> dict[UUID, Steps]:
    """The latest steps of each of these runs, at most so many of each, in one query."""
    found: dict[UUID, list[LoggedEvent]] = {run_id: [] for run_id in run_ids}
    if run_ids:
        values: dict[str, Any] = {
            "ids": [str(run_id) for run_id in run_ids],
            "silent": sorted(SILENT),
            "most": most + 1,
            "chars": MAX_CHARS,
        }
        with connection.cursor() as cursor:
            cursor.execute(_READ, values)
            for run_id, *columns in cursor.fetchall():
                found[run_id].append(_event(*columns))
    return {
        run_id: Steps(tuple(events[-most:]), is_cut=len(events) > most)
        for run_id, events in found.items()
    }


def _event(*columns: Any) -> LoggedEvent:
    kind, at, own_id, name, text, status, message = columns[:7]
    code, attempt, max_attempts, input_tokens, output_tokens, sources, duration_ms = (
        _number(column) for column in columns[7:14]
    )
    return LoggedEvent(
        type=kind,
        at=at,
        before=columns[14],
        id=own_id,
        name=name,
        text=text,
        status=status,
        message=message or "",
        code=code,
        attempt=attempt or 1,
        max_attempts=max_attempts or 1,
        input_tokens=input_tokens or 0,
        output_tokens=output_tokens or 0,
        sources=sources or 0,
        duration_ms=duration_ms,
    )


def _number(column: str | int | None) -> int | None:
    """A number as it was logged; clients and tools may have put anything in its place."""
    if isinstance(column, int) or column is None:
        return column
    return int(column) if column.isascii() and column.isdigit() and len(column) < 10 else None


def ending(text: str, most: int) -> str:
    """The end of a text, of so many characters at most: from a word on, and marked if it is cut."""
    if len(text) <= most:
        return text
    cut = text[-most:]
    # Scripts that put nothing between words may be cut anywhere.
    broken = None if text[-most - 1].isspace() else _REST_OF_WORD.match(cut)
    return f"… {cut[broken.end() :] if broken else cut.lstrip()}"


def said_so_far(run_id: UUID) -> str:
    """The end of the text that the run is writing, or wrote last."""
    with connection.cursor() as cursor:
        cursor.execute(_SAYING, {"id": run_id, "chars": MAX_ANSWER_CHARS + 1})
        row = cursor.fetchone()
    return ending(str(row[0]) if row else "", MAX_ANSWER_CHARS)
