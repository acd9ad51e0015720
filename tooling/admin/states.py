"""How far an autotest has come, drawn for a page and for its refreshing (console/live.js)."""

from __future__ import annotations

from collections.abc import Mapping

from django.http import HttpRequest, JsonResponse
from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tooling.admin.links import link_to
from tooling.models import AutotestRun, RunStatus

MAX_KEYS = 400
COLOURS: Mapping[str, str] = {
    RunStatus.QUEUED: "default",
    RunStatus.RUNNING: "info",
    RunStatus.PASSED: "success",
    RunStatus.FAILED: "danger",
    RunStatus.BROKEN: "warning",
}


def is_open(run: AutotestRun) -> bool:
    """Whether a worker still has to do something about it."""
    return run.status in RunStatus.open()


def run_state(run: AutotestRun) -> SafeString:
    """Status, progress and error of a run, in a line or two."""
    return render_to_string("tooling/run_state.html", _context(run))


def run_link(run: AutotestRun | None) -> SafeString:
    """The state of a run as a list shows it beside something else: it leads to the run's page."""
    if run is None:
        return SafeString("-")
    return format_html(
        '<a href="{}" data-live="run:{}">{}</a>',
        link_to("tooling_autotestrun_change", run.pk),
        run.pk,
        run_state(run),
    )


def run_cases(run: AutotestRun) -> SafeString:
    """The cases of a run so far."""
    return render_to_string("tooling/run_cases.html", _context(run))


def _context(run: AutotestRun) -> dict[str, object]:
    done = len(run.cases)
    return {
        "run": run,
        "colour": COLOURS[run.status],
        "is_open": is_open(run),
        "done": done,
        "expected": max(run.cases_expected, done),
        "percent": round(100 * done / run.cases_expected) if run.cases_expected else 0,
    }


def live(request: HttpRequest) -> JsonResponse:
    """The present drawings for the keys that a page asks for; what is gone is missing."""
    wanted: dict[str, list[str]] = {"run": [], "cases": []}
    for key in request.GET.getlist("key")[:MAX_KEYS]:
        kind, _, run_id = key.partition(":")
        if kind in wanted and "\0" not in run_id:
            wanted[kind].append(run_id)
    runs = AutotestRun.objects.filter(pk__in={*wanted["run"], *wanted["cases"]})
    drawings: dict[str, str] = {}
    for run in runs:
        drawings[f"run:{run.pk}"] = run_state(run)
        if run.pk in wanted["cases"]:
            drawings[f"cases:{run.pk}"] = run_cases(run)
    return JsonResponse(drawings)
