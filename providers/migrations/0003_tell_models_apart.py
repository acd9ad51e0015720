
import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('providers', '0002_name_rerank_vendors'),
    ]

    operations = [
        migrations.AddField(
            model_name='llm',
            name='accepts_images',
            field=models.BooleanField(default=False, verbose_name='sees images'),
        ),
        migrations.AddField(
            model_name='llm',
            name='aliases',
            field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=100), blank=True, default=list, help_text='Clients may ask for it by these too, where no model has the name itself.', size=None, verbose_name='other names'),
        ),
        migrations.AddField(
            model_name='llm',
            name='description',
            field=models.CharField(blank=True, max_length=500, verbose_name='description'),
        ),
        migrations.AddField(
            model_name='llm',
            name='max_output_tokens',
            field=models.PositiveIntegerField(blank=True, help_text='In tokens.', null=True, verbose_name='longest answer'),
        ),
        migrations.AddField(
            model_name='llm',
            name='supports_thinking',
            field=models.BooleanField(default=False, help_text="The vendor's API has a switch for it, and the model obeys it.", verbose_name='can be told to think'),
        ),
    ]
