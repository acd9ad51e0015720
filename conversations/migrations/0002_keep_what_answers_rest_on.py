"""The sources of an answer."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('conversations', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='message',
            name='citations',
            field=models.JSONField(blank=True, default=list, verbose_name='sources'),
        ),
        migrations.AddField(
            model_name='message',
            name='knowledge_note',
            field=models.CharField(blank=True, help_text='What the search in the knowledge went without.', max_length=500, verbose_name='note on the search'),
        ),
    ]
