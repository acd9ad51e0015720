
import core.ids
import django.contrib.postgres.search
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import pgvector.django.halfvec
import uuid
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('assistants', '0004_describe_and_remember'),
        ('conversations', '0003_list_tool_calls'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Feedback',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('is_positive', models.BooleanField(verbose_name='liked')),
                ('user_input', models.TextField(blank=True, verbose_name='question')),
                ('agent_output', models.TextField(blank=True, verbose_name='answer')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
            ],
            options={
                'verbose_name': 'feedback',
                'verbose_name_plural': 'feedback',
                'ordering': ['-created_at'],
            },
        ),
        migrations.CreateModel(
            name='Memory',
            fields=[
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated')),
                ('id', models.CharField(default=core.ids.short_id, editable=False, max_length=64, primary_key=True, serialize=False)),
                ('text', models.CharField(max_length=500, verbose_name='fact')),
                ('digest', models.CharField(editable=False, max_length=64)),
                ('lexemes', django.contrib.postgres.search.SearchVectorField(editable=False)),
                ('embedding', pgvector.django.halfvec.HalfVectorField(editable=False, null=True)),
                ('fingerprint', models.CharField(blank=True, editable=False, max_length=64)),
            ],
            options={
                'verbose_name': 'memory',
                'verbose_name_plural': 'memories',
                'ordering': ['-updated_at'],
            },
        ),
        migrations.CreateModel(
            name='Personalization',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated')),
                ('name', models.CharField(max_length=64, validators=[django.core.validators.RegexValidator('^[\\w\\-\\u4e00-\\u9fff]{1,64}\\Z', '1 to 64 letters, digits, “_” or “-”.')], verbose_name='name')),
                ('content', models.JSONField(blank=True, default=dict, verbose_name='content')),
            ],
            options={
                'verbose_name': 'personalization',
                'verbose_name_plural': 'personalizations',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Prompt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('created_at', models.DateTimeField(auto_now_add=True, verbose_name='created')),
                ('updated_at', models.DateTimeField(auto_now=True, verbose_name='updated')),
                ('name', models.CharField(max_length=64, validators=[django.core.validators.RegexValidator('^[\\w\\-\\u4e00-\\u9fff]{1,64}\\Z', '1 to 64 letters, digits, “_” or “-”.')], verbose_name='name')),
                ('content', models.TextField(blank=True, verbose_name='content')),
            ],
            options={
                'verbose_name': 'prompt',
                'verbose_name_plural': 'prompts',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Run',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('kind', models.CharField(choices=[('task', 'Task'), ('chat', 'Chat')], max_length=8, verbose_name='kind')),
                ('turn', models.PositiveIntegerField(verbose_name='turn')),
                ('status', models.CharField(choices=[('pending', 'Waiting'), ('running', 'Running'), ('cancel_requested', 'Being stopped'), ('succeeded', 'Done'), ('failed', 'Failed'), ('canceled', 'Stopped')], default='pending', max_length=16, verbose_name='status')),
                ('request', models.JSONField(default=dict, verbose_name='request')),
                ('attempt', models.PositiveIntegerField(default=0, editable=False, verbose_name='attempt')),
                ('next_seq', models.PositiveBigIntegerField(default=0, editable=False)),
                ('heartbeat_at', models.DateTimeField(editable=False, null=True, verbose_name='last sign of life')),
                ('worker', models.CharField(blank=True, editable=False, max_length=100, verbose_name='process')),
                ('has_acted', models.BooleanField(default=False, editable=False, verbose_name='has acted')),
                ('error_code', models.CharField(blank=True, editable=False, max_length=64, verbose_name='error code')),
                ('error_message', models.CharField(blank=True, editable=False, max_length=500, verbose_name='error')),
                ('input_tokens', models.PositiveIntegerField(default=0, editable=False, verbose_name='input tokens')),
                ('output_tokens', models.PositiveIntegerField(default=0, editable=False, verbose_name='output tokens')),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='created')),
                ('updated_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, verbose_name='updated')),
                ('started_at', models.DateTimeField(editable=False, null=True, verbose_name='started')),
                ('finished_at', models.DateTimeField(editable=False, null=True, verbose_name='finished')),
            ],
            options={
                'verbose_name': 'run',
                'verbose_name_plural': 'runs',
                'ordering': ['-created_at'],
            },
        ),
        migrations.CreateModel(
            name='RunEvent',
            fields=[
                ('pk', models.CompositePrimaryKey('run_id', 'seq', blank=True, editable=False, primary_key=True, serialize=False)),
                ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='events', to='conversations.run')),
                ('seq', models.PositiveBigIntegerField()),
                ('type', models.CharField(max_length=32)),
                ('data', models.JSONField(default=dict)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'verbose_name': 'event',
                'verbose_name_plural': 'events',
                'ordering': ['seq'],
            },
        ),
        migrations.AddField(
            model_name='call',
            name='assistant_key',
            field=models.CharField(default='', editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name='call',
            name='channel',
            field=models.CharField(choices=[('voice', 'Voice'), ('chat', 'Chat'), ('task', 'Task')], default='voice', max_length=8, verbose_name='channel'),
        ),
        migrations.AddField(
            model_name='call',
            name='owner',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='owner'),
        ),
        migrations.AddField(
            model_name='conversation',
            name='alias',
            field=models.CharField(blank=True, editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name='conversation',
            name='next_seq',
            field=models.PositiveIntegerField(default=1, editable=False),
        ),
        migrations.AddField(
            model_name='conversation',
            name='next_turn',
            field=models.PositiveIntegerField(default=1, editable=False),
        ),
        migrations.AddField(
            model_name='conversation',
            name='remote_id',
            field=models.CharField(blank=True, help_text='Of an assistant that another service answers for, which keeps the history.', max_length=255, verbose_name='conversation at the other service'),
        ),
        migrations.AddField(
            model_name='conversation',
            name='settings',
            field=models.JSONField(blank=True, default=dict, verbose_name='settings'),
        ),
        migrations.AddField(
            model_name='conversation',
            name='summary',
            field=models.TextField(blank=True, verbose_name='summary'),
        ),
        migrations.AddField(
            model_name='conversation',
            name='todo',
            field=models.JSONField(blank=True, default=list, verbose_name='to-do list'),
        ),
        migrations.AddField(
            model_name='message',
            name='attachments',
            field=models.JSONField(blank=True, default=list, verbose_name='attachments'),
        ),
        migrations.AddField(
            model_name='message',
            name='model_name',
            field=models.CharField(blank=True, max_length=200, verbose_name='model'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(fields=['owner', '-started_at'], name='call_of_owner'),
        ),
        migrations.AddIndex(
            model_name='call',
            index=models.Index(fields=['assistant_key', '-started_at'], name='call_with_assistant'),
        ),
        migrations.AddIndex(
            model_name='conversation',
            index=models.Index(fields=['owner', 'channel', '-updated_at'], name='conversation_recent'),
        ),
        migrations.AddConstraint(
            model_name='conversation',
            constraint=models.UniqueConstraint(condition=models.Q(('alias', ''), _negated=True), fields=('owner', 'alias'), name='conversation_alias_once'),
        ),
        migrations.AddField(
            model_name='feedback',
            name='message',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='feedback', to='conversations.message', verbose_name='message'),
        ),
        migrations.AddField(
            model_name='feedback',
            name='owner',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='owner'),
        ),
        migrations.AddField(
            model_name='memory',
            name='assistant',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memories', to='assistants.assistant', verbose_name='assistant'),
        ),
        migrations.AddField(
            model_name='memory',
            name='conversation',
            field=models.ForeignKey(blank=True, help_text='Where it was learnt; it is forgotten with it.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='memories', to='conversations.conversation', verbose_name='conversation'),
        ),
        migrations.AddField(
            model_name='memory',
            name='owner',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memories', to=settings.AUTH_USER_MODEL, verbose_name='about'),
        ),
        migrations.AddField(
            model_name='personalization',
            name='owner',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='owner'),
        ),
        migrations.AddField(
            model_name='prompt',
            name='owner',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='owner'),
        ),
        migrations.AddField(
            model_name='run',
            name='conversation',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='runs', to='conversations.conversation', verbose_name='conversation'),
        ),
        migrations.AddField(
            model_name='run',
            name='owner',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='runs', to=settings.AUTH_USER_MODEL, verbose_name='owner'),
        ),
        migrations.AddConstraint(
            model_name='memory',
            constraint=models.UniqueConstraint(fields=('owner', 'assistant', 'digest'), name='memory_fact_once'),
        ),
        migrations.AddConstraint(
            model_name='personalization',
            constraint=models.UniqueConstraint(fields=('owner', 'name'), name='personalization_name_once'),
        ),
        migrations.AddConstraint(
            model_name='prompt',
            constraint=models.UniqueConstraint(fields=('owner', 'name'), name='prompt_name_once'),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(fields=['owner', '-created_at'], name='run_of_owner'),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(condition=models.Q(('status__in', ['pending', 'running', 'cancel_requested'])), fields=['heartbeat_at'], name='run_active'),
        ),
        migrations.AddIndex(
            model_name='run',
            index=models.Index(fields=['finished_at'], name='run_finished'),
        ),
        migrations.AddConstraint(
            model_name='run',
            constraint=models.UniqueConstraint(condition=models.Q(('kind', 'task'), ('status__in', ['pending', 'running', 'cancel_requested'])), fields=('owner',), name='run_one_task_per_user'),
        ),
        migrations.AddConstraint(
            model_name='run',
            constraint=models.UniqueConstraint(condition=models.Q(('status__in', ['pending', 'running', 'cancel_requested'])), fields=('conversation',), name='run_one_per_conversation'),
        ),
    ]
