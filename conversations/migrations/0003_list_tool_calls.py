from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("conversations", "0002_keep_what_answers_rest_on")]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                fields=["-created_at"], name="message_of_tool", condition=models.Q(role="tool")
            ),
        ),
        migrations.CreateModel(
            name="ToolUse",
            fields=[],
            options={
                "verbose_name": "tool call",
                "verbose_name_plural": "tool calls",
                "ordering": ["-created_at", "-id"],
                "proxy": True,
                "indexes": [],
                "constraints": [],
            },
            bases=("conversations.message",),
        ),
    ]
