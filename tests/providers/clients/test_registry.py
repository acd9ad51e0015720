"""The registry, and the fake vendor as a process."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.errors import ProviderError
from providers import registry
from providers.clients import failures
from providers.profiles import PROFILES
from tests.bounded import in_time
from tests.upstream import SECRET, asr_spec, embedder_spec, endpoint, llm_spec, voice_spec

ROOT = Path(__file__).resolve().parents[3]


def test_every_profile_has_a_client_for_each_of_its_kinds() -> None:
    for slug, profile in PROFILES.items():
        for kind in profile.kinds:
            assert callable(registry._factory(kind, endpoint("http://127.0.0.1/v1", vendor=slug)))


def test_the_same_spec_gets_the_same_client() -> None:
    spec = llm_spec("http://127.0.0.1:1/v1")
    registry.warm_up({("text", spec.endpoint.vendor)}, workers=False)

    assert registry.chat_model(spec) is registry.chat_model(dataclasses.replace(spec))
    assert registry.chat_model(spec) is not registry.chat_model(
        dataclasses.replace(spec, temperature=0.5)
    )


def test_a_vendor_without_such_a_model_is_refused() -> None:
    assert registry.speaker(voice_spec("http://127.0.0.1/v1", vendor="openai"))
    for vendor in ("deepseek", "nobody"):
        with pytest.raises(ProviderError) as caught:
            registry.speaker(voice_spec("http://127.0.0.1/v1", vendor=vendor))
        assert caught.value.is_permanent


def test_specs_do_not_show_their_key() -> None:
    specs = (
        llm_spec("http://h/v1"),
        asr_spec("http://h/v1"),
        voice_spec("http://h/v1"),
        embedder_spec("http://h/v1"),
    )

    assert SECRET not in repr(specs)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("The field is wrong", "The field is wrong"),
        (f"key {SECRET} is wrong", "key … is wrong"),
        ("see https://vendor.example/help?token=1 for help", "see … for help"),
        ("req_0123456789abcdef01234567 failed", "… failed"),
        ("two\nlines\x00", "two lines"),
        (5, ""),
        (None, ""),
    ],
)
def test_a_vendors_reason_is_shown_without_secrets(reason: object, shown: str) -> None:
    assert failures.sanitised(reason, endpoint("http://h/v1")) == shown


def test_a_long_reason_is_cut() -> None:
    assert len(failures.sanitised("word " * 200, endpoint("http://h/v1"))) <= 160


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.2", 1),
        ("0", 0),
        ("-1", None),
        ("soon", None),
        (None, None),
        ("999999", 3600),
        ("nan", None),
        ("inf", 3600),
    ],
)
def test_retry_after_is_read_with_care(header: str | None, seconds: int | None) -> None:
    assert failures.retry_after_s(header) == seconds


@pytest.fixture
def fake_process() -> Iterator[str]:
    command = [sys.executable, "-m", "providers.fakes", "--asr-ms", "1.5", "--reply", "Hi {text}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        word, url = process.stdout.readline().split()
        assert word == "ready"
        yield url
        process.terminate()
        assert process.wait(timeout=10) == 0


def test_the_fake_vendor_runs_as_a_process(fake_process: str) -> None:
    root = fake_process.removesuffix("/v1")
    with httpx.Client(trust_env=False) as client:
        question = {"model": "m", "messages": [{"role": "user", "content": "you"}]}
        whole = client.post(f"{fake_process}/chat/completions", json=question).json()
        assert whole["choices"][0]["message"]["content"] == "Hi you"

        script = {"chat": [{"tool_calls": [{"name": "calculator", "arguments": {"e": 1}}]}]}
        client.post(f"{root}/script", json=script)
        scripted = client.post(f"{fake_process}/chat/completions", json=question).json()
        assert (
            scripted["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "calculator"
        )

        assert client.get(f"{fake_process}/models").json()["data"]
        stats = client.get(f"{root}/stats").json()
        assert stats["chat"] == {"requests": 2, "finished": 2, "cancelled": 0, "broken": 0}
        assert client.get(f"{root}/nothing").status_code == 404


def test_hostile_reasons_are_read_with_bounded_work() -> None:
    code = """
from providers.clients import failures
from tests.upstream import endpoint
for text in ("a." * 32_768, "1" * 65_536, "a.1." * 16_384, "https://" * 8_192, "wss:" * 16_384):
    assert len(failures.sanitised(text, endpoint("http://h/v1"))) < 20
assert failures.reason_in(b"[" * 65_536) == ("", "")
print("done")
"""
    assert in_time(code).split() == ["done"]


def test_no_secret_is_shown_by_being_cut() -> None:
    where = endpoint("http://h/v1")
    key = "sk-other-0123456789abcdef0123"
    # What is hidden brings the place of the cut into what is shown.
    for start in range(1000 - len(key), 1000):
        reason = ("a1" * 600)[: start - 1] + " " + key
        assert "sk-" not in failures.sanitised(reason, where)
    assert failures.sanitised("坏" * 2_000, where).startswith("坏坏")
