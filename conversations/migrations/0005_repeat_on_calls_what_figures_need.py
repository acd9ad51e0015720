from django.db import migrations

FILL_CALLS = """
update conversations_call as call
set owner_id = conversation.owner_id,
    assistant_key = conversation.assistant_key,
    channel = conversation.channel
from conversations_conversation as conversation
where conversation.id = call.conversation_id
"""
FILL_NUMBERS = """
update conversations_conversation as conversation
set next_turn = said.turn + 1, next_seq = said.seq + 1
from (
    select conversation_id, max(turn) as turn, max(seq) as seq
    from conversations_message group by conversation_id
) as said
where said.conversation_id = conversation.id
"""


class Migration(migrations.Migration):
    dependencies = [("conversations", "0004_keep_runs_and_memories")]

    operations = [
        migrations.RunSQL(FILL_CALLS, migrations.RunSQL.noop),
        migrations.RunSQL(FILL_NUMBERS, migrations.RunSQL.noop),
    ]
