"""How Postgres keeps what a search reads."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

# The commonest 10,000 words and their frequencies, which weigh the words of a query, come from
# these statistics. Vectors stay in their row, uncompressed: an exact search reads all of them.
FORWARD = """
alter table knowledge_chunk alter column lexemes set statistics 1000;
alter table knowledge_chunkvector alter column embedding set storage external;
alter table knowledge_chunkvector set (toast_tuple_target = 8160);
"""
BACKWARD = """
alter table knowledge_chunk alter column lexemes set statistics -1;
alter table knowledge_chunkvector alter column embedding set storage extended;
alter table knowledge_chunkvector reset (toast_tuple_target);
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("knowledge", "0001_initial")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
