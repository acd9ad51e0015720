from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("conversations", "0007_index_what_figures_need"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="run",
            options={
                "ordering": ["-created_at"],
                "verbose_name": "task",
                "verbose_name_plural": "tasks",
            },
        ),
    ]
