from django.conf import settings
from django.db import migrations, models
from django.utils import timezone


class Migration(migrations.Migration):
    dependencies = [
        ("conversations", "0006_index_what_answers_took"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        # The conversation has one, on every channel; nothing ever wrote this one.
        migrations.RemoveField(model_name="call", name="summary"),
        migrations.AlterModelOptions(
            name="call",
            options={
                "ordering": ["-started_at", "-conversation_id"],
                "verbose_name": "call",
                "verbose_name_plural": "calls",
            },
        ),
        migrations.AlterField(
            model_name="call",
            name="heartbeat_at",
            field=models.DateTimeField(default=timezone.now, editable=False),
        ),
        migrations.RemoveIndex(model_name="call", name="call_of_owner"),
        migrations.AddIndex(
            model_name="call",
            index=models.Index(
                fields=["owner", "-started_at", "-conversation"],
                include=["assistant_key", "channel", "source", "status", "ended_at", "cost"],
                name="call_figures",
            ),
        ),
        migrations.AddIndex(
            model_name="call",
            index=models.Index(
                fields=["started_at"],
                name="call_open",
                condition=models.Q(("ended_at__isnull", True)),
            ),
        ),
    ]
