"""The statements that begin a run and end it: each writes all that belongs together, or nothing.

One round trip instead of seven, in a transaction of its own. Whatever locks several rows takes the
conversation's first; the parts read from each other so that Postgres keeps to that order, too.
"""

from __future__ import annotations

from conversations import journal

_WRITE_EVENTS = """
insert into conversations_runevent (run_id, seq, type, data, created_at)
select run.id, run.first + e.place, e.type, e.data, coalesce(e.at, now())
from run, jsonb_to_recordset(%(events)s::jsonb)
  as e(place int, type text, data jsonb, at timestamptz)
"""

# Answers the number of the turn; nothing where the conversation is gone.
START = f"""
with talk as ({journal.TAKE_TURN}), said as ({journal.WRITE_MESSAGES}),
run as (
  insert into conversations_run
  select new.* from talk, jsonb_populate_record(
    null::conversations_run, %(run)s::jsonb || jsonb_build_object('turn', talk.turn)
  ) new
  returning id, turn, 0 as first
), written as ({_WRITE_EVENTS}), counted as ({journal.COUNT_CONVERSATION}),
noted as ({journal.NOTE_CALL})
select turn from run
"""  # noqa: S608 - put together of what stands here and in the journal

# Answers a row where the run was still the attempt's, and is over now.
FINISH = f"""
with conversation as materialized (
  select id from conversations_conversation where id = %(conversation)s for no key update
), run as materialized (
  select r.id, r.turn, r.conversation_id, r.next_seq as first
  from conversations_run r join conversation on conversation.id = r.conversation_id
  where r.id = %(id)s and r.attempt = %(attempt)s
    and r.status in ('running', 'cancel_requested')
    and r.next_seq = coalesce(%(first)s, r.next_seq)
    and (%(silent_since)s::timestamptz is null or r.heartbeat_at = %(silent_since)s)
  for no key update of r
), talk as (
  update conversations_conversation c
  set next_seq = c.next_seq + %(said)s, updated_at = now(),
    remote_id = coalesce(%(remote_id)s, c.remote_id)
  from run where c.id = run.conversation_id
  returning c.id, c.owner_id, c.assistant_key, c.channel, run.turn, c.next_seq - %(said)s as seq
), said as ({journal.WRITE_MESSAGES}), noted as ({journal.NOTE_CALL}),
written as ({_WRITE_EVENTS}), ended as (
  update conversations_run r
  set status = %(status)s, next_seq = r.next_seq + %(added)s, error_code = %(error_code)s,
    error_message = %(error_message)s,
    input_tokens = coalesce(%(input_tokens)s, r.input_tokens),
    output_tokens = coalesce(%(output_tokens)s, r.output_tokens),
    updated_at = now(), finished_at = now()
  from run where r.id = run.id
  returning r.id
)
select id from ended
"""  # noqa: S608 - as above
