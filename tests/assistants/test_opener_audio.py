"""The opener, spoken ahead of time."""

from __future__ import annotations

import io
import wave
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants import tasks
from assistants.models import Assistant, OpenerAudio
from assistants.runtime import load_runtime
from providers.fakes import FakeUpstream, Step
from providers.models import Voice
from tests.rest import data_of, error_of

pytestmark = pytest.mark.django_db

PATH = "/api/v1/assistants"


@pytest.fixture
def voice(vendor: FakeUpstream, alice: User) -> Voice:
    return Voice.objects.create(
        owner=alice,
        name="v",
        vendor="openai_compatible",
        base_url=vendor.base_url,
        model="tts",
        voice_key="alloy",
        language="en",
    )


@pytest.fixture
def assistant(alice: User, voice: Voice) -> Assistant:
    return Assistant.objects.create(
        owner=alice,
        name="a",
        language="en",
        opener="Hello.",
        voice=voice,
        opener_audio_enabled=True,
    )


def url(assistant: Assistant) -> str:
    return f"{PATH}/{assistant.pk}/opener-audio"


class TestGenerate:
    def test_it_speaks_the_opener_and_serves_it(
        self, alice_api: APIClient, assistant: Assistant
    ) -> None:
        not_yet = error_of(alice_api.get(url(assistant)), 404)
        assert not_yet["code"] == "OPENER_AUDIO_NOT_READY"
        state = data_of(alice_api.post(f"{url(assistant)}/generate"))
        assert state.pop("text_hash")
        duration_ms = state.pop("duration_ms")
        assert state == {
            "enabled": True,
            "ready": True,
            "encoding": "pcm_s16le",
            "sample_rate_hz": 16_000,
            "channels": 1,
        }
        audio = alice_api.get(url(assistant))
        assert audio["Content-Type"] == "audio/wav"
        with wave.open(io.BytesIO(audio.content)) as reader:
            assert reader.getnframes() * 1000 // 16_000 == duration_ms > 0
        shown = data_of(alice_api.get(f"{PATH}/{assistant.pk}"))
        assert (shown["openerAudioReady"], shown["openerAudioDurationMs"]) == (True, duration_ms)
        assert load_runtime(assistant.pk).opener_pcm

    @pytest.mark.parametrize(
        "change", [{"opener": "Hi."}, {"speed": 1.5}, {"generatedOpenerEnabled": True}]
    )
    def test_it_is_not_ready_once_something_audible_changed(
        self, alice_api: APIClient, assistant: Assistant, change: dict[str, Any]
    ) -> None:
        data_of(alice_api.post(f"{url(assistant)}/generate"))
        unheard = data_of(alice_api.patch(f"{PATH}/{assistant.pk}", {"name": "b"}))
        assert unheard["openerAudioReady"] is True
        heard = data_of(alice_api.patch(f"{PATH}/{assistant.pk}", change))
        assert (heard["openerAudioReady"], heard["openerAudioDurationMs"]) == (False, 0)
        error_of(alice_api.get(url(assistant)), 404)
        assert load_runtime(assistant.pk).opener_pcm is None

    def test_it_is_not_ready_in_another_voice(
        self, alice_api: APIClient, assistant: Assistant
    ) -> None:
        data_of(alice_api.post(f"{url(assistant)}/generate"))
        other = {"voice": "builtin-voice-en-us"}
        changed = data_of(alice_api.patch(f"{PATH}/{assistant.pk}", other))
        assert changed["openerAudioReady"] is False

    def test_it_keeps_and_shows_what_the_vendor_complained_about(
        self, alice_api: APIClient, vendor: FakeUpstream, assistant: Assistant
    ) -> None:
        vendor.script("speech", Step(status=401, body={"error": {"message": "no"}}))
        error = error_of(alice_api.post(f"{url(assistant)}/generate"), 502)
        shown = data_of(alice_api.get(f"{PATH}/{assistant.pk}"))
        assert (shown["openerAudioReady"], shown["openerAudioError"]) == (False, error["message"])
        data_of(alice_api.post(f"{url(assistant)}/generate"))
        assert data_of(alice_api.get(f"{PATH}/{assistant.pk}"))["openerAudioError"] == ""

    @pytest.mark.parametrize(
        "values",
        [{"opener": ""}, {"opener": "Hello {{name}}"}, {"generated_opener_enabled": True}],
    )
    def test_it_needs_an_opener_that_is_always_the_same(
        self, alice_api: APIClient, assistant: Assistant, values: dict[str, Any]
    ) -> None:
        data_of(alice_api.post(f"{url(assistant)}/generate"))
        Assistant.objects.filter(pk=assistant.pk).update(**values)
        error = error_of(alice_api.post(f"{url(assistant)}/generate"), 400)
        assert list(error["details"]) == ["opener"]

    def test_it_needs_a_voice(self, alice_api: APIClient, assistant: Assistant) -> None:
        data_of(alice_api.post(f"{url(assistant)}/generate"))
        Voice.objects.update(is_enabled=False)
        error = error_of(alice_api.post(f"{url(assistant)}/generate"), 400)
        assert list(error["details"]) == ["voice"]

    def test_it_is_hidden_from_others(
        self, alice_api: APIClient, bob_api: APIClient, assistant: Assistant
    ) -> None:
        data_of(alice_api.post(f"{url(assistant)}/generate"))
        for response in (
            bob_api.get(url(assistant)),
            bob_api.post(f"{url(assistant)}/generate"),
        ):
            assert error_of(response, 404)["code"] == "ASSISTANT_NOT_FOUND"


class TestTask:
    @pytest.fixture
    def asked_for(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The assistants whose opener was handed to the workers."""
        ids: list[str] = []
        monkeypatch.setattr(tasks.speak_opener, "delay", ids.append)
        return ids

    def test_it_is_asked_for_once_the_assistant_is_stored(
        self,
        alice_api: APIClient,
        voice: Voice,
        asked_for: list[str],
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        body = {"name": "a", "opener": "Hello.", "voice": voice.pk, "language": "en"}
        with django_capture_on_commit_callbacks(execute=True):
            data_of(alice_api.post(PATH, body), 201)
        assert asked_for == []
        with django_capture_on_commit_callbacks(execute=True):
            made = data_of(alice_api.post(PATH, {**body, "openerAudioEnabled": True}), 201)
        assert asked_for == [made["id"]]

    def test_it_is_asked_for_only_by_changes_that_are_heard(
        self,
        alice_api: APIClient,
        assistant: Assistant,
        asked_for: list[str],
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        tasks.speak_opener(assistant.pk)
        with django_capture_on_commit_callbacks(execute=True):
            data_of(alice_api.patch(f"{PATH}/{assistant.pk}", {"prompt": "x"}))
        assert asked_for == []
        with django_capture_on_commit_callbacks(execute=True):
            data_of(alice_api.patch(f"{PATH}/{assistant.pk}", {"opener": "Good day."}))
        assert asked_for == [assistant.pk]

    @pytest.mark.django_db(transaction=True)
    def test_it_stores_the_assistant_although_the_broker_is_away(
        self, alice_api: APIClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(_assistant_id: str) -> None:
            raise ConnectionError("no broker")

        monkeypatch.setattr(tasks.speak_opener, "delay", away)
        body = {"name": "a", "opener": "Hello.", "openerAudioEnabled": True}
        made = data_of(alice_api.post(PATH, body), 201)
        assert Assistant.objects.filter(pk=made["id"]).exists()

    def test_it_speaks_once(self, vendor: FakeUpstream, assistant: Assistant) -> None:
        tasks.speak_opener(assistant.pk)
        tasks.speak_opener(assistant.pk)
        assert vendor.stats.of("speech").requests == 1
        assert OpenerAudio.objects.get().duration_ms > 0

    def test_it_speaks_with_the_default_voice_where_none_is_named(
        self, vendor: FakeUpstream, assistant: Assistant, voice: Voice
    ) -> None:
        Assistant.objects.filter(pk=assistant.pk).update(voice=None)
        tasks.speak_opener(assistant.pk)
        assert OpenerAudio.objects.get().voice_id == voice.pk
        assert load_runtime(assistant.pk).opener_pcm
        # The default changes: the call must not begin in another voice than it goes on with.
        Voice.objects.filter(pk=voice.pk).update(is_enabled=False)
        assert load_runtime(assistant.pk).opener_pcm is None

    def test_it_keeps_an_error_on_the_row_and_ends(
        self, vendor: FakeUpstream, assistant: Assistant
    ) -> None:
        vendor.script("speech", Step(status=400, body={"error": {"message": "no"}}))
        tasks.speak_opener(assistant.pk)
        assert OpenerAudio.objects.get().error
        assert vendor.stats.of("speech").requests == 1

    def test_it_forgets_an_assistant_that_is_gone(self) -> None:
        tasks.speak_opener("nobody")
        assert not OpenerAudio.objects.exists()
