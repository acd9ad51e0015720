"""The console's home page: what happened lately, and what is wrong."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, ngettext

from assistants.models import Assistant, OpenerAudio
from config.health import part_states
from conversations.admin import home as conversations_home
from conversations.models import Call, CallStatus, Channel, Message
from gateway.admin import home as gateway_home
from knowledge.admin import states
from knowledge.models import Document, DocumentStatus, SearchRecord, VectorSpace
from knowledge.search import KEPT_RECORDS
from knowledge.wording import in_readers_language
from providers.models import Asr, Llm, LlmType, Voice
from tooling.admin import subjects
from tooling.admin.links import link_to
from tooling.admin.schedules import dress
from tooling.admin.states import run_state
from tooling.mcp.listing import withheld
from tooling.models import AutotestSchedule, McpServer, RunStatus, Subject, Tool

TREND_DAYS = 14
PART_NAMES = {
    "database": gettext_noop("database"),
    "redis": "Redis",
    "workers": gettext_noop("workers"),
    "migrations": gettext_noop("migrations"),
    "ocr": "OCR",
}
STATE_NAMES = {"down": gettext_noop("down"), "pending": gettext_noop("pending")}
RECENT_DAYS = 7
MAX_FAILURES = 3
MAX_SERVERS = 100
MAX_SCHEDULES = 20
# A failed test of these is noted on their row, and told of from there.
NOTED_ON_ROWS = (Subject.LLM, Subject.ASR, Subject.VOICE, Subject.TOOL, Subject.MCP)
# Chats and tasks have records of the same kind.
_CALLS: QuerySet[Call] = Call.objects.filter(channel=Channel.VOICE)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something an operator should act on, and where."""

    text: str
    url: str
    is_urgent: bool = False


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Adds the home page's figures to unfold's context."""
    parts = part_states()
    schedules = _schedules()
    context.update(
        title=_("Home"),
        cards=list(_cards()),
        parts={_part_name(name): _state_name(state) for name, state in parts.items()},
        problems=[
            *_part_problems(parts),
            *_model_problems(),
            *_call_problems(),
            *_task_problems(),
            *_knowledge_problems(),
            *_gateway_problems(),
            *_tool_problems(),
            *_test_problems(schedules),
        ],
        running_tasks=conversations_home.running(),
        test_results=_test_results(schedules),
        trend=json.dumps(_trend()),
        has_calls=_CALLS.exists(),
        talk_to=Assistant.objects.order_by("owner_id", "created_at")[:5],
    )
    return context


def _cards() -> Iterator[dict[str, Any]]:
    since = timezone.now() - dt.timedelta(days=RECENT_DAYS)
    calls = _CALLS.filter(started_at__gte=since).aggregate(
        total=Count("pk"), failed=Count("pk", filter=Q(status=CallStatus.FAILED))
    )
    calls_url = reverse("admin:conversations_conversation_changelist") + "?channel__exact=voice"
    yield {
        "title": _("Calls in 7 days"),
        "value": calls["total"],
        "note": ngettext("%(n)d failed", "%(n)d failed", calls["failed"]) % {"n": calls["failed"]},
        "url": calls_url,
    }
    yield {
        "title": _("Assistants"),
        "value": Assistant.objects.count(),
        "note": _("%(n)d public") % {"n": Assistant.objects.filter(is_public=True).count()},
        "url": reverse("admin:assistants_assistant_changelist"),
    }
    models = Llm.objects.filter(is_enabled=True, type=LlmType.TEXT)
    yield {
        "title": _("Language models"),
        "value": models.count(),
        "note": _("%(n)d not built in") % {"n": models.exclude(vendor="builtin").count()},
        "url": reverse("admin:providers_llm_changelist"),
    }
    yield {
        "title": _("Voices and recognisers"),
        "value": Voice.objects.filter(is_enabled=True).count()
        + Asr.objects.filter(is_enabled=True).count(),
        "note": _("%(n)d not built in") % {"n": _real(Voice) + _real(Asr)},
        "url": reverse("admin:providers_voice_changelist"),
    }
    yield from conversations_home.cards(since)
    yield from _knowledge_cards(since)
    yield from gateway_home.cards(since)


def _knowledge_cards(since: dt.datetime) -> Iterator[dict[str, Any]]:
    documents = Document.objects.aggregate(
        total=Count("pk"), open=Count("pk", filter=Q(status__in=DocumentStatus.open()))
    )
    documents_url = reverse("admin:knowledge_document_changelist")
    yield {
        "title": _("Documents"),
        "value": documents["total"],
        "note": _("%(n)d in work") % {"n": documents["open"]},
        "url": documents_url + "?state=open" if documents["open"] else documents_url,
    }
    searches = SearchRecord.objects.filter(created_at__gte=since).aggregate(
        total=Count("pk"), empty=Count("pk", filter=Q(hits=0))
    )
    yield {
        "title": _("Recent searches"),
        "value": searches["total"],
        "note": _("%(n)d found nothing; of 7 days, the latest %(most)d of each base")
        % {"n": searches["empty"], "most": KEPT_RECORDS},
        "url": reverse("admin:knowledge_searchrecord_changelist"),
    }


def _real(model: type[Asr] | type[Voice]) -> int:
    return model._default_manager.filter(is_enabled=True).exclude(vendor="builtin").count()


def _trend() -> dict[str, Any]:
    """Calls per day, as Chart.js wants them."""
    today = timezone.localdate()
    days = [today - dt.timedelta(days=back) for back in range(TREND_DAYS - 1, -1, -1)]
    rows = (
        _CALLS.filter(started_at__date__gte=days[0])
        .annotate(day=TruncDate("started_at"))
        .values_list("day", "status")
        .annotate(total=Count("pk"))
    )
    counted = {(day, status): total for day, status, total in rows}
    colours = {
        CallStatus.CONNECTED: "var(--color-primary-600)",
        CallStatus.MISSED: "var(--color-base-300)",
        CallStatus.FAILED: "oklch(63.7% .237 25.331)",
    }
    return {
        "labels": [day.strftime("%m-%d") for day in days],
        "datasets": [
            {
                "label": str(status.label),
                "data": [counted.get((day, status.value), 0) for day in days],
                "backgroundColor": colours[status],
                "stack": "calls",
            }
            for status in CallStatus
        ],
    }


def _part_name(name: str) -> str:
    return _(PART_NAMES.get(name, name))


def _state_name(state: str) -> str:
    return _(STATE_NAMES.get(state, state))


def _part_problems(states: Mapping[str, str]) -> Iterator[Problem]:
    for name, state in states.items():
        if state != "ok":
            yield Problem(
                _("%(part)s: %(state)s") % {"part": _part_name(name), "state": _state_name(state)},
                reverse("admin:index"),
                is_urgent=True,
            )


def _model_problems() -> Iterator[Problem]:
    catalogue: tuple[tuple[QuerySet[Any], str], ...] = (
        (Llm.objects.filter(type=LlmType.TEXT), _("language model")),
        (Asr.objects.all(), _("speech recogniser")),
        (Voice.objects.all(), _("voice")),
    )
    for rows, noun in catalogue:
        enabled = rows.filter(is_enabled=True)
        model = rows.model
        if not enabled.exclude(vendor="builtin").exists():
            yield Problem(
                _("No real %(noun)s is configured; assistants use the offline one.")
                % {"noun": noun},
                reverse(f"admin:providers_{model._meta.model_name}_add"),
            )
        for row in enabled.filter(last_check_ok=False):
            yield Problem(
                _("The last test of %(name)s failed: %(message)s")
                % {"name": row.name, "message": row.last_check_message},
                reverse(f"admin:providers_{model._meta.model_name}_change", args=[row.pk]),
                is_urgent=True,
            )


def _call_problems() -> Iterator[Problem]:
    for audio in OpenerAudio.objects.exclude(error="").select_related("assistant").defer("pcm"):
        yield Problem(
            _("The opener of %(name)s could not be spoken: %(error)s")
            % {"name": audio.assistant.name, "error": audio.error},
            reverse("admin:assistants_assistant_change", args=[audio.assistant_id]),
            is_urgent=True,
        )
    since = timezone.now() - dt.timedelta(days=1)
    yield from _message_problems(since)
    failed = _CALLS.filter(status=CallStatus.FAILED, started_at__gte=since).count()
    if failed:
        yield Problem(
            ngettext(
                "%(n)d call failed in the last 24 hours.",
                "%(n)d calls failed in the last 24 hours.",
                failed,
            )
            % {"n": failed},
            reverse("admin:conversations_conversation_changelist")
            + "?channel__exact=voice&call__status__exact=failed",
            is_urgent=True,
        )


def _task_problems() -> Iterator[Problem]:
    since = timezone.now() - dt.timedelta(days=1)
    for text, url in conversations_home.troubles(since):
        yield Problem(text, url, is_urgent=True)


def _message_problems(since: dt.datetime) -> Iterator[Problem]:
    """What models answered to callers: a dead vendor shows here, though its calls went on."""
    failures = (
        Message.objects.exclude(error="")
        # Of tasks, `_task_problems` tells.
        .exclude(conversation__channel=Channel.TASK)
        .filter(created_at__gte=since)
        .values("error")
        .annotate(total=Count("pk"))
        .order_by("-total")[:MAX_FAILURES]
    )
    for failure in failures:
        yield Problem(
            ngettext(
                "%(n)d turn failed in the last 24 hours: %(error)s",
                "%(n)d turns failed in the last 24 hours: %(error)s",
                failure["total"],
            )
            % {"n": failure["total"], "error": failure["error"]},
            reverse("admin:conversations_conversation_changelist") + "?trouble=yes",
            is_urgent=True,
        )


def _knowledge_problems() -> Iterator[Problem]:
    documents_url = reverse("admin:knowledge_document_changelist")
    failed = Document.objects.filter(status=DocumentStatus.FAILED).count()
    if failed:
        text = ngettext("%(n)d document failed.", "%(n)d documents failed.", failed)
        yield Problem(text % {"n": failed}, documents_url + "?state=failed", is_urgent=True)
    late = Document.objects.filter(states.is_late()).count()
    if late:
        text = ngettext(
            "%(n)d document waits too long; is a worker running?",
            "%(n)d documents wait too long; is a worker running?",
            late,
        )
        yield Problem(text % {"n": late}, documents_url + "?state=late", is_urgent=True)
    failing = VectorSpace.objects.filter(states.WITH_TROUBLE).select_related("knowledge_base")
    for space in failing[:MAX_FAILURES]:
        values = {
            "name": space.knowledge_base.name,
            "error": in_readers_language(space.error_message or space.index_error),
        }
        yield Problem(
            _("Vectors of %(name)s: %(error)s") % values,
            reverse("admin:knowledge_knowledgebase_change", args=[space.knowledge_base_id]),
            is_urgent=True,
        )


def _gateway_problems() -> Iterator[Problem]:
    for text, url in gateway_home.troubles():
        yield Problem(text, url, is_urgent=True)


# --- Tools and their tests -----------------------------------------------------------------------
def _tool_problems() -> Iterator[Problem]:
    servers = McpServer.objects.filter(is_enabled=True)
    listed = servers.exclude(tools=[]).only("name", "tools", "approved_digests")
    for server in listed[:MAX_SERVERS]:
        if waiting := len(withheld(server)):
            text = ngettext(
                "%(n)d tool of %(name)s is new or has changed and waits for approval.",
                "%(n)d tools of %(name)s are new or have changed and wait for approval.",
                waiting,
            )
            yield Problem(
                text % {"n": waiting, "name": server.name},
                link_to("tooling_mcpserver_change", server.pk) + "#tools",
            )
    failing: list[McpServer | Tool] = [*servers.filter(check_ok=False)[:MAX_FAILURES]]
    failing += Tool.objects.filter(is_enabled=True, check_ok=False)[:MAX_FAILURES]
    for row in failing:
        yield Problem(
            _("The last test of %(name)s failed: %(message)s")
            % {"name": row.name, "message": row.check_message},
            link_to(f"tooling_{row._meta.model_name}_change", row.pk),
            is_urgent=True,
        )


def _schedules() -> list[Any]:
    """What is tested regularly, with its name and its latest run."""
    rows: list[Any] = list(AutotestSchedule.objects.filter(is_enabled=True)[:MAX_SCHEDULES])
    dress(rows)
    return rows


def _test_problems(schedules: list[Any]) -> Iterator[Problem]:
    for row in schedules:
        status = row.latest and row.latest.status
        # What broke off says nothing of the thing, and is noted nowhere else.
        is_told = status == RunStatus.FAILED and row.subject in NOTED_ON_ROWS
        if status in (RunStatus.FAILED, RunStatus.BROKEN) and not is_told:
            yield Problem(
                _("The autotest of %(name)s failed.") % {"name": row.shown_name},
                link_to("tooling_autotestrun_change", row.latest.pk),
                is_urgent=True,
            )


def _test_results(schedules: list[Any]) -> list[dict[str, Any]]:
    """The last results of what is tested regularly, as the page lists them."""
    return [
        {
            "name": row.shown_name,
            "url": subjects.url_of(row.subject, row.subject_id),
            "run": row.latest,
            "state": run_state(row.latest) if row.latest else "",
        }
        for row in schedules
    ]
