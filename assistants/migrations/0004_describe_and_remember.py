
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('assistants', '0003_add_mcp_servers'),
    ]

    operations = [
        migrations.AddField(
            model_name='assistant',
            name='description',
            field=models.CharField(blank=True, max_length=500, verbose_name='description'),
        ),
        migrations.AddField(
            model_name='assistant',
            name='enable_memory',
            field=models.BooleanField(default=False, help_text='Keeps facts that users with an account tell it, and uses them when they come back. Each sees and deletes their own.', verbose_name='remember users'),
        ),
        migrations.AddField(
            model_name='assistant',
            name='logo_url',
            field=models.CharField(blank=True, max_length=500, verbose_name='picture'),
        ),
    ]
