"""Models, recognisers and voices as resources."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from core.crypto import MASK
from knowledge.models import KnowledgeBase
from providers.models import Asr, Llm, Provider, Voice
from tests.rest import PlatformResourceCases, data_of, error_of

pytestmark = pytest.mark.django_db

KEY = "sk-a-secret-key-1234"
ACCOUNT = {"name": "Mine", "vendor": "openai", "base_url": "https://llm.example/v1", "api_key": KEY}
PATHS = ["/api/v1/llm", "/api/v1/asr", "/api/v1/voices"]


class TestLlms(PlatformResourceCases):
    path = "/api/v1/llm"
    not_found_code = "LLM_NOT_FOUND"
    create_data: ClassVar = {**ACCOUNT, "model_name": "gpt"}
    update_data: ClassVar = {"name": "Other", "temperature": 1.5, "enabled": False}

    def make(self, owner: User) -> Llm:
        return Llm.objects.create(owner=owner, name="m", vendor="openai", api_key=KEY)

    def test_it_shows_every_field_of_the_contract(self, alice_api: APIClient) -> None:
        made = data_of(alice_api.post(self.path, self.create_data), 201)
        assert set(made) >= {
            "id",
            "user_id",
            "name",
            "vendor",
            "type",
            "base_url",
            "api_key",
            "model_name",
            "temperature",
            "context_length",
            "enabled",
            "created_at",
            "updated_at",
        }
        assert (made["type"], made["enabled"]) == ("text", True)

    def test_it_filters_by_type_and_state(self, alice_api: APIClient, alice: User) -> None:
        common: dict[str, Any] = {"owner": alice, "vendor": "openai"}
        text = Llm.objects.create(name="text", **common)
        embedding = Llm.objects.create(name="emb", type="embedding", is_enabled=False, **common)

        def ids(query: str) -> set[str]:
            page = data_of(alice_api.get(f"{self.path}?{query}"))
            return {item["id"] for item in page["items"]}

        assert ids("model_type=embedding") == {embedding.pk}
        assert ids("enabled=true") == {text.pk}
        assert ids("enabled=False") == {embedding.pk}
        assert ids("keyword=EM") == {embedding.pk}
        assert ids("model_type=rerank") == set()

    @pytest.mark.parametrize("query", ["model_type=poem", "enabled=maybe"])
    def test_it_refuses_a_filter_that_means_nothing(self, alice_api: APIClient, query: str) -> None:
        error = error_of(alice_api.get(f"{self.path}?{query}"), 400)
        assert list(error["details"]) == [query.split("=")[0]]

    @pytest.mark.parametrize("word", ["create", "all", "visible", "schema", "search"])
    def test_it_takes_no_word_of_another_family_for_an_id(
        self, alice_api: APIClient, alice: User, word: str
    ) -> None:
        Llm.objects.create(pk=word, owner=alice, name="m", vendor="openai")
        assert set(alice_api.get(f"{self.path}/{word}").json()) >= {"status_code", "data"}
        Llm.objects.create(pk=f"{word}s", owner=alice, name="m", vendor="openai")
        assert data_of(alice_api.get(f"{self.path}/{word}s"))["id"] == f"{word}s"

    def test_it_says_what_a_model_can_do(self, alice_api: APIClient) -> None:
        plain = data_of(alice_api.post(self.path, self.create_data), 201)
        abilities = {
            "supports_thinking": True,
            "accepts_images": True,
            "max_output_tokens": 8192,
            "description": "Thinks before it speaks.",
            "aliases": ["gpt-4", "thinker"],
        }
        unsaid: dict[str, Any] = {
            "supports_thinking": False,
            "accepts_images": False,
            "max_output_tokens": None,
            "description": "",
            "aliases": [],
        }
        assert {name: plain[name] for name in abilities} == unsaid
        changed = data_of(alice_api.patch(f"{self.path}/{plain['id']}", abilities))
        assert {name: changed[name] for name in abilities} == abilities
        for field, value in (("max_output_tokens", 0), ("aliases", ["x" * 101])):
            refused = alice_api.patch(f"{self.path}/{plain['id']}", {field: value})
            assert any(name.startswith(field) for name in error_of(refused, 400)["details"])

    def test_it_keeps_a_model_that_a_knowledge_base_was_made_with(
        self, alice_api: APIClient, alice: User
    ) -> None:
        row = Llm.objects.create(owner=alice, name="e", vendor="openai", type="embedding")
        base = KnowledgeBase.objects.create(owner=alice, name="kb", embedder=row)
        assert error_of(alice_api.delete(self.url(row)), 409)["code"] == "CONFLICT"
        base.delete()
        data_of(alice_api.delete(self.url(row)))


class TestAsrs(PlatformResourceCases):
    path = "/api/v1/asr"
    not_found_code = "ASR_NOT_FOUND"
    create_data: ClassVar = {**ACCOUNT, "hotwords": ["Anna"]}
    update_data: ClassVar = {"language": "zh", "hotwords": ["Berta"], "enable_punctuation": False}

    def make(self, owner: User) -> Asr:
        return Asr.objects.create(owner=owner, name="r", vendor="openai", api_key=KEY)

    def test_it_shows_every_field_of_the_contract(self, alice_api: APIClient) -> None:
        made = data_of(alice_api.post(self.path, self.create_data), 201)
        expected = {
            "language": "multi",
            "hotwords": ["Anna"],
            "enable_punctuation": True,
            "enable_normalization": True,
            "enabled": True,
        }
        assert {name: made[name] for name in expected} == expected

    def test_it_filters_by_language(self, alice_api: APIClient, alice: User) -> None:
        self.make(alice)
        english = Asr.objects.create(owner=alice, name="r", vendor="openai", language="en")
        page = data_of(alice_api.get(f"{self.path}?language=en&enabled=true"))
        assert [item["id"] for item in page["items"]] == [english.pk]


class TestVoices(PlatformResourceCases):
    path = "/api/v1/voices"
    not_found_code = "VOICE_NOT_FOUND"
    create_data: ClassVar = {**ACCOUNT, "gender": "Male", "language": "en", "voice_key": "alloy"}
    update_data: ClassVar = {"speed": 1.5, "gain": -3.0, "pitch": 2.0, "description": "Calm"}

    def make(self, owner: User) -> Voice:
        return Voice.objects.create(owner=owner, name="v", vendor="openai", api_key=KEY)

    def test_it_filters_by_language_with_regions(self, alice_api: APIClient, alice: User) -> None:
        self.make(alice)
        british = Voice.objects.create(
            owner=alice, name="v", vendor="openai", language="en-GB", gender="Male"
        )
        for query in ("language=en", "language=en-gb", "gender=Male", "vendor=OpenAI&gender=Male"):
            page = data_of(alice_api.get(f"{self.path}?{query}"))
            assert [item["id"] for item in page["items"]] == [british.pk]

    def test_it_tells_the_systems_voices_from_own_ones(
        self, alice_api: APIClient, alice: User
    ) -> None:
        own = self.make(alice)
        system = Voice.objects.create(name="s", vendor="builtin")
        for flag, row in (("true", system), ("false", own)):
            page = data_of(alice_api.get(f"{self.path}?is_system={flag}"))
            assert [item["id"] for item in page["items"]] == [row.pk]

    @pytest.mark.parametrize(
        ("field", "value"), [("speed", 2.1), ("gain", -11), ("pitch", 13), ("gender", "Cat")]
    )
    def test_it_refuses_values_out_of_range(
        self, alice_api: APIClient, field: str, value: Any
    ) -> None:
        error = error_of(alice_api.post(self.path, {**self.create_data, field: value}), 400)
        assert list(error["details"]) == [field]
        data_of(alice_api.post(self.path, self.create_data), 201)


@pytest.mark.parametrize("path", PATHS)
class TestEveryModel:
    def test_it_understands_both_cases(self, alice_api: APIClient, path: str) -> None:
        camel = {"name": "M", "vendor": "openai", "baseUrl": "https://llm.example/v1/"}
        made = data_of(alice_api.post(path, {**camel, "apiKey": KEY}), 201)
        assert made["base_url"] == "https://llm.example/v1"
        assert made["api_key"] == f"{MASK}1234"

    def test_it_never_shows_a_key(self, alice_api: APIClient, path: str) -> None:
        made = alice_api.post(path, ACCOUNT)
        row_path = f"{path}/{data_of(made, 201)['id']}"
        for answer in (
            made,
            alice_api.get(path),
            alice_api.get(row_path),
            alice_api.patch(row_path, {"name": "N"}),
        ):
            assert KEY not in answer.content.decode()
            assert f"{MASK}1234" in answer.content.decode()

    def test_it_keeps_the_key_when_the_mask_comes_back(
        self, alice_api: APIClient, path: str
    ) -> None:
        made = data_of(alice_api.post(path, ACCOUNT), 201)
        model = {"/api/v1/llm": Llm, "/api/v1/asr": Asr, "/api/v1/voices": Voice}[path]
        data_of(alice_api.put(f"{path}/{made['id']}", {**made, "name": "N"}))
        assert model.objects.get(pk=made["id"]).api_key == KEY
        data_of(alice_api.patch(f"{path}/{made['id']}", {"api_key": "sk-another-key-5678"}))
        assert model.objects.get(pk=made["id"]).api_key == "sk-another-key-5678"

    def test_it_shows_a_system_key_to_operators_only(
        self, alice_api: APIClient, carol_api: APIClient, path: str
    ) -> None:
        model = {"/api/v1/llm": Llm, "/api/v1/asr": Asr, "/api/v1/voices": Voice}[path]
        row = model.objects.create(name="s", vendor="openai", api_key=KEY)
        shown = [data_of(api.get(f"{path}/{row.pk}")) for api in (alice_api, carol_api)]
        assert [each["api_key"] for each in shown] == [MASK, f"{MASK}1234"]
        assert [each["user_id"] for each in shown] == [None, None]

    def test_it_lets_only_operators_change_system_rows(
        self, alice_api: APIClient, carol_api: APIClient, path: str
    ) -> None:
        model = {"/api/v1/llm": Llm, "/api/v1/asr": Asr, "/api/v1/voices": Voice}[path]
        url = f"{path}/{model.objects.create(name='s', vendor='builtin').pk}"
        assert error_of(alice_api.patch(url, {"name": "x"}), 403)["code"] == "FORBIDDEN"
        assert error_of(alice_api.put(url, {"name": "x"}), 403)["code"] == "FORBIDDEN"
        assert error_of(alice_api.delete(url), 403)["code"] == "FORBIDDEN"
        assert data_of(alice_api.get(url))["name"] == "s"
        assert data_of(carol_api.patch(url, {"name": "x"}))["name"] == "x"
        data_of(carol_api.delete(url))

    @pytest.mark.parametrize(
        ("sent", "stored"),
        [("OpenAI", "openai"), ("OPENAI-COMPATIBLE", "openai_compatible"), ("vLLM", "vllm")],
    )
    def test_it_knows_vendors_by_other_names(
        self, alice_api: APIClient, path: str, sent: str, stored: str
    ) -> None:
        made = data_of(alice_api.post(path, {**ACCOUNT, "vendor": sent}), 201)
        assert made["vendor"] == stored

    def test_it_lists_the_vendors_when_one_is_unknown(
        self, alice_api: APIClient, path: str
    ) -> None:
        error = error_of(alice_api.post(path, {**ACCOUNT, "vendor": "acme"}), 400)
        assert list(error["details"]) == ["vendor"]
        assert "siliconflow" in error["message"]

    @pytest.mark.parametrize(
        "address",
        [
            "ftp://llm.example",
            "llm.example/v1",
            "https://",
            "https://user:pw@llm.example",
            "https://llm.example:port/v1",
            "https://llm.example/v1?x=1",
            "http://a b/",
            "javascript:alert(1)",
        ],
    )
    def test_it_refuses_what_is_no_address(
        self, alice_api: APIClient, path: str, address: str
    ) -> None:
        error = error_of(alice_api.post(path, {**ACCOUNT, "base_url": address}), 400)
        assert list(error["details"]) == ["base_url"]
        data_of(alice_api.post(path, ACCOUNT), 201)

    def test_it_asks_for_what_a_vendor_needs(self, alice_api: APIClient, path: str) -> None:
        own = {"name": "M", "vendor": "openai_compatible"}
        assert list(error_of(alice_api.post(path, own), 400)["details"]) == ["base_url"]
        keyless = {"name": "M", "vendor": "openai"}
        assert list(error_of(alice_api.post(path, keyless), 400)["details"]) == ["api_key"]
        masked = {**keyless, "api_key": f"{MASK}1234"}
        assert list(error_of(alice_api.post(path, masked), 400)["details"]) == ["api_key"]
        missing = error_of(alice_api.post(path, {}), 400)["details"]
        assert set(missing) == {"name", "vendor"}

    def test_it_needs_the_scope(
        self, alice: User, alice_api: APIClient, path: str, make_client: Any
    ) -> None:
        assert error_of(make_client(alice, ["voice"]).get(path), 403)["code"] == "FORBIDDEN"
        data_of(make_client(alice, ["manage"]).get(path))

    def test_it_lists_with_the_same_queries_however_many_rows(
        self, alice_api: APIClient, alice: User, path: str, count_queries: Any
    ) -> None:
        model = {"/api/v1/llm": Llm, "/api/v1/asr": Asr, "/api/v1/voices": Voice}[path]
        provider = Provider.objects.create(name="p", vendor="openai")
        alice_api.get(path)

        def add() -> None:
            model.objects.create(name="m", vendor="openai", owner=alice, provider=provider)

        add()
        few = count_queries(lambda: alice_api.get(path))
        for _number in range(5):
            add()
        assert count_queries(lambda: alice_api.get(path)) == few
