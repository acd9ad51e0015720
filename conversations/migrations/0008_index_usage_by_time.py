from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('conversations', '0007_index_what_figures_need'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='message',
            index=models.Index(
                condition=models.Q(('role', 'assistant'), models.Q(('model_name', ''), _negated=True)),
                fields=['created_at'],
                include=('conversation', 'model_name', 'input_tokens', 'output_tokens'),
                name='message_usage_by_time',
            ),
        ),
    ]
