from __future__ import annotations

import json
import re

import pytest

from accounts.models import User
from providers.fakes import FakeUpstream
from providers.fakes.behaviour import Step
from providers.models import Asr, Llm, Voice
from tests.tooling.autotest.conftest import cases_of, run_now
from tests.upstream import SECRET
from tooling.models import AutotestRun, RunStatus, Subject

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = Step(status=401, body={"error": {"message": f"bad key {SECRET}"}})


def outcomes(run: AutotestRun) -> dict[str, bool]:
    return {name: passed for name, (passed, _message) in cases_of(run).items()}


class TestLanguageModels:
    def test_it_runs_the_published_cases(self, llm: Llm, upstream: FakeUpstream) -> None:
        run = run_now(Subject.LLM, llm.pk, llm.owner)
        found = cases_of(run)
        assert list(found) == [
            "Model Existence",
            "API Connection",
            "Temperature Setting",
            "Streaming Support",
        ]
        assert found["Model Existence"] == (True, "Found model: Model")
        assert re.fullmatch(r"Latency: \d+ms", found["API Connection"][1])
        assert found["Temperature Setting"] == (True, "temperature=0.7")
        assert re.match(r"Received ([2-9]|\d\d+) chunks, ", found["Streaming Support"][1])
        assert run.status == RunStatus.PASSED
        sent = [each["body"].get("temperature") for each in upstream.stats.last("chat")]
        assert sent == [None, 0.7, 0.7]
        llm.refresh_from_db()
        assert (llm.last_check_ok, llm.last_check_message) == (True, "4 tests passed.")

    def test_it_asks_nothing_more_without_a_connection(
        self, llm: Llm, upstream: FakeUpstream
    ) -> None:
        upstream.script("chat", REFUSED)
        run = run_now(Subject.LLM, llm.pk, llm.owner)
        assert list(outcomes(run).values()) == [True, False, False, False]
        assert SECRET not in str(run.cases)
        assert upstream.stats.of("chat").requests == 1
        llm.refresh_from_db()
        assert llm.last_check_ok is False
        assert llm.last_check_message.startswith("API Connection: ")

    def test_it_tells_a_refused_temperature_from_a_bad_connection(
        self, llm: Llm, upstream: FakeUpstream
    ) -> None:
        refused = {"error": {"message": "temperature is not supported"}}
        upstream.script("chat", Step(), Step(status=400, body=refused))
        run = run_now(Subject.LLM, llm.pk)
        assert list(outcomes(run).values()) == [True, True, False, True]

    def test_it_sends_no_temperature_where_none_is_set(
        self, llm: Llm, upstream: FakeUpstream
    ) -> None:
        Llm.objects.update(temperature=None)
        run = run_now(Subject.LLM, llm.pk)
        assert run.status == RunStatus.PASSED
        assert upstream.stats.of("chat").requests == 2

    def test_it_reports_a_stream_that_breaks_off(self, llm: Llm, upstream: FakeUpstream) -> None:
        upstream.script("chat", Step(), Step(), Step(break_after=2))
        run = run_now(Subject.LLM, llm.pk)
        assert list(outcomes(run).values()) == [True, True, True, False]

    @pytest.mark.parametrize("step", [Step(text=""), Step(text="", thinking="hm")])
    def test_it_reports_a_stream_without_an_answer(
        self, llm: Llm, upstream: FakeUpstream, step: Step
    ) -> None:
        upstream.script("chat", Step(), Step(), step)
        assert list(outcomes(run_now(Subject.LLM, llm.pk)).values()) == [True, True, True, False]

    def test_it_survives_a_vendor_that_is_not_there(self, llm: Llm) -> None:
        Llm.objects.update(base_url="http://127.0.0.1:9/v1")
        assert list(outcomes(run_now(Subject.LLM, llm.pk)).values()) == [True, False, False, False]

    def test_it_survives_a_vendor_that_talks_nonsense(
        self, llm: Llm, upstream: FakeUpstream
    ) -> None:
        upstream.script("chat", Step(raw="\xff<html>", content_type="text/event-stream"))
        assert outcomes(run_now(Subject.LLM, llm.pk))["API Connection"] is False

    def test_it_says_that_an_embedding_model_cannot_chat(self, embedder: Llm) -> None:
        found = cases_of(run_now(Subject.LLM, embedder.pk))
        assert found["API Connection"] == (False, "Only text models can chat.")

    def test_the_demo_model_passes(self, alice: User) -> None:
        demo = Llm.objects.create(name="Demo", vendor="builtin", model_name="demo")
        assert run_now(Subject.LLM, demo.pk, alice).failed == 0

    def test_what_a_user_finds_out_of_a_system_model_is_not_noted(
        self, llm: Llm, alice: User
    ) -> None:
        Llm.objects.update(owner=None)
        run_now(Subject.LLM, llm.pk, alice)
        llm.refresh_from_db()
        assert llm.last_check_ok is None
        run_now(Subject.LLM, llm.pk)
        llm.refresh_from_db()
        assert llm.last_check_ok is True


class TestRecognisers:
    def test_it_runs_the_published_cases(self, asr: Asr, upstream: FakeUpstream) -> None:
        run = run_now(Subject.ASR, asr.pk)
        found = cases_of(run)
        assert list(found) == [
            "Model Existence",
            "Hotwords Config",
            "API Availability",
            "Language Config",
        ]
        assert found["Hotwords Config"] == (True, "Hotwords: 3 words")
        assert found["API Availability"][1].startswith("Status: 200, understood “hello there”")
        assert found["Language Config"][1].startswith("Language: en")
        assert run.status == RunStatus.PASSED
        (heard,) = upstream.stats.last("transcriptions")
        assert heard  # real speech was sent: the fake refuses what is no audio file

    def test_it_reports_a_recogniser_that_hears_nothing(
        self, asr: Asr, upstream: FakeUpstream
    ) -> None:
        upstream.script("transcriptions", Step(transcript=""))
        found = cases_of(run_now(Subject.ASR, asr.pk))
        why = "It understood nothing of a spoken sentence."
        assert found["API Availability"] == (False, why)
        assert found["Language Config"][0] is True

    def test_it_reports_a_recogniser_that_refuses(self, asr: Asr, upstream: FakeUpstream) -> None:
        upstream.script("transcriptions", REFUSED)
        run = run_now(Subject.ASR, asr.pk, asr.owner)
        assert list(outcomes(run).values()) == [True, True, False, True]
        assert SECRET not in str(run.cases)
        asr.refresh_from_db()
        assert asr.last_check_ok is False

    def test_the_offline_recogniser_understands_the_offline_voice(self, alice: User) -> None:
        row = Asr.objects.create(
            name="Offline", vendor="builtin", model_name="pocketsphinx", language="en"
        )
        assert run_now(Subject.ASR, row.pk).failed == 0


class TestVoices:
    def test_it_listens_to_what_is_spoken(self, voice: Voice) -> None:
        run = run_now(Subject.VOICE, voice.pk, voice.owner)
        found = cases_of(run)
        assert list(found) == [
            "Model Existence",
            "API Availability",
            "Audible Speech",
            "Speech Length",
            "Language Config",
        ]
        assert run.status == RunStatus.PASSED, found
        voice.refresh_from_db()
        assert voice.last_check_ok is True

    def test_it_reports_silence(self, voice: Voice, upstream: FakeUpstream) -> None:
        upstream.script("speech", Step(raw="\0" * 48_000, content_type="audio/pcm"))
        found = cases_of(run_now(Subject.VOICE, voice.pk))
        assert found["API Availability"][0] is True
        passed, message = found["Audible Speech"]
        assert not passed
        assert message.startswith("The audio is silent (-")

    def test_it_reports_a_sentence_that_is_cut_short(
        self, voice: Voice, upstream: FakeUpstream
    ) -> None:
        upstream.script("speech", Step(raw="\x10\x20" * 1000, content_type="audio/pcm"))
        found = cases_of(run_now(Subject.VOICE, voice.pk))
        assert found["Audible Speech"][0] is True
        assert found["Speech Length"] == (False, "A short sentence took 0.0 s.")

    def test_it_reports_a_voice_that_refuses(self, voice: Voice, upstream: FakeUpstream) -> None:
        upstream.script("speech", REFUSED)
        run = run_now(Subject.VOICE, voice.pk)
        assert list(outcomes(run).values()) == [True, False, False, False, True]

    def test_the_offline_voice_passes(self, alice: User) -> None:
        row = Voice.objects.create(
            name="Offline",
            vendor="builtin",
            model="espeak-ng",
            voice_key="cmn",
            language="zh-CN",
        )
        run = run_now(Subject.VOICE, row.pk)
        assert run.failed == 0, run.cases


class TestEmbedders:
    def test_it_compares_vectors(self, embedder: Llm) -> None:
        run = run_now(Subject.EMBEDDER, embedder.pk)
        found = cases_of(run)
        assert list(found) == [
            "Model Existence",
            "API Connection",
            "Dimensions",
            "Determinism",
            "Similarity",
        ]
        assert found["Dimensions"] == (True, "Dimensions: 128")
        assert run.status == RunStatus.PASSED, found

    def test_the_offline_embedder_passes(self, alice: User) -> None:
        row = Llm.objects.create(
            name="Offline", vendor="builtin", model_name="hashing", type="embedding"
        )
        run = run_now(Subject.EMBEDDER, row.pk)
        assert run.failed == 0, run.cases

    def test_it_reports_other_dimensions_than_those_set(
        self, embedder: Llm, upstream: FakeUpstream
    ) -> None:
        Llm.objects.update(dimensions=4)
        assert outcomes(run_now(Subject.EMBEDDER, embedder.pk))["Dimensions"] is True
        upstream.script("embeddings", vectors(*([[1.0, 0.5, 0.1]] * 4)))
        assert False in outcomes(run_now(Subject.EMBEDDER, embedder.pk)).values()

    def test_it_reports_vectors_that_change(self, embedder: Llm, upstream: FakeUpstream) -> None:
        first = vectors([1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 1.0])
        upstream.script("embeddings", first, vectors([0.0, 1.0]))
        found = cases_of(run_now(Subject.EMBEDDER, embedder.pk))
        assert found["Determinism"] == (False, "The same text twice: cosine 0.0000")
        assert found["Similarity"][0] is True

    def test_it_reports_vectors_that_tell_nothing(
        self, embedder: Llm, upstream: FakeUpstream
    ) -> None:
        same = [1.0, 0.0]
        upstream.script("embeddings", vectors(same, same, same, same), vectors(same))
        found = cases_of(run_now(Subject.EMBEDDER, embedder.pk))
        assert found["Determinism"][0] is True
        assert found["Similarity"][0] is False

    def test_it_reports_a_model_that_refuses(self, embedder: Llm, upstream: FakeUpstream) -> None:
        upstream.script("embeddings", REFUSED)
        run = run_now(Subject.EMBEDDER, embedder.pk, embedder.owner)
        assert list(outcomes(run).values()) == [True, False, False, False, False]
        assert SECRET not in str(run.cases)

    def test_a_language_model_is_none(self, llm: Llm, embedder: Llm) -> None:
        assert list(outcomes(run_now(Subject.EMBEDDER, llm.pk)).values()) == [False]
        assert outcomes(run_now(Subject.EMBEDDER, embedder.pk))["Model Existence"] is True


def vectors(*rows: list[float]) -> Step:
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
    return Step(raw=json.dumps({"object": "list", "data": data, "model": "m"}))


class TestRerankers:
    def test_it_judges_what_is_preferred(self, reranker: Llm) -> None:
        run = run_now(Subject.RERANKER, reranker.pk)
        found = cases_of(run)
        assert list(found) == [
            "Model Existence",
            "API Connection",
            "Ranking",
            "Order Independence",
        ]
        assert run.status == RunStatus.PASSED, found

    def test_it_reports_one_that_goes_by_the_place(
        self, reranker: Llm, upstream: FakeUpstream
    ) -> None:
        # Always the last one: right at first, by chance.
        by_place = [{"index": at, "relevance_score": at / 10} for at in range(3)]
        step = Step(raw=json.dumps({"model": "m", "results": by_place}))
        upstream.script("rerank", step, step)
        found = cases_of(run_now(Subject.RERANKER, reranker.pk))
        assert (found["Ranking"][0], found["Order Independence"][0]) == (True, False)

    def test_it_reports_one_that_refuses(self, reranker: Llm, upstream: FakeUpstream) -> None:
        upstream.script("rerank", REFUSED)
        run = run_now(Subject.RERANKER, reranker.pk)
        assert list(outcomes(run).values()) == [True, False, False, False]
