"""Models of alice at a fake vendor, and things whose tests do what a test wants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from accounts.models import User
from providers.fakes import FakeUpstream
from providers.models import Asr, Llm, Voice
from tests.upstream import SECRET
from tooling.autotest import engine
from tooling.autotest.cases import Asker, Check, Prepared, Tester
from tooling.models import AutotestRun, Subject, Trigger

Work = Callable[[], Awaitable[str]]


def at(upstream: FakeUpstream, owner: User | None, **fields: Any) -> dict[str, Any]:
    return {
        "owner": owner,
        "name": "Model",
        "vendor": "openai_compatible",
        "base_url": upstream.base_url,
        "api_key": SECRET,
        **fields,
    }


@pytest.fixture
def llm(upstream: FakeUpstream, alice: User) -> Llm:
    return Llm.objects.create(**at(upstream, alice), model_name="gpt-fake", temperature=0.7)


@pytest.fixture
def asr(upstream: FakeUpstream, alice: User) -> Asr:
    fields = {"model_name": "whisper", "language": "en", "hotwords": ["a", "b", "c"]}
    return Asr.objects.create(**at(upstream, alice, **fields))


@pytest.fixture
def voice(upstream: FakeUpstream, alice: User) -> Voice:
    return Voice.objects.create(
        **at(upstream, alice), model="tts", voice_key="alloy", language="en"
    )


@pytest.fixture
def embedder(upstream: FakeUpstream, alice: User) -> Llm:
    # Enough for the fake's vectors of characters to tell texts apart.
    upstream.behaviour.dimensions = 128
    return Llm.objects.create(**at(upstream, alice, model_name="embed", type="embedding"))


@pytest.fixture
def reranker(upstream: FakeUpstream, alice: User) -> Llm:
    return Llm.objects.create(**at(upstream, alice, model_name="rerank", type="rerank"))


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[bool, str]]]:
    """Lets the tests of language models be these checks; gives what was noted on the row."""

    def set_checks(*checks: Work, owner_id: int | None = None) -> list[tuple[bool, str]]:
        noted: list[tuple[bool, str]] = []
        named = tuple(Check(f"Check {number}", work) for number, work in enumerate(checks, 1))

        def prepare(subject_id: str, asker: Asker) -> Prepared | None:
            if subject_id == "gone":
                return None
            return Prepared(
                "Thing",
                owner_id,
                "Found it",
                named,
                lambda is_ok, message: noted.append((is_ok, message)),
            )

        tester = Tester("Existence", "Not found", lambda principal, subject_id: None, prepare)
        monkeypatch.setitem(engine.TESTERS, Subject.LLM, tester)
        return noted

    return set_checks


def run_now(subject: Subject, subject_id: str, owner: User | None = None) -> AutotestRun:
    return engine.run_now(
        subject, subject_id, owner_id=owner.pk if owner else None, trigger=Trigger.API
    )


def cases_of(run: AutotestRun) -> dict[str, tuple[bool, str]]:
    """Outcome and message by the case's name, in their order."""
    return {case["name"]: (case["passed"], case["message"]) for case in run.cases}
