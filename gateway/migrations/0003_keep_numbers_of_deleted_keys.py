import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_tell_of_changed_keys'),
        ('gateway', '0002_tell_of_changed_models'),
    ]

    operations = [
        migrations.AlterField(
            model_name=name,
            name='key',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, to='accounts.apikey', verbose_name='key'),
        )
        for name in ('usageday', 'usagerecord')
    ]
