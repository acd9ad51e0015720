"""`/tools/autotest` and `/tools/test-message`: whether things work, tried now; and earlier runs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.permissions import principal_of
from accounts.principals import Principal
from core.errors import AppError, Conflict, NotFound, Unprocessable
from core.filters import FALSE_WORDS, TRUE_WORDS
from core.serializers import WireSerializer
from providers.actions import Question, ask_llm
from providers.api.serializers import UsageSerializer
from tooling.api.filters import AutotestRunFilters
from tooling.api.resources import ToolsPagination
from tooling.autotest import engine, history, language_models
from tooling.autotest.cases import Case, CaseRow
from tooling.models import AutotestRun, RunStatus, Subject, Trigger

DEFAULT_MESSAGE = "Hello, this is a test message."
MAX_MESSAGE_CHARS = 4_000
MAX_ANSWER_TOKENS = 1_000


# --- Shapes --------------------------------------------------------------------------------------


class CaseSerializer(WireSerializer):
    name = serializers.CharField()
    passed = serializers.BooleanField()
    message = serializers.CharField()
    duration_ms = serializers.IntegerField()


class SummarySerializer(WireSerializer):
    passed = serializers.IntegerField()
    failed = serializers.IntegerField()
    total = serializers.IntegerField()


class AutotestSerializer(WireSerializer):
    """What tests found."""

    id = serializers.CharField()
    started_at = serializers.FloatField(help_text="Seconds since 1970.")
    duration_ms = serializers.IntegerField()
    tests = CaseSerializer(many=True)
    summary = SummarySerializer()


class FullAutotestSerializer(AutotestSerializer):
    runs = serializers.ListField(
        child=serializers.CharField(), help_text="The ids of the stored runs."
    )


class AutotestRunSerializer(AutotestSerializer):
    """A stored run; one that has not ended has the tests so far."""

    subject = serializers.ChoiceField(choices=Subject.choices)
    subject_id = serializers.CharField()
    subject_name = serializers.CharField()
    status = serializers.ChoiceField(choices=RunStatus.choices)
    trigger = serializers.ChoiceField(choices=Trigger.choices)
    expected = serializers.IntegerField(help_text="How many tests it has in all.")
    error = serializers.CharField()
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class TestMessageSerializer(WireSerializer):
    success = serializers.BooleanField()
    reply = serializers.CharField()
    usage = UsageSerializer(allow_null=True)
    error = serializers.CharField(required=False, help_text="Why there is no reply.")


def shown_run(run: AutotestRun) -> dict[str, Any]:
    """A run as its callers see it."""
    began = run.started_at or run.created_at
    return {
        **_shown(run.pk, began.timestamp(), run.duration_ms or 0, run.cases),
        "subject": run.subject,
        "subject_id": run.subject_id,
        "subject_name": run.subject_name,
        "status": run.status,
        "trigger": run.trigger,
        "expected": run.cases_expected,
        "error": _(run.error) if run.error else "",
        "created_at": run.created_at,
        "finished_at": run.finished_at,
    }


def _shown(
    result_id: str, started_at: float, duration_ms: int, cases: list[CaseRow]
) -> dict[str, Any]:
    passed = sum(case["passed"] for case in cases)
    return {
        "id": result_id,
        "started_at": started_at,
        "duration_ms": duration_ms,
        "tests": cases,
        "summary": {"passed": passed, "failed": len(cases) - passed, "total": len(cases)},
    }


# --- Parameters ----------------------------------------------------------------------------------


def _flag(request: Request, name: str, *, default: bool) -> bool:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text not in TRUE_WORDS + FALSE_WORDS:
        raise Unprocessable(_("Expected true or false."), param=name)
    return text in TRUE_WORDS


def _text(name: str, help_text: str, *, is_required: bool = False) -> OpenApiParameter:
    return OpenApiParameter(name, str, required=is_required, description=help_text)


def _bool(name: str, help_text: str, *, default: bool) -> OpenApiParameter:
    return OpenApiParameter(name, bool, default=default, description=help_text)


# --- Running -------------------------------------------------------------------------------------


class FullAutotestView(APIView):
    @extend_schema(
        operation_id="tools_autotest",
        request=None,
        responses=FullAutotestSerializer,
        parameters=[
            _text("llm_model_id", "The language model to test."),
            _text("asr_model_id", "The recogniser to test."),
            _bool("test_llm", "false: not the language model.", default=True),
            _bool("test_asr", "false: not the recogniser.", default=True),
        ],
    )
    def post(self, request: Request) -> Response:
        """Tests a language model, then a recogniser, as far as they are named."""
        principal, started_at, started = principal_of(request), time.time(), time.monotonic()
        wanted = list(_wanted(request))
        cases: list[CaseRow] = []
        runs: list[str] = []
        for subject, model_id in wanted:
            try:
                run = _run(principal, subject, model_id)
            except (NotFound, Conflict) as error:
                cases.append(_not_run(subject, error).row())
            else:
                cases += run.cases
                runs.append(run.pk)
        duration_ms = round((time.monotonic() - started) * 1000)
        return Response(
            {**_shown(secrets.token_hex(4), started_at, duration_ms, cases), "runs": runs}
        )


def _wanted(request: Request) -> Iterator[tuple[Subject, str]]:
    for subject in (Subject.LLM, Subject.ASR):
        is_wanted = _flag(request, f"test_{subject.value}", default=True)
        model_id = request.query_params.get(f"{subject.value}_model_id", "")
        if is_wanted and model_id:
            yield subject, model_id


def _run(principal: Principal, subject: Subject, subject_id: str) -> AutotestRun:
    engine.TESTERS[subject].access(principal, subject_id)
    return engine.run_now(subject, subject_id, owner_id=principal.user_id, trigger=Trigger.API)


def _not_run(subject: Subject, error: NotFound | Conflict) -> Case:
    """The one case of what was not tested; it is stored nowhere: the id may be somebody else's."""
    tester = engine.TESTERS[subject]
    message = str(tester.missing) if isinstance(error, NotFound) else error.message
    return Case(tester.existence, False, message, 0)


class AutotestView(APIView):
    @extend_schema(
        operation_id="tools_autotest_one",
        request=None,
        responses={200: AutotestRunSerializer, 202: AutotestRunSerializer},
        parameters=[
            OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=Subject.values),
            _bool(
                "wait",
                "false: answers 202 at once; ask for the run until it has ended.",
                default=True,
            ),
        ],
    )
    def post(self, request: Request, kind: str, subject_id: str) -> Response:
        """Tests one thing."""
        principal = principal_of(request)
        if kind not in Subject.values:
            raise NotFound(_("There is no autotest of this kind."))
        subject = Subject(kind)
        if _flag(request, "wait", default=True):
            return Response(shown_run(_run(principal, subject, subject_id)))
        engine.TESTERS[subject].access(principal, subject_id)
        run = engine.start(subject, subject_id, owner_id=principal.user_id, trigger=Trigger.API)
        return Response(shown_run(run), status=202)


# --- Earlier runs --------------------------------------------------------------------------------


class AutotestRunViewSet(GenericViewSet[AutotestRun]):
    """Runs that the caller asked for; operators see all."""

    serializer_class = AutotestRunSerializer
    pagination_class = ToolsPagination
    filterset_class = AutotestRunFilters
    lookup_value_regex = "[^/]+"
    queryset = AutotestRun.objects.none()

    def get_queryset(self) -> QuerySet[AutotestRun]:
        return history.visible_runs(principal_of(self.request)).order_by("-created_at", "pk")

    def list(self, request: Request) -> Response:
        """Runs, the latest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response([shown_run(run) for run in page or ()])

    def retrieve(self, request: Request, pk: str) -> Response:
        """One run; while it runs, the tests so far."""
        return Response(shown_run(history.access_run(principal_of(request), pk)))


# --- A message -----------------------------------------------------------------------------------


class TestMessageView(APIView):
    @extend_schema(
        operation_id="tools_test_message",
        request=None,
        responses=TestMessageSerializer,
        parameters=[
            _text("llm_model_id", "The language model to ask.", is_required=True),
            _text("message", f"What to say; “{DEFAULT_MESSAGE}” unless given."),
        ],
    )
    def post(self, request: Request) -> Response:
        """Sends one message to a language model. Its failure is an answer, too."""
        llm_id = request.query_params.get("llm_model_id")
        if not llm_id:
            raise Unprocessable(_("This parameter is required."), param="llm_model_id")
        message = request.query_params.get("message") or DEFAULT_MESSAGE
        if len(message) > MAX_MESSAGE_CHARS:
            text = _("At most %(count)d characters are possible.")
            raise Unprocessable(text % {"count": MAX_MESSAGE_CHARS}, param="message")
        row = language_models.access(principal_of(request), llm_id)
        try:
            reply = ask_llm(row, Question(message=message, max_tokens=MAX_ANSWER_TOKENS))
        except AppError as error:
            return Response({"success": False, "reply": "", "usage": None, "error": error.message})
        used = reply.usage
        usage = {
            "prompt_tokens": used.input_tokens,
            "completion_tokens": used.output_tokens,
            "total_tokens": used.input_tokens + used.output_tokens,
        }
        return Response({"success": True, "reply": reply.text, "usage": usage})
