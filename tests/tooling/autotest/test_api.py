from __future__ import annotations

import re
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from core.redis import redis_sync
from providers.fakes import FakeUpstream
from providers.fakes.behaviour import Step
from providers.models import Asr, Llm, Voice
from tests.conftest import client_with, make_key
from tests.tooling.autotest.conftest import run_now
from tests.upstream import SECRET
from tooling import tasks
from tooling.autotest import runs
from tooling.models import AutotestRun, RunStatus, Subject, Trigger

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/api/v1/tools/autotest"
LLM_CASES = ["Model Existence", "API Connection", "Temperature Setting", "Streaming Support"]
ASR_CASES = ["Model Existence", "Hotwords Config", "API Availability", "Language Config"]


def body_of(response: Any, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    return body


def detail_of(response: Any, status: int) -> str:
    body = body_of(response, status)
    assert set(body) == {"detail"}
    return str(body["detail"])


def names_of(body: dict[str, Any]) -> list[str]:
    for case in body["tests"]:
        assert set(case) == {"name", "passed", "message", "duration_ms"}
    return [case["name"] for case in body["tests"]]


class TestOneModel:
    def test_it_tests_a_language_model(self, alice_api: APIClient, llm: Llm) -> None:
        body = body_of(alice_api.post(f"{PATH}/llm/{llm.pk}"))
        assert {"id", "started_at", "duration_ms", "tests", "summary"} <= set(body)
        assert re.fullmatch(r"llm_test_[0-9a-f]{8}", body["id"])
        assert isinstance(body["started_at"], float)
        assert isinstance(body["duration_ms"], int)
        assert names_of(body) == LLM_CASES
        assert body["summary"] == {"passed": 4, "failed": 0, "total": 4}
        assert AutotestRun.objects.get(pk=body["id"]).trigger == Trigger.API

    def test_it_tests_a_recogniser(self, alice_api: APIClient, asr: Asr) -> None:
        body = body_of(alice_api.post(f"{PATH}/asr/{asr.pk}"))
        assert body["id"].startswith("asr_test_")
        assert names_of(body) == ASR_CASES
        assert body["summary"] == {"passed": 4, "failed": 0, "total": 4}

    def test_it_tests_the_other_kinds(
        self, alice_api: APIClient, voice: Voice, embedder: Llm, reranker: Llm
    ) -> None:
        for kind, row in (("voice", voice), ("embedder", embedder), ("reranker", reranker)):
            body = body_of(alice_api.post(f"{PATH}/{kind}/{row.pk}/"))
            assert (body["subject"], body["summary"]["failed"]) == (kind, 0), body

    def test_it_answers_200_when_the_model_fails(
        self, alice_api: APIClient, llm: Llm, upstream: FakeUpstream
    ) -> None:
        upstream.script("chat", Step(status=401, body={"error": {"message": SECRET}}))
        response = alice_api.post(f"{PATH}/llm/{llm.pk}")
        assert body_of(response)["summary"] == {"passed": 1, "failed": 3, "total": 4}
        assert SECRET not in response.content.decode()

    @pytest.mark.parametrize(
        ("kind", "detail"),
        [
            ("llm", "LLM Model not found"),
            ("asr", "ASR Model not found"),
            ("voice", "Voice not found"),
            ("embedder", "Language model not found."),
            ("reranker", "Language model not found."),
            ("tool", "Tool resource not found"),
            ("mcp", "MCP server not found."),
            ("assistant", "Assistant not found."),
            ("spaceship", "There is no autotest of this kind."),
        ],
    )
    def test_it_knows_no_unknown_id(self, alice_api: APIClient, kind: str, detail: str) -> None:
        for row_id in ("unknown", "..%5c", "9" * 500):
            assert detail_of(alice_api.post(f"{PATH}/{kind}/{row_id}"), 404) == detail
        assert not AutotestRun.objects.exists()

    def test_it_hides_a_foreign_model_like_an_unknown_one(
        self, bob_api: APIClient, alice_api: APIClient, llm: Llm, upstream: FakeUpstream
    ) -> None:
        foreign = bob_api.post(f"{PATH}/llm/{llm.pk}")
        unknown = bob_api.post(f"{PATH}/llm/unknown")
        assert detail_of(foreign, 404) == detail_of(unknown, 404) == "LLM Model not found"
        assert upstream.stats.of("chat").requests == 0
        body_of(alice_api.post(f"{PATH}/llm/{llm.pk}"))
        assert upstream.stats.of("chat").requests == 3

    def test_a_disabled_system_model_is_tested_by_operators_only(
        self, alice_api: APIClient, carol_api: APIClient, llm: Llm
    ) -> None:
        Llm.objects.update(owner=None, is_enabled=False)
        refused = alice_api.post(f"{PATH}/llm/{llm.pk}")
        assert detail_of(refused, 409) == "This model is disabled."
        assert body_of(carol_api.post(f"{PATH}/llm/{llm.pk}"))["summary"]["failed"] == 0

    def test_it_refuses_a_second_run_at_the_same_time(
        self, alice_api: APIClient, alice: User, llm: Llm
    ) -> None:
        run, _is_new = runs.open_run(Subject.LLM, llm.pk, owner_id=alice.pk, trigger=Trigger.API)
        assert runs.claim(run.pk)
        assert "right now" in detail_of(alice_api.post(f"{PATH}/llm/{llm.pk}"), 409)
        runs.finish(run.pk, status=RunStatus.PASSED, duration_ms=1)
        body_of(alice_api.post(f"{PATH}/llm/{llm.pk}"))

    def test_it_needs_a_credential_with_the_scope(
        self, anonymous_api: APIClient, alice: User, llm: Llm
    ) -> None:
        assert detail_of(anonymous_api.post(f"{PATH}/llm/{llm.pk}"), 401)
        talker = client_with(make_key(alice, scopes=["chat"]))
        assert detail_of(talker.post(f"{PATH}/llm/{llm.pk}"), 403)
        manager = client_with(make_key(alice, scopes=["manage"]))
        body_of(manager.post(f"{PATH}/llm/{llm.pk}"))

    def test_it_is_posted(self, alice_api: APIClient, llm: Llm) -> None:
        assert detail_of(alice_api.get(f"{PATH}/llm/{llm.pk}"), 405)

    def test_it_need_not_be_waited_for(self, alice_api: APIClient, llm: Llm) -> None:
        body = body_of(alice_api.post(f"{PATH}/llm/{llm.pk}?wait=false"), 202)
        assert (body["status"], body["tests"]) == ("queued", [])
        assert int(redis_sync().llen("chat")) == 1
        tasks.autotest(body["id"])
        ended = body_of(alice_api.get(f"{PATH}/runs/{body['id']}"))
        assert (ended["status"], names_of(ended)) == ("passed", LLM_CASES)


class TestAllAtOnce:
    def test_it_tests_the_language_model_then_the_recogniser(
        self, alice_api: APIClient, llm: Llm, asr: Asr
    ) -> None:
        body = body_of(alice_api.post(f"{PATH}?llm_model_id={llm.pk}&asr_model_id={asr.pk}"))
        assert re.fullmatch(r"[0-9a-f]{8}", body["id"])
        assert names_of(body) == LLM_CASES + ASR_CASES
        assert body["summary"] == {"passed": 8, "failed": 0, "total": 8}
        assert set(body["runs"]) == set(AutotestRun.objects.values_list("pk", flat=True))

    @pytest.mark.parametrize(
        ("query", "cases"),
        [
            ("test_llm=false", ASR_CASES),
            ("test_asr=0", LLM_CASES),
            ("test_llm=0&test_asr=false", []),
            ("test_llm=1&test_asr=true", LLM_CASES + ASR_CASES),
        ],
    )
    def test_it_tests_only_what_is_wanted(
        self, alice_api: APIClient, llm: Llm, asr: Asr, query: str, cases: list[str]
    ) -> None:
        url = f"{PATH}?llm_model_id={llm.pk}&asr_model_id={asr.pk}&{query}"
        assert names_of(body_of(alice_api.post(url))) == cases

    def test_it_tests_nothing_where_nothing_is_named(self, alice_api: APIClient) -> None:
        body = body_of(alice_api.post(PATH))
        assert body["tests"] == []
        assert body["summary"] == {"passed": 0, "failed": 0, "total": 0}

    def test_a_missing_or_foreign_model_is_a_failed_case(
        self, bob_api: APIClient, llm: Llm
    ) -> None:
        for model_id in ("unknown", llm.pk):
            body = body_of(bob_api.post(f"{PATH}?llm_model_id={model_id}"))
            (case,) = body["tests"]
            assert (case["name"], case["passed"]) == ("Model Existence", False)
            assert case["message"] == "Model not found"
            assert body["summary"] == {"passed": 0, "failed": 1, "total": 1}
        # In nobody's history: the id is somebody else's.
        assert not AutotestRun.objects.exists()

    def test_it_refuses_what_is_no_flag(self, alice_api: APIClient) -> None:
        assert "test_llm" in detail_of(alice_api.post(f"{PATH}?test_llm=maybe"), 422)

    def test_it_needs_a_credential(self, anonymous_api: APIClient) -> None:
        assert detail_of(anonymous_api.post(PATH), 401)


class TestMessages:
    path = "/api/v1/tools/test-message"

    def test_it_shows_what_a_model_says(
        self, alice_api: APIClient, llm: Llm, upstream: FakeUpstream
    ) -> None:
        upstream.script("chat", Step(text="Hello!"), Step(text="Bye!"))
        body = body_of(alice_api.post(f"{self.path}?llm_model_id={llm.pk}"))
        assert (body["success"], body["reply"]) == (True, "Hello!")
        usage = body["usage"]
        assert set(usage) == {"prompt_tokens", "completion_tokens", "total_tokens"}
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
        body_of(alice_api.post(f"{self.path}?llm_model_id={llm.pk}&message=Bye"))
        said = [each["body"]["messages"][-1]["content"] for each in upstream.stats.last("chat")]
        assert said == ["Hello, this is a test message.", "Bye"]

    def test_the_model_s_failure_is_an_answer(
        self, alice_api: APIClient, llm: Llm, upstream: FakeUpstream
    ) -> None:
        upstream.script("chat", Step(status=500, body={"error": {"message": SECRET}}))
        response = alice_api.post(f"{self.path}?llm_model_id={llm.pk}")
        body = body_of(response)
        assert body["error"]
        assert body == {"success": False, "reply": "", "usage": None, "error": body["error"]}
        assert SECRET not in response.content.decode()

    def test_an_embedding_model_does_not_talk(self, alice_api: APIClient, embedder: Llm) -> None:
        body = body_of(alice_api.post(f"{self.path}?llm_model_id={embedder.pk}"))
        assert (body["success"], body["error"]) == (False, "Only text models can chat.")

    def test_it_says_what_is_missing(self, alice_api: APIClient) -> None:
        for query in ("", "?llm_model_id=", "?message=Hi"):
            assert "llm_model_id" in detail_of(alice_api.post(self.path + query), 422)
        long = "x" * 4001
        refused = alice_api.post(f"{self.path}?llm_model_id=x&message={long}")
        assert "message" in detail_of(refused, 422)

    def test_it_knows_no_foreign_model(
        self, bob_api: APIClient, alice_api: APIClient, llm: Llm
    ) -> None:
        for model_id in (llm.pk, "unknown"):
            refused = bob_api.post(f"{self.path}?llm_model_id={model_id}")
            assert detail_of(refused, 404) == "LLM Model not found"
        body_of(alice_api.post(f"{self.path}?llm_model_id={llm.pk}"))

    def test_it_needs_a_credential(self, anonymous_api: APIClient, llm: Llm) -> None:
        assert detail_of(anonymous_api.post(f"{self.path}?llm_model_id={llm.pk}"), 401)


class TestHistory:
    def test_it_lists_runs_the_latest_first(
        self, alice_api: APIClient, alice: User, llm: Llm, reranker: Llm
    ) -> None:
        first = run_now(Subject.LLM, llm.pk, alice)
        second = run_now(Subject.RERANKER, reranker.pk, alice)
        page = body_of(alice_api.get(f"{PATH}/runs"))
        assert set(page) == {"total", "page", "limit", "list"}
        assert [run["id"] for run in page["list"]] == [second.pk, first.pk]
        assert names_of(page["list"][1]) == LLM_CASES
        for query, found in (
            ("subject=llm", [first.pk]),
            (f"subject_id={reranker.pk}", [second.pk]),
            ("status=failed", []),
            ("trigger=api&limit=1", [second.pk]),
            ("limit=1&page=2", [first.pk]),
        ):
            page = body_of(alice_api.get(f"{PATH}/runs?{query}"))
            assert [run["id"] for run in page["list"]] == found, query

    def test_it_refuses_a_filter_that_means_nothing(self, alice_api: APIClient) -> None:
        assert detail_of(alice_api.get(f"{PATH}/runs?subject=spaceship"), 400)

    def test_it_shows_nobody_else_s_runs(
        self,
        alice_api: APIClient,
        bob_api: APIClient,
        carol_api: APIClient,
        alice: User,
        llm: Llm,
    ) -> None:
        run = run_now(Subject.LLM, llm.pk, alice)
        assert body_of(bob_api.get(f"{PATH}/runs"))["total"] == 0
        foreign = bob_api.get(f"{PATH}/runs/{run.pk}")
        unknown = bob_api.get(f"{PATH}/runs/unknown")
        assert detail_of(foreign, 404) == detail_of(unknown, 404) == "Autotest run not found"
        assert detail_of(bob_api.get(f"{PATH}/runs/%00"), 404)
        for client in (alice_api, carol_api):
            assert body_of(client.get(f"{PATH}/runs"))["total"] == 1
            assert body_of(client.get(f"{PATH}/runs/{run.pk}"))["id"] == run.pk

    def test_it_keeps_what_was_tested_by_name(
        self, alice_api: APIClient, alice: User, llm: Llm
    ) -> None:
        run = run_now(Subject.LLM, llm.pk, alice)
        llm.delete()
        shown = body_of(alice_api.get(f"{PATH}/runs/{run.pk}"))
        assert (shown["subject_name"], shown["subject_id"]) == ("Model", run.subject_id)
