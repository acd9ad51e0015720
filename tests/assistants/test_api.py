"""`/assistants` of the platform family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.actions import create_demo_assistant
from assistants.models import Assistant, OpenerAudio
from conversations.models import Conversation
from core.crypto import MASK
from knowledge.models import KnowledgeBase
from providers.models import Asr, Llm, Voice
from tests.rest import PlatformResourceCases, data_of, error_of

pytestmark = pytest.mark.django_db

PATH = "/api/v1/assistants"
KEY = "app-secret-key-1234"


class TestAssistants(PlatformResourceCases):
    path = PATH
    not_found_code = "ASSISTANT_NOT_FOUND"
    create_data: ClassVar = {"name": "Anna", "prompt": "You are Anna."}
    update_data: ClassVar = {
        "name": "Berta",
        "firstTurnMode": "user_first",
        "voiceOutputEnabled": False,
        "speed": 1.5,
        "hotwords": ["Zoe"],
        "interruptionSensitivity": 300,
        "endOfTurnSilenceMs": 800,
        "isPublic": True,
    }

    def make(self, owner: User) -> Assistant:
        return Assistant.objects.create(owner=owner, name="Anna")


def test_it_makes_an_assistant_from_a_name_alone(alice_api: APIClient, alice: User) -> None:
    made = data_of(alice_api.post(PATH, {"name": "Anna"}), 201)
    assert made.pop("id")
    assert made.pop("created_at")
    assert made.pop("updated_at")
    assert made == {
        "name": "Anna",
        "description": "",
        "logoUrl": "",
        "enableMemory": False,
        "prompt": "",
        "firstTurnMode": "bot_first",
        "opener": "",
        "generatedOpenerEnabled": False,
        "manualOpenerToolCalls": [],
        "openerAudioEnabled": False,
        "openerAudioReady": False,
        "openerAudioDurationMs": 0,
        "openerAudioError": "",
        "knowledgeBaseId": None,
        "knowledgeBaseIds": [],
        "knowledgeMode": "before",
        "knowledgeLimit": 5,
        "knowledgeMinScore": 0.3,
        "mcpServerIds": [],
        "language": "zh",
        "voiceOutputEnabled": True,
        "voice": None,
        "speed": 1.0,
        "hotwords": [],
        "tools": [],
        "botCannotBeInterrupted": False,
        "interruptionSensitivity": 500,
        "endOfTurnSilenceMs": 500,
        "asrInterimEnabled": False,
        "configMode": "platform",
        "apiUrl": "",
        "apiKey": "",
        "llmModelId": None,
        "asrModelId": None,
        "embeddingModelId": None,
        "rerankModelId": None,
        "isPublic": False,
        "allowedOrigins": [],
        "callCount": 0,
        "user_id": alice.pk,
        "warnings": [],
    }


def full(alice: User) -> dict[str, Any]:
    """Every writable field, with rows of alice behind the ids."""
    common: dict[str, Any] = {"owner": alice, "name": "m", "vendor": "openai"}
    base = KnowledgeBase.objects.create(owner=alice, name="kb")
    return {
        "name": "Anna",
        "prompt": "  You are Anna.\n",
        "firstTurnMode": "user_first",
        "opener": "Hello {{name}}",
        "generatedOpenerEnabled": False,
        "manualOpenerToolCalls": [{"toolName": "calculator", "arguments": {"expression": "1+1"}}],
        "openerAudioEnabled": False,
        "knowledgeBaseId": base.pk,
        "knowledgeBaseIds": [base.pk],
        "knowledgeMode": "tool",
        "knowledgeLimit": 8,
        "knowledgeMinScore": 0.5,
        "mcpServerIds": [],
        "language": "en",
        "voiceOutputEnabled": False,
        "voice": Voice.objects.create(**common).pk,
        "speed": 0.5,
        "hotwords": ["Zoe", "安娜"],
        "tools": ["voice_choice_prompt", "calculator"],
        "botCannotBeInterrupted": True,
        "interruptionSensitivity": 200,
        "endOfTurnSilenceMs": 3000,
        "asrInterimEnabled": True,
        "configMode": "fastgpt",
        "apiUrl": "https://fastgpt.example/api/v1",
        "llmModelId": Llm.objects.create(**common).pk,
        "asrModelId": Asr.objects.create(**common).pk,
        "embeddingModelId": Llm.objects.create(type="embedding", **common).pk,
        "rerankModelId": Llm.objects.create(type="rerank", **common).pk,
        "isPublic": True,
        "allowedOrigins": ["https://shop.example", "http://localhost:3000"],
    }


def test_it_keeps_every_field(alice_api: APIClient, alice: User) -> None:
    sent = full(alice)
    made = data_of(alice_api.post(PATH, {**sent, "apiKey": KEY}), 201)
    shown = data_of(alice_api.get(f"{PATH}/{made['id']}"))
    assert {name: shown[name] for name in sent} == sent
    assert shown["apiKey"] == f"{MASK}1234"
    assert made["warnings"] == []


def test_it_understands_snake_case_too(alice_api: APIClient, alice: User) -> None:
    from core.casing import to_snake

    sent = full(alice)
    made = data_of(alice_api.post(PATH, {to_snake(name): sent[name] for name in sent}), 201)
    assert {name: made[name] for name in sent} == sent


def test_it_takes_back_what_it_gave(alice_api: APIClient, alice: User) -> None:
    made = data_of(alice_api.post(PATH, {**full(alice), "apiKey": KEY}), 201)
    again = data_of(alice_api.put(f"{PATH}/{made['id']}", made))
    assert {**again, "updated_at": ""} == {**made, "updated_at": ""}
    assert Assistant.objects.get(pk=made["id"]).api_key == KEY


def test_it_never_shows_the_key(alice_api: APIClient) -> None:
    made = alice_api.post(PATH, {"name": "Anna", "apiKey": KEY})
    url = f"{PATH}/{data_of(made, 201)['id']}"
    for answer in (made, alice_api.get(PATH), alice_api.get(url), alice_api.get(f"{url}/config")):
        assert answer.status_code in (200, 201)
        assert KEY not in answer.content.decode()


REFERENCES = {
    "llmModelId": (Llm, {}),
    "embeddingModelId": (Llm, {"type": "embedding"}),
    "rerankModelId": (Llm, {"type": "rerank"}),
    "asrModelId": (Asr, {}),
    "voice": (Voice, {}),
}


@pytest.mark.parametrize("field", REFERENCES)
class TestModelsOfAnAssistant:
    def row(self, field: str, owner: User | None) -> Any:
        model, more = REFERENCES[field]
        return model.objects.create(owner=owner, name="m", vendor="openai", **more)

    def test_it_takes_own_and_system_rows_and_none(
        self, alice_api: APIClient, alice: User, field: str
    ) -> None:
        for row_id in (self.row(field, alice).pk, self.row(field, None).pk, None):
            made = data_of(alice_api.post(PATH, {"name": "a", field: row_id}), 201)
            assert made[field] == row_id
        assert data_of(alice_api.post(PATH, {"name": "a", field: ""}), 201)[field] is None

    def test_it_answers_a_foreign_row_like_an_unknown_one(
        self, alice_api: APIClient, bob_api: APIClient, alice: User, field: str
    ) -> None:
        body = {"name": "a", field: self.row(field, alice).pk}
        data_of(alice_api.post(PATH, body), 201)
        foreign = bob_api.post(PATH, body)
        unknown = bob_api.post(PATH, {"name": "a", field: "000000000000"})
        assert list(error_of(foreign, 400)["details"]) == [field]
        assert foreign.json() == unknown.json()

    def test_it_refuses_it_on_update_too(
        self, bob_api: APIClient, alice: User, bob: User, field: str
    ) -> None:
        url = f"{PATH}/{Assistant.objects.create(owner=bob, name='b').pk}"
        foreign = bob_api.patch(url, {field: self.row(field, alice).pk})
        assert list(error_of(foreign, 400)["details"]) == [field]
        own = self.row(field, bob).pk
        assert data_of(bob_api.patch(url, {field: own}))[field] == own


def test_it_takes_no_model_of_another_kind(alice_api: APIClient, alice: User) -> None:
    text = Llm.objects.create(owner=alice, name="m", vendor="openai")
    error = error_of(alice_api.post(PATH, {"name": "a", "embeddingModelId": text.pk}), 400)
    assert list(error["details"]) == ["embeddingModelId"]
    data_of(alice_api.post(PATH, {"name": "a", "llmModelId": text.pk}), 201)


def test_it_says_everything_that_is_wrong_at_once(alice_api: APIClient) -> None:
    body = {
        "name": "a",
        "llmModelId": "x",
        "voice": "x",
        "tools": ["calculator", "teleport"],
        "knowledgeBaseIds": ["x"],
        "mcpServerIds": ["x"],
        "apiUrl": "nowhere",
        "allowedOrigins": ["https://ok.example", "https://shop.example/path"],
    }
    error = error_of(alice_api.post(PATH, body), 400)
    assert error["code"] == "VALIDATION_ERROR"
    assert set(error["details"]) == set(body) - {"name"}
    assert error["details"]["tools"] == ["Unknown tool: teleport."]
    assert Assistant.objects.count() == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 101),
        ("prompt", None),
        ("language", "fr"),
        ("firstTurnMode", "nobody_first"),
        ("configMode", "magic"),
        ("speed", 0.4),
        ("speed", 2.1),
        ("interruptionSensitivity", -1),
        ("interruptionSensitivity", 10**12),
        ("endOfTurnSilenceMs", 99),
        ("endOfTurnSilenceMs", 3001),
        ("hotwords", "Zoe"),
        ("hotwords", [""]),
        ("tools", "calculator"),
        ("tools", [{}]),
        ("manualOpenerToolCalls", {}),
        ("voiceOutputEnabled", "perhaps"),
        ("knowledgeBaseId", ["x"]),
        ("knowledgeMode", "after"),
        ("knowledgeLimit", 0),
        ("knowledgeLimit", 21),
        ("knowledgeMinScore", -0.1),
        ("knowledgeMinScore", 1.1),
    ],
)
def test_it_refuses_wrong_values(alice_api: APIClient, field: str, value: Any) -> None:
    details = error_of(alice_api.post(PATH, {"name": "a", field: value}), 400)["details"]
    assert [name.split(".")[0] for name in details] == [field]
    data_of(alice_api.post(PATH, {"name": "a"}), 201)


def test_it_refuses_a_brain_that_cannot_answer(alice_api: APIClient) -> None:
    address = {"apiUrl": "https://brain.example/api/v1"}
    made = data_of(alice_api.post(PATH, {"name": "a"}), 201)
    for body, field in (
        ({"configMode": "dify"}, "apiUrl"),
        ({"configMode": "fastgpt"}, "apiUrl"),
    ):
        refusals = [
            alice_api.post(PATH, {"name": "b", **body}),
            alice_api.patch(f"{PATH}/{made['id']}", body),
        ]
        for refused in refusals:
            assert list(error_of(refused, 400)["details"]) == [field]
    for mode in ("dify", "fastgpt", "none", "platform"):
        body = {"configMode": mode, **address}
        assert data_of(alice_api.patch(f"{PATH}/{made['id']}", body))["configMode"] == mode


def test_it_searches_name_and_prompt(alice_api: APIClient, alice: User) -> None:
    by_name = Assistant.objects.create(owner=alice, name="Order desk")
    by_prompt = Assistant.objects.create(owner=alice, name="b", prompt="You take ORDERS.")
    Assistant.objects.create(owner=alice, name="c")
    page = data_of(alice_api.get(f"{PATH}?keyword=order"))
    assert {item["id"] for item in page["items"]} == {by_name.pk, by_prompt.pk}
    assert page["total"] == 2


def test_it_shows_the_examples_to_everybody_and_lets_nobody_break_them(
    alice_api: APIClient, carol_api: APIClient
) -> None:
    create_demo_assistant()
    items = data_of(alice_api.get(PATH))["items"]
    assert {item["id"] for item in items} == {"demo", "demo-zh"}
    assert {item["user_id"] for item in items} == {None}
    refused: list[Callable[[], Any]] = [
        lambda: alice_api.patch(f"{PATH}/demo", {"name": "x"}),
        lambda: alice_api.delete(f"{PATH}/demo"),
        lambda: alice_api.post(f"{PATH}/demo/opener-audio/generate"),
    ]
    for call in refused:
        assert error_of(call(), 403)["code"] == "FORBIDDEN"
    assert data_of(carol_api.patch(f"{PATH}/demo", {"name": "x"}))["name"] == "x"


def test_it_lists_with_the_same_queries_however_many_assistants(
    alice_api: APIClient, alice: User, count_queries: Callable[[Callable[[], object]], int]
) -> None:
    sent = {**full(alice), "openerAudioEnabled": True, "opener": "Hello"}

    def add() -> None:
        row_id = data_of(alice_api.post(PATH, sent), 201)["id"]
        OpenerAudio.objects.create(assistant_id=row_id, voice_id=sent["voice"], text_hash="x")

    add()
    few = count_queries(lambda: alice_api.get(PATH))
    for _number in range(4):
        add()
    assert count_queries(lambda: alice_api.get(PATH)) == few


class TestTools:
    def test_it_keeps_the_order_and_drops_repetitions(self, alice_api: APIClient) -> None:
        tools = ["weather", "calculator", "voice_message_prompt", "weather", "voice_msg_prompt"]
        made = data_of(alice_api.post(PATH, {"name": "a", "tools": tools}), 201)
        assert made["tools"] == ["weather", "calculator", "voice_msg_prompt"]

    def test_it_changes_tools_only_when_they_are_sent(self, alice_api: APIClient) -> None:
        made = data_of(alice_api.post(PATH, {"name": "a", "tools": ["weather"]}), 201)
        url = f"{PATH}/{made['id']}"
        assert data_of(alice_api.patch(url, {"name": "b"}))["tools"] == ["weather"]
        assert data_of(alice_api.patch(url, {"tools": []}))["tools"] == []

    def test_it_drops_opener_calls_that_it_cannot_make(self, alice_api: APIClient) -> None:
        calls = [
            {"toolName": "voice_message_prompt", "arguments": {"msg": "Hi"}},
            {"tool_name": "calculator", "arguments": '{"expression": "1"}'},
            {"toolName": "weather", "arguments": {}},
            {"toolName": "calculator", "arguments": "no json"},
            {"arguments": {}},
        ]
        body = {
            "name": "a",
            "tools": ["voice_msg_prompt", "calculator"],
            "manualOpenerToolCalls": calls,
        }
        made = data_of(alice_api.post(PATH, body), 201)
        assert made["manualOpenerToolCalls"] == [
            {"toolName": "voice_msg_prompt", "arguments": {"msg": "Hi"}},
            {"toolName": "calculator", "arguments": {"expression": "1"}},
        ]
        assert len(made["warnings"]) == 3

    def test_it_keeps_at_most_eight_opener_calls(self, alice_api: APIClient) -> None:
        call = {"toolName": "calculator", "arguments": {"expression": "1"}}
        body = {"name": "a", "tools": ["calculator"], "manualOpenerToolCalls": [call] * 9}
        made = data_of(alice_api.post(PATH, body), 201)
        assert len(made["manualOpenerToolCalls"]) == 8
        assert len(made["warnings"]) == 1

    def test_it_drops_opener_calls_of_a_tool_that_is_taken_away(self, alice_api: APIClient) -> None:
        call = {"toolName": "calculator", "arguments": {"expression": "1"}}
        body = {"name": "a", "tools": ["calculator"], "manualOpenerToolCalls": [call]}
        made = data_of(alice_api.post(PATH, body), 201)
        changed = data_of(alice_api.patch(f"{PATH}/{made['id']}", {"tools": ["weather"]}))
        assert changed["manualOpenerToolCalls"] == []
        assert len(changed["warnings"]) == 1


class TestKnowledge:
    def test_it_takes_one_or_several(self, alice_api: APIClient, alice: User) -> None:
        first, second = (
            KnowledgeBase.objects.create(owner=alice, name=name).pk for name in ("z", "a")
        )
        several = {"name": "a", "knowledgeBaseIds": [first, second]}
        made = data_of(alice_api.post(PATH, several), 201)
        assert (made["knowledgeBaseId"], made["knowledgeBaseIds"]) == (first, [first, second])
        url = f"{PATH}/{made['id']}"
        one = data_of(alice_api.patch(url, {"knowledgeBaseId": second}))
        assert (one["knowledgeBaseId"], one["knowledgeBaseIds"]) == (second, [second])
        none = data_of(alice_api.patch(url, {"knowledgeBaseId": None}))
        assert (none["knowledgeBaseId"], none["knowledgeBaseIds"]) == (None, [])

    def test_it_answers_a_foreign_one_like_an_unknown_one(
        self, alice_api: APIClient, bob_api: APIClient, alice: User
    ) -> None:
        base = KnowledgeBase.objects.create(owner=alice, name="kb")
        body = {"name": "a", "knowledgeBaseId": base.pk}
        data_of(alice_api.post(PATH, body), 201)
        error = error_of(bob_api.post(PATH, body), 400)
        assert list(error["details"]) == ["knowledgeBaseId"]
        unknown = error_of(bob_api.post(PATH, {**body, "knowledgeBaseId": "x" * 12}), 400)
        assert (
            error["details"]["knowledgeBaseId"][0].replace(base.pk, "x" * 12)
            == (unknown["details"]["knowledgeBaseId"][0])
        )

    def test_an_operator_gives_nobody_what_the_owner_may_not_see(
        self, carol_api: APIClient, alice: User, bob: User
    ) -> None:
        url = f"{PATH}/{Assistant.objects.create(owner=alice, name='a').pk}"
        own, foreign = (
            KnowledgeBase.objects.create(owner=owner, name="kb").pk for owner in (alice, bob)
        )
        data_of(carol_api.patch(url, {"knowledgeBaseId": own}))
        error = error_of(carol_api.patch(url, {"knowledgeBaseId": foreign}), 400)
        assert list(error["details"]) == ["knowledgeBaseId"]

    def test_it_takes_both_cases_and_shows_the_use_in_the_config(
        self, alice_api: APIClient, alice: User
    ) -> None:
        base = KnowledgeBase.objects.create(owner=alice, name="kb")
        body = {"name": "a", "knowledge_mode": "tool", "knowledge_limit": 3}
        made = data_of(alice_api.post(PATH, {**body, "knowledge_min_score": 0.5}), 201)
        assert (made["knowledgeMode"], made["knowledgeLimit"]) == ("tool", 3)
        url = f"{PATH}/{made['id']}"
        config = data_of(alice_api.get(f"{url}/config"))
        assert (config["knowledge"], config["knowledgeBaseIds"]) == (None, [])
        data_of(alice_api.patch(url, {"knowledgeBaseId": base.pk}))
        config = data_of(alice_api.get(f"{url}/config"))
        assert config["knowledgeBaseIds"] == [base.pk]
        assert config["knowledge"] == {
            "mode": "tool",
            "limit": 3,
            "minScore": 0.5,
            "rerankModelId": None,
        }


class TestConfig:
    def test_it_resolves_the_defaults(self, alice_api: APIClient) -> None:
        create_demo_assistant()
        config = data_of(alice_api.get(f"{PATH}/demo/config"))
        assert config["llm"]["modelName"] == "demo"
        assert config["asr"]["vendor"] == "builtin"
        assert config["voice"]["voiceKey"] == "en-us"
        assert config["output"] == {"mode": "audio"}
        assert [tool["id"] for tool in config["tools"]] == ["calculator", "current_time"]
        assert config["problems"] == []

    def test_it_says_what_a_call_would_lack(self, alice_api: APIClient) -> None:
        create_demo_assistant()
        config = data_of(alice_api.get(f"{PATH}/demo-zh/config"))
        assert config["asr"] is None
        assert len(config["problems"]) == 1

    def test_it_holds_no_secret_and_no_address(self, alice_api: APIClient, alice: User) -> None:
        llm = Llm.objects.create(
            name="m", vendor="openai", api_key=KEY, base_url="https://inner.example/v1"
        )
        row = Assistant.objects.create(owner=alice, name="a", llm=llm, api_key=KEY)
        text = alice_api.get(f"{PATH}/{row.pk}/config").content.decode()
        assert llm.pk in text
        assert KEY not in text
        assert "inner.example" not in text

    def test_it_is_hidden_from_others(
        self, alice_api: APIClient, bob_api: APIClient, alice: User
    ) -> None:
        url = f"{PATH}/{Assistant.objects.create(owner=alice, name='a').pk}/config"
        data_of(alice_api.get(url))
        assert error_of(bob_api.get(url), 404)["code"] == "ASSISTANT_NOT_FOUND"


def test_it_keeps_the_history_of_a_deleted_assistant(alice_api: APIClient, alice: User) -> None:
    row = Assistant.objects.create(owner=alice, name="a")
    conversation = Conversation.objects.create(
        owner=alice, assistant=row, assistant_key=row.pk, assistant_name="a", channel="voice"
    )
    data_of(alice_api.delete(f"{PATH}/{row.pk}"))
    conversation.refresh_from_db()
    assert (conversation.assistant, conversation.assistant_key) == (None, row.pk)


def test_it_overwrites_no_count_of_calls_that_end_meanwhile(alice: User) -> None:
    from accounts.principals import principal_for_user
    from assistants.actions import save_assistant

    row = Assistant.objects.create(owner=alice, name="a")
    Assistant.objects.filter(pk=row.pk).update(call_count=7)
    save_assistant(principal_for_user(alice), row, {"name": "b"})
    row.refresh_from_db()
    assert (row.name, row.call_count) == ("b", 7)
