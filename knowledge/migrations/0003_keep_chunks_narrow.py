"""How Postgres keeps what a search reads."""

from __future__ import annotations

from typing import ClassVar

from django.db import migrations

# A search by words visits thousands of rows for nothing but their base: with the texts kept aside,
# several times as many of them share a page. Figures on the numbers of a vector help no planner,
# and are the largest part of what it would read for every plan. Small changes refresh the rest.
FORWARD = """
alter table knowledge_chunk set (toast_tuple_target = 128, autovacuum_analyze_scale_factor = 0.05);
alter table knowledge_chunkvector set (autovacuum_analyze_scale_factor = 0.05);
alter table knowledge_chunkvector alter column embedding set statistics 0;
"""
BACKWARD = """
alter table knowledge_chunk reset (toast_tuple_target, autovacuum_analyze_scale_factor);
alter table knowledge_chunkvector reset (autovacuum_analyze_scale_factor);
alter table knowledge_chunkvector alter column embedding set statistics -1;
"""


class Migration(migrations.Migration):
    dependencies: ClassVar = [("knowledge", "0002_search_storage")]
    operations: ClassVar = [migrations.RunSQL(FORWARD, BACKWARD)]
