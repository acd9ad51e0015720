"""Test, chat, preview and transcribe, against a vendor that speaks the real protocols."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections, transaction
from rest_framework.response import Response
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from assistants.tasks import speak_opener
from core import loops
from core.audio import wav_from_pcm
from providers import actions, trials, uploads
from providers.catalogue import sync_builtin_models
from providers.fakes import FakeUpstream, Step
from providers.models import Asr, Llm, Voice
from tests.rest import data_of, error_of

pytestmark = pytest.mark.django_db

REFUSED = Step(status=401, body={"error": {"message": "Incorrect API key sk-stored-key-1234"}})


def recording(*, rate_hz: int = 16_000, seconds: float = 0.5, channels: int = 1) -> bytes:
    """A WAV file with a tone."""
    times = np.arange(int(rate_hz * seconds)) / rate_hz
    tone = (np.sin(times * 440 * 2 * np.pi) * 8000).astype("<i2")
    target = io.BytesIO()
    with wave.open(target, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(np.repeat(tone, channels).tobytes())
    return target.getvalue()


def upload(api: APIClient, url: str, data: bytes, **fields: Any) -> Response:
    file = SimpleUploadedFile("speech.wav", data, content_type="audio/wav")
    response: Response = api.post(url, {"file": file, **fields}, format="multipart")
    return response


def sent_key(vendor: FakeUpstream, kind: Any) -> str:
    headers = {
        name.lower(): value for name, value in vendor.stats.last(kind)[-1]["headers"].items()
    }
    key: str = headers["authorization"]
    return key


class TestTest:
    @pytest.mark.parametrize("kind", ["llm", "embedder", "reranker", "asr", "voice"])
    def test_it_notes_on_the_row_what_it_found(
        self, alice_api: APIClient, request: pytest.FixtureRequest, kind: str
    ) -> None:
        row = request.getfixturevalue(kind)
        path = {"embedder": "llm", "reranker": "llm", "voice": "voices"}.get(kind, kind)
        result = data_of(alice_api.post(f"/api/v1/{path}/{row.pk}/test"))
        assert set(result) == {"success", "latency_ms", "message"}
        assert result["success"] is True, result
        shown = data_of(alice_api.get(f"/api/v1/{path}/{row.pk}"))
        assert (shown["last_check_ok"], shown["last_check_message"]) == (True, result["message"])
        assert shown["last_checked_at"]

    @pytest.mark.parametrize(
        ("kind", "step"),
        [
            ("chat", REFUSED),
            ("chat", Step(status=429, headers={"Retry-After": "7"})),
            ("chat", Step(status=500, body="<html>")),
            ("chat", Step(break_after=1)),
            ("chat", Step(raw="no stream at all")),
        ],
        ids=["bad key", "busy", "broken", "cut", "nonsense"],
    )
    def test_it_says_what_is_wrong_without_the_key(
        self, alice_api: APIClient, vendor: FakeUpstream, llm: Llm, kind: Any, step: Step
    ) -> None:
        # Clients may try again by themselves; the vendor does not get better.
        vendor.script(kind, step, step, step, step)
        result = data_of(alice_api.post(f"/api/v1/llm/{llm.pk}/test"))
        assert result["success"] is False
        assert result["message"]
        assert "sk-stored" not in result["message"]
        shown = data_of(alice_api.get(f"/api/v1/llm/{llm.pk}"))
        assert (shown["last_check_ok"], shown["last_check_message"]) == (False, result["message"])

    def test_it_says_that_a_reranker_judges_wrongly(
        self, alice_api: APIClient, vendor: FakeUpstream, reranker: Llm
    ) -> None:
        wrong = [{"index": 0, "relevance_score": 0.75}, {"index": 1, "relevance_score": 0.25}]
        vendor.script("rerank", Step(raw=json.dumps({"results": wrong})))
        result = data_of(alice_api.post(f"/api/v1/llm/{reranker.pk}/test"))
        assert result["success"] is False
        assert "0.75" in result["message"]
        assert data_of(alice_api.post(f"/api/v1/llm/{reranker.pk}/test"))["success"] is True

    def test_it_gives_up_on_a_vendor_that_says_nothing(
        self,
        alice_api: APIClient,
        vendor: FakeUpstream,
        llm: Llm,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(trials, "TIME_LIMIT_S", 1.0)
        vendor.script("chat", Step(hang_after=1))
        result = data_of(alice_api.post(f"/api/v1/llm/{llm.pk}/test"))
        assert result["success"] is False
        assert vendor.stats.wait_until(lambda stats: stats.of("chat").cancelled == 1)

    def test_it_reaches_no_private_address_that_nobody_allowed(
        self, alice_api: APIClient, vendor: FakeUpstream, llm: Llm, settings: Any
    ) -> None:
        settings.OUTBOUND_ALLOW = []
        result = data_of(alice_api.post(f"/api/v1/llm/{llm.pk}/test"))
        assert result["success"] is False
        assert vendor.stats.of("chat").requests == 0

    def test_it_writes_nothing_on_system_rows_for_users(
        self, alice_api: APIClient, carol_api: APIClient
    ) -> None:
        sync_builtin_models()
        url = "/api/v1/llm/builtin-demo"
        assert data_of(alice_api.post(f"{url}/test"))["success"] is True
        assert data_of(alice_api.get(url))["last_check_ok"] is None
        assert data_of(carol_api.post(f"{url}/test"))["success"] is True
        assert data_of(alice_api.get(url))["last_check_ok"] is True

    def test_it_runs_the_built_in_models_offline(self, carol_api: APIClient) -> None:
        sync_builtin_models()
        for path in (
            "llm/builtin-hashing",
            "asr/builtin-pocketsphinx",
            "voices/builtin-voice-en-us",
            "voices/builtin-voice-cmn",
        ):
            result = data_of(carol_api.post(f"/api/v1/{path}/test"))
            assert result["success"] is True, (path, result)

    def test_it_lets_users_call_no_disabled_system_model(
        self, alice_api: APIClient, carol_api: APIClient
    ) -> None:
        sync_builtin_models()
        Llm.objects.filter(pk="builtin-demo").update(is_enabled=False)
        url = "/api/v1/llm/builtin-demo/chat"
        assert error_of(alice_api.post(url, {"message": "hi"}), 409)["code"] == "CONFLICT"
        data_of(carol_api.post(url, {"message": "hi"}))

    def test_it_hides_foreign_models(
        self, alice_api: APIClient, bob_api: APIClient, llm: Llm
    ) -> None:
        for verb in ("test", "chat", "preview"):
            url = f"/api/v1/llm/{llm.pk}/{verb}"
            error = error_of(bob_api.post(url, {"message": "hi"}), 404)
            assert error["code"] == "LLM_NOT_FOUND"
            data_of(alice_api.post(url, {"message": "hi"}))


class TestChat:
    def test_it_answers_with_usage(
        self, alice_api: APIClient, vendor: FakeUpstream, llm: Llm
    ) -> None:
        vendor.script(
            "chat", Step(text="Blue.", usage={"prompt_tokens": 9, "completion_tokens": 2})
        )
        body = {"message": "What colour?", "systemPrompt": "Be short.", "temperature": 0.3}
        reply = data_of(alice_api.post(f"/api/v1/llm/{llm.pk}/chat", body))
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        assert reply == {"success": True, "reply": "Blue.", "usage": usage}
        sent = vendor.stats.last("chat")[-1]["body"]
        assert [message["role"] for message in sent["messages"]] == ["system", "user"]
        assert sent["temperature"] == 0.3
        assert sent.get("max_tokens", sent.get("max_completion_tokens")) == 1000

    def test_it_answers_a_failure_of_the_vendor_as_an_error(
        self, alice_api: APIClient, vendor: FakeUpstream, llm: Llm
    ) -> None:
        vendor.script("chat", REFUSED)
        url = f"/api/v1/llm/{llm.pk}/chat"
        error = error_of(alice_api.post(url, {"message": "hi"}), 502)
        assert error["code"] == "UPSTREAM_ERROR"
        assert "sk-stored" not in error["message"]
        data_of(alice_api.post(url, {"message": "hi"}))

    @pytest.mark.parametrize(
        ("field", "value"),
        [("message", ""), ("max_tokens", 0), ("temperature", 3), ("system_prompt", ["x"])],
    )
    def test_it_refuses_wrong_values(
        self, alice_api: APIClient, llm: Llm, field: str, value: Any
    ) -> None:
        url = f"/api/v1/llm/{llm.pk}/chat"
        error = error_of(alice_api.post(url, {"message": "hi", field: value}), 400)
        assert list(error["details"]) == [field]
        data_of(alice_api.post(url, {"message": "hi"}))

    def test_it_chats_with_text_models_only(self, alice_api: APIClient, embedder: Llm) -> None:
        url = f"/api/v1/llm/{embedder.pk}/chat"
        assert list(error_of(alice_api.post(url, {"message": "hi"}), 400)["details"]) == ["type"]


class TestLlmPreview:
    def test_it_takes_a_key_for_this_call_only(
        self, alice_api: APIClient, vendor: FakeUpstream, llm: Llm
    ) -> None:
        url = f"/api/v1/llm/{llm.pk}/preview"
        reply = data_of(alice_api.post(url, {"message": "hi", "api_key": "sk-once"}))
        assert set(reply) == {"success", "reply", "usage", "latency_ms", "error"}
        assert (reply["success"], reply["error"]) == (True, None)
        assert sent_key(vendor, "chat") == "Bearer sk-once"
        data_of(alice_api.post(url, {"message": "hi"}))
        assert sent_key(vendor, "chat") == "Bearer sk-stored-key-1234"
        llm.refresh_from_db()
        assert llm.api_key == "sk-stored-key-1234"

    def test_it_says_in_the_answer_what_failed(
        self, alice_api: APIClient, vendor: FakeUpstream, llm: Llm
    ) -> None:
        vendor.script("chat", REFUSED)
        url = f"/api/v1/llm/{llm.pk}/preview"
        reply = data_of(alice_api.post(url, {"message": "hi"}))
        assert (reply["success"], reply["reply"], reply["usage"]) == (False, "", None)
        assert reply["error"]


class TestTranscribe:
    @pytest.mark.parametrize("verb", ["transcribe", "preview"])
    @pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (8_000, 1), (44_100, 2)])
    def test_it_transcribes_wav_of_any_rate(
        self,
        alice_api: APIClient,
        vendor: FakeUpstream,
        asr: Asr,
        verb: str,
        rate_hz: int,
        channels: int,
    ) -> None:
        vendor.script("transcriptions", Step(transcript="good morning"))
        data = recording(rate_hz=rate_hz, channels=channels)
        heard = data_of(upload(alice_api, f"/api/v1/asr/{asr.pk}/{verb}", data))
        assert set(heard) == {
            "success",
            "transcript",
            "language",
            "confidence",
            "latency_ms",
            "error",
        }
        assert (heard["success"], heard["transcript"], heard["error"]) == (
            True,
            "good morning",
            None,
        )

    def test_it_takes_a_key_for_this_call_only(
        self, alice_api: APIClient, vendor: FakeUpstream, asr: Asr
    ) -> None:
        url = f"/api/v1/asr/{asr.pk}/preview"
        data_of(upload(alice_api, url, recording(), apiKey="sk-once", language="en"))
        assert sent_key(vendor, "transcriptions") == "Bearer sk-once"

    def test_it_says_in_the_answer_what_failed(
        self, alice_api: APIClient, vendor: FakeUpstream, asr: Asr
    ) -> None:
        vendor.script("transcriptions", REFUSED)
        heard = data_of(upload(alice_api, f"/api/v1/asr/{asr.pk}/transcribe", recording()))
        assert (heard["success"], heard["transcript"]) == (False, "")
        assert heard["error"]

    @pytest.mark.parametrize(
        "data",
        [b"RIFF", b"\xff\xfb\x90\x00" * 100, wav_from_pcm(b""), recording()[:30]],
        ids=["cut", "mp3", "empty", "header"],
    )
    def test_it_refuses_what_is_no_recording(
        self, alice_api: APIClient, asr: Asr, data: bytes
    ) -> None:
        url = f"/api/v1/asr/{asr.pk}/transcribe"
        assert list(error_of(upload(alice_api, url, data), 400)["details"]) == ["file"]
        data_of(upload(alice_api, url, recording()))

    def test_it_refuses_a_recording_that_is_too_large(
        self, alice_api: APIClient, asr: Asr, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        url = f"/api/v1/asr/{asr.pk}/transcribe"
        data_of(upload(alice_api, url, recording()))
        monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
        error = error_of(upload(alice_api, url, recording()), 413)
        assert error["code"] == "PAYLOAD_TOO_LARGE"

    def test_it_refuses_a_recording_that_is_too_long(self, alice_api: APIClient, asr: Asr) -> None:
        # A small file at a rate that would unfold to hundreds of times its size.
        data = recording(rate_hz=1000, seconds=uploads.MAX_SECONDS + 1)
        url = f"/api/v1/asr/{asr.pk}/transcribe"
        assert error_of(upload(alice_api, url, data), 413)["code"] == "PAYLOAD_TOO_LARGE"

    def test_it_needs_a_file(self, alice_api: APIClient, asr: Asr) -> None:
        url = f"/api/v1/asr/{asr.pk}/transcribe"
        for body in ({}, {"file": "text"}):
            error = error_of(alice_api.post(url, body, format="multipart"), 400)
            assert list(error["details"]) == ["file"]
        assert list(error_of(alice_api.post(url, {"file": "x"}), 400)["details"]) == ["file"]


class TestVoicePreview:
    def test_it_answers_with_a_wav_file(self, alice_api: APIClient, voice: Voice) -> None:
        spoken = data_of(
            alice_api.post(f"/api/v1/voices/{voice.pk}/preview", {"text": "Hello", "speed": 1.2})
        )
        assert (spoken["success"], spoken["error"]) == (True, None)
        head, _comma, encoded = spoken["audio_url"].partition(",")
        assert head == "data:audio/wav;base64"
        with wave.open(io.BytesIO(base64.b64decode(encoded))) as reader:
            assert (reader.getframerate(), reader.getnchannels()) == (16_000, 1)
            assert reader.getnframes() > 1000

    def test_it_says_in_the_answer_what_failed(
        self, alice_api: APIClient, vendor: FakeUpstream, voice: Voice
    ) -> None:
        vendor.script("speech", REFUSED)
        spoken = data_of(alice_api.post(f"/api/v1/voices/{voice.pk}/preview", {"text": "Hello"}))
        assert (spoken["success"], spoken["audio_url"]) == (False, None)
        assert spoken["error"]

    @pytest.mark.parametrize(("field", "value"), [("text", ""), ("speed", 5), ("gain", 11)])
    def test_it_refuses_wrong_values(
        self, alice_api: APIClient, voice: Voice, field: str, value: Any
    ) -> None:
        url = f"/api/v1/voices/{voice.pk}/preview"
        error = error_of(alice_api.post(url, {"text": "Hello", field: value}), 400)
        assert list(error["details"]) == [field]
        data_of(alice_api.post(url, {"text": "Hello"}))

    def test_it_speaks_with_the_built_in_voice(self, alice_api: APIClient, alice: User) -> None:
        sync_builtin_models()
        url = "/api/v1/voices/builtin-voice-en-us/preview"
        assert data_of(alice_api.post(url, {"text": "Hello"}))["success"] is True


class TestConnections:
    """A vendor may take a minute; the database's connections are few."""

    @pytest.fixture
    def held(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Whether the request held a connection, for each call of a model."""
        wrapper = connections["default"]
        found: list[bool] = []

        async def look(work: Awaitable[Any]) -> Any:
            found.append(wrapper.connection is not None)
            return await work

        monkeypatch.setattr(loops, "_awaited", look)
        return found

    @pytest.mark.django_db(transaction=True)
    def test_it_holds_none_while_the_vendor_answers(
        self, alice_api: APIClient, llm: Llm, asr: Asr, voice: Voice, held: list[bool]
    ) -> None:
        for path in (f"llm/{llm.pk}", f"asr/{asr.pk}", f"voices/{voice.pk}"):
            assert data_of(alice_api.post(f"/api/v1/{path}/test"))["success"] is True
        data_of(alice_api.post(f"/api/v1/llm/{llm.pk}/chat", {"message": "hi"}))
        data_of(alice_api.post(f"/api/v1/voices/{voice.pk}/preview", {"text": "Hello."}))
        data_of(upload(alice_api, f"/api/v1/asr/{asr.pk}/transcribe", recording()))
        assert held == [False] * 6

    @pytest.mark.django_db(transaction=True)
    def test_it_holds_none_while_an_opener_is_spoken(
        self, alice: User, alice_api: APIClient, voice: Voice, held: list[bool]
    ) -> None:
        assistant = Assistant.objects.create(
            owner=alice, name="a", language="en", opener="Hello.", voice=voice,
            opener_audio_enabled=True,
        )  # fmt: skip
        data_of(alice_api.post(f"/api/v1/assistants/{assistant.pk}/opener-audio/generate"))
        Assistant.objects.update(opener="Good morning.")
        speak_opener(assistant.pk)
        assert held == [False] * 2

    def test_it_breaks_no_transaction(self, llm: Llm, held: list[bool]) -> None:
        with transaction.atomic():
            Llm.objects.filter(pk=llm.pk).update(name="Before")
            assert actions.check_model(llm).is_ok
        assert held == [True]
        llm.refresh_from_db()
        assert (llm.name, llm.last_check_ok) == ("Before", True)
