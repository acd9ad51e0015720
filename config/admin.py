"""Admin pages of other apps that would only confuse operators."""

from __future__ import annotations

from django.contrib import admin
from django_celery_beat import models as beat

# The product writes its own schedules; a change by hand would be overwritten at the next start.
for _model in (
    beat.PeriodicTask,
    beat.IntervalSchedule,
    beat.CrontabSchedule,
    beat.SolarSchedule,
    beat.ClockedSchedule,
):
    admin.site.unregister(_model)
