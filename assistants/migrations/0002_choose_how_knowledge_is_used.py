"""How an assistant uses its knowledge bases."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('assistants', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='assistant',
            name='knowledge_limit',
            field=models.PositiveIntegerField(default=5, help_text='At most so many are put before the model.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(20)], verbose_name='passages'),
        ),
        migrations.AddField(
            model_name='assistant',
            name='knowledge_min_score',
            field=models.FloatField(default=0.3, help_text="Cosine of question and passage, 0 to 1. A passage below it is left out, unless it has most of the question's words.", validators=[django.core.validators.MinValueValidator(0), django.core.validators.MaxValueValidator(1)], verbose_name='least similarity'),
        ),
        migrations.AddField(
            model_name='assistant',
            name='knowledge_mode',
            field=models.CharField(choices=[('before', 'Before every answer'), ('tool', 'When the model asks for it')], default='before', help_text='Before every answer suits every model; asking needs one that uses tools.', max_length=8, verbose_name='search knowledge'),
        ),
    ]
