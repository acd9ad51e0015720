from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("conversations", "0005_repeat_on_calls_what_figures_need")]

    operations = [
        migrations.AddIndex(
            model_name="message",
            index=models.Index(
                fields=["conversation", "created_at"],
                include=["model_name", "input_tokens", "output_tokens"],
                name="message_usage",
                condition=models.Q(("role", "assistant"), models.Q(("model_name", ""), _negated=True)),
            ),
        ),
    ]
