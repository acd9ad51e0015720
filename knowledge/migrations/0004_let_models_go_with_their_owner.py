"""An account is deleted with its bases and the embedding models that these need."""

from __future__ import annotations

from typing import ClassVar

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies: ClassVar = [("knowledge", "0003_keep_chunks_narrow")]
    operations: ClassVar = [
        migrations.AlterField(
            "knowledgebase",
            "embedder",
            models.ForeignKey(
                blank=True,
                help_text="Empty: the default when the first document comes; it then stays.",
                limit_choices_to={"type": "embedding"},
                null=True,
                on_delete=django.db.models.deletion.RESTRICT,
                to="providers.llm",
                verbose_name="embedding model",
            ),
        ),
        migrations.AlterField(
            "vectorspace",
            "embedder",
            models.ForeignKey(
                on_delete=django.db.models.deletion.RESTRICT,
                related_name="+",
                to="providers.llm",
                verbose_name="embedding model",
            ),
        ),
    ]
