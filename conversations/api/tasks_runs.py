"""`/tasks` of the tasks family: one log, read by polling, by waiting, or as it grows."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError
from django.db.models.fields.json import KT
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.models import Scope
from accounts.permissions import principal_of
from accounts.polls import PollThrottle
from accounts.principals import Principal
from accounts.standing import CHECK_EVERY_S, Standing
from conversations.access import RunState, access_run, access_run_state, own_runs
from conversations.api.tasks_base import PAGE_PARAMETERS, TasksView, answer, page_of
from conversations.models import RunStatus
from conversations.runs import store
from conversations.runs.log import follow
from conversations.runs.types import Page, StoredEvent
from core import sse
from core.asynchronous import AsyncView
from core.errors import AppError, InvalidRequest
from core.families import Tasks

logger = logging.getLogger(__name__)

MAX_WAIT_S = 25.0
# How long a stream waits for events at a time, and how often it asks whether its reader still may.
STREAM_WAIT_S = 10.0
STREAM_CHECK_S = CHECK_EVERY_S
# Who waited no longer than this for an answer need not be asked for again.
WAIT_CHECK_S = 2.0
# Beyond every log, and within what a column holds.
MAX_OFFSET = 2**62
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class TaskEventShape(serializers.Serializer[Any]):
    """One event. `data` depends on the type and always names the task and its conversation."""

    idx = serializers.IntegerField()
    type = serializers.CharField()
    # A field named as the contract names it, not the base class's attribute.
    data = serializers.DictField()  # type: ignore[assignment]
    ts = serializers.FloatField(help_text="Seconds since 1970.")


class TaskShape(serializers.Serializer[Any]):
    """A task in the list."""

    task_id = serializers.UUIDField()
    conversation_id = serializers.CharField()
    message = serializers.CharField()
    status = serializers.ChoiceField(RunStatus.choices)
    created_at = serializers.FloatField(help_text="Seconds since 1970.")
    updated_at = serializers.FloatField(help_text="Seconds since 1970.")
    error = serializers.CharField(allow_null=True)


class TasksShape(serializers.Serializer[Any]):
    # As above.
    data = TaskShape(many=True)  # type: ignore[assignment]
    total = serializers.IntegerField()


class TaskLogShape(serializers.Serializer[Any]):
    """How a task stands, and a part of its log."""

    task_id = serializers.UUIDField()
    conversation_id = serializers.CharField()
    status = serializers.ChoiceField(RunStatus.choices)
    created_at = serializers.FloatField(help_text="Seconds since 1970.")
    updated_at = serializers.FloatField(help_text="Seconds since 1970.")
    error = serializers.CharField(allow_null=True)
    events = TaskEventShape(many=True)
    next_offset = serializers.IntegerField(help_text="The `from` of the next request.")
    has_more = serializers.BooleanField(help_text="Whether more events are there already.")


class TaskLogAnswer(serializers.Serializer[Any]):
    # As above.
    data = TaskLogShape()  # type: ignore[assignment]


class CancelShape(serializers.Serializer[Any]):
    task_id = serializers.UUIDField()
    status = serializers.ChoiceField(RunStatus.choices)


def _listed(row: Any) -> dict[str, Any]:
    """A run, annotated with its message."""
    return {
        "task_id": str(row.pk),
        "conversation_id": row.conversation_id,
        "message": row.message,
        "status": row.status,
        "created_at": row.created_at.timestamp(),
        "updated_at": row.updated_at.timestamp(),
        "error": row.error_message or None,
    }


def log_json(page: Page) -> bytes:
    """The answer to a poll."""
    return _ENCODER.encode(Tasks.success({"data": _log(page)})).encode()


def _log(page: Page) -> dict[str, Any]:
    return {
        "task_id": str(page.run_id),
        "conversation_id": page.conversation_id,
        "status": page.status,
        "created_at": page.created_at.timestamp(),
        "updated_at": page.updated_at.timestamp(),
        "error": page.error or None,
        "events": [_event(event) for event in page.events],
        "next_offset": page.next_offset,
        "has_more": page.has_more,
    }


def _event(event: StoredEvent) -> dict[str, Any]:
    return {"idx": event.idx, "type": event.type, "data": event.data, "ts": event.ts}


# --- Views ---------------------------------------------------------------------------------------


class TasksListView(TasksView):
    """The caller's tasks, newest first."""

    @extend_schema(operation_id="tasks_list", parameters=PAGE_PARAMETERS, responses=TasksShape)
    def get(self, request: Request) -> Response:
        rows = own_runs(principal_of(request))
        first, count = page_of(request)
        # Of what a task was asked, prompts and all, the message is enough.
        shown = rows.defer("request").annotate(message=KT("request__message"))
        listed = [_listed(row) for row in shown[first : first + count]]
        return answer({"data": listed, "total": rows.count()})


class TaskView(AsyncView):
    """How a task stands, and its events from an offset on."""

    required_scope = Scope.TASKS
    throttle_classes = (PollThrottle,)

    @extend_schema(
        operation_id="tasks_read",
        parameters=[
            OpenApiParameter("from", int, description="The first event that is wanted."),
            OpenApiParameter(
                "wait", float, description="Seconds to wait for the first of them, up to 25."
            ),
        ],
        responses=TaskLogAnswer,
    )
    async def get(self, request: Request, task_id: str) -> HttpResponseBase:
        def read() -> tuple[Page, float]:
            first, wait_s = _offset(request.query_params.get("from")), _wait_s(request)
            return store.read_as(principal_of(request), task_id, first=first), wait_s

        page, wait_s = await self.enter(request, read)
        if wait_s and not page.events and not page.is_last:
            standing = _standing(principal_of(request), page.run_id, every_s=WAIT_CHECK_S)
            page = await follow(page.run_id, first=page.next_offset, wait_s=wait_s)
            await standing.check()
        # Rendered here: the framework would take one more turn in a thread for it.
        return HttpResponse(log_json(page), content_type="application/json")


class TaskEventsView(AsyncView):
    """The events of a task as they happen; `id` is their idx. Ends behind the last one."""

    required_scope = Scope.TASKS
    throttle_classes = (PollThrottle,)

    @extend_schema(
        operation_id="tasks_events",
        parameters=[
            OpenApiParameter("from", int, description="The first event that is wanted."),
            OpenApiParameter(
                "Last-Event-ID",
                int,
                OpenApiParameter.HEADER,
                description="The last event that was read; counts before `from`.",
            ),
        ],
        responses={
            (200, "text/event-stream"): OpenApiTypes.STR,
            204: None,
        },
    )
    async def get(self, request: Request, task_id: str) -> HttpResponseBase:
        def enter() -> tuple[RunState, int]:
            return access_run_state(principal_of(request), task_id), _resumed_from(request)

        run, first = await self.enter(request, enter)
        if run.is_over and first >= run.next_seq:
            # Browsers connect again after the end, unless they are told that this was all.
            return HttpResponse(status=204)
        return sse.response(_stream(run.id, first, principal_of(request)))


class TaskCancelView(TasksView):
    """Asks a task to end; one that is over stays as it is."""

    @extend_schema(operation_id="tasks_cancel", request=None, responses={200: CancelShape})
    def post(self, request: Request, task_id: str) -> Response:
        run = access_run(principal_of(request), task_id)
        store.request_cancel(run)
        # Read again: also whether it is still there, as its conversation may be deleted meanwhile.
        state = access_run_state(principal_of(request), task_id)
        return answer({"task_id": str(state.id), "status": state.status})


# --- Reading -------------------------------------------------------------------------------------


def _standing(principal: Principal, run_id: UUID, *, every_s: float) -> Standing:
    def still(principal: Principal) -> None:
        principal.require(Scope.TASKS)
        access_run_state(principal, str(run_id))

    return Standing(principal, still, every_s=every_s)


async def _stream(run_id: UUID, first: int, principal: Principal) -> AsyncGenerator[bytes, None]:
    """The log from `first` on, to its end; it stops where its reader may not read on."""
    standing = _standing(principal, run_id, every_s=STREAM_CHECK_S)
    try:
        while True:
            page = await follow(run_id, first=first, wait_s=STREAM_WAIT_S)
            if not await standing.holds():
                return
            for event in page.events:
                yield sse.data(_event(event), id=event.idx)
            if page.is_last:
                return
            first = page.next_offset
    except (AppError, DatabaseError, InterfaceError) as error:
        # The reader connects again and is told there what is wrong.
        logger.info("The stream of task %s was ended: %s", run_id, error)


def _offset(text: str | None, name: str = "from") -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequest(_("Expected a whole number of at least 0."), param=name)
    return min(int(text[:20]), MAX_OFFSET)


def _resumed_from(request: Request) -> int:
    last = request.headers.get("Last-Event-ID", "").strip()
    if last:
        return _offset(last, "Last-Event-ID") + 1
    return _offset(request.query_params.get("from"))


def _wait_s(request: Request) -> float:
    text = request.query_params.get("wait", "0")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # Also false for what is no number at all.
    if not seconds >= 0:
        raise InvalidRequest(_("Expected a number of seconds of at least 0."), param="wait")
    return min(seconds, MAX_WAIT_S)
