"""What a conversation gets to know of an assistant."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from assistants.actions import create_demo_assistant
from assistants.models import Assistant, OpenerAudio
from assistants.opener import opener_hash
from assistants.runtime import PASSAGE_TOKENS, KnowledgeUse, load_runtime
from core.errors import NotFound
from knowledge.models import KnowledgeBase
from providers.models import Asr, Llm, Provider, Voice
from providers.types import BrainKind, BrainSpec
from tooling.models import Tool

pytestmark = pytest.mark.django_db


def test_it_makes_two_examples_that_everybody_sees_and_only_once() -> None:
    first, second = create_demo_assistant(), create_demo_assistant()
    assert [row.pk for row in first] == [row.pk for row in second] == ["demo", "demo-zh"]
    assert Assistant.objects.filter(owner=None).count() == 2


def test_it_gives_the_english_example_everything_it_needs_offline() -> None:
    create_demo_assistant()
    runtime = load_runtime("demo")
    assert runtime.llm is not None
    assert runtime.llm.endpoint.model_name == "demo"
    assert runtime.recogniser is not None
    assert runtime.recogniser.endpoint.model_name == "pocketsphinx"
    assert runtime.voice is not None
    assert runtime.voice.voice_key == "en-us"
    assert [tool.id for tool in runtime.tools] == ["calculator", "current_time"]
    assert {tool.executor for tool in runtime.tools} == {"server"}
    assert runtime.opener.startswith("Hello")


def test_it_speaks_chinese_to_the_model_about_tools_of_a_chinese_assistant() -> None:
    create_demo_assistant()
    runtime = load_runtime("demo-zh")
    assert runtime.voice is not None
    assert runtime.voice.voice_key == "cmn"
    assert runtime.recogniser is None
    assert runtime.tools[0].description == "执行数学计算"


def test_it_prefers_own_models_then_real_ones_then_the_built_in(alice: User) -> None:
    assistant = Assistant.objects.create(name="a", owner=alice, language="en")
    assert _llm_name(assistant) == "demo"
    Llm.objects.create(name="shared", vendor="openai", model_name="gpt-shared")
    assert _llm_name(assistant) == "gpt-shared"
    own = Llm.objects.create(name="own", vendor="openai", model_name="gpt-own", owner=alice)
    assert _llm_name(assistant) == "gpt-own"
    Llm.objects.filter(pk=own.pk).update(is_enabled=False)
    assert _llm_name(assistant) == "gpt-shared"


def test_it_never_takes_somebody_elses_model_as_default(alice: User, bob: User) -> None:
    assistant = Assistant.objects.create(name="a", owner=alice, language="en")
    Llm.objects.create(name="bobs", vendor="openai", model_name="gpt-bob", owner=bob)
    Asr.objects.create(name="bobs", vendor="openai", model_name="whisper", owner=bob)
    assert _llm_name(assistant) == "demo"
    recogniser = load_runtime(assistant.pk).recogniser
    assert recogniser is not None
    assert recogniser.endpoint.model_name == "pocketsphinx"


def test_it_replaces_a_chosen_model_that_was_disabled(alice: User) -> None:
    chosen = Llm.objects.create(name="own", vendor="openai", model_name="gpt-own", owner=alice)
    assistant = Assistant.objects.create(name="a", owner=alice, llm=chosen)
    assert _llm_name(assistant) == "gpt-own"
    Llm.objects.filter(pk=chosen.pk).update(is_enabled=False)
    assert _llm_name(assistant) == "demo"


def test_it_fills_in_address_and_key_of_the_provider(alice: User) -> None:
    provider = Provider.objects.create(
        name="p", vendor="openai", base_url="https://llm.example/v1", api_key="sk-provider"
    )
    llm = Llm.objects.create(name="m", vendor="openai", provider=provider, owner=alice)
    assistant = Assistant.objects.create(name="a", owner=alice, llm=llm)
    assert _endpoint(assistant) == ("https://llm.example/v1", "sk-provider")


def test_it_never_sends_the_systems_key_to_an_address_of_a_user(alice: User) -> None:
    provider = Provider.objects.create(name="p", vendor="openai", api_key="sk-provider")
    values: dict[str, Any] = {"vendor": "openai", "provider": provider}
    address = "https://elsewhere.example/v1"
    system = Llm.objects.create(name="s", base_url=address, **values)
    own = Llm.objects.create(name="m", base_url=address, owner=alice, **values)
    shared = Assistant.objects.create(name="a", owner=alice, llm=system)
    private = Assistant.objects.create(name="b", owner=alice, llm=own)
    assert _endpoint(shared) == (address, "sk-provider")
    assert _endpoint(private) == (address, "")


def test_it_adds_the_assistants_hotwords_and_multiplies_the_speeds(alice: User) -> None:
    asr = Asr.objects.create(name="r", vendor="openai", owner=alice, hotwords=["Anna", "Bert"])
    voice = Voice.objects.create(name="v", vendor="openai", owner=alice, speed=1.5)
    assistant = Assistant.objects.create(
        name="a", owner=alice, asr=asr, voice=voice, hotwords=["Bert", "Cleo"], speed=1.2
    )
    runtime = load_runtime(assistant.pk)
    assert runtime.recogniser is not None
    assert runtime.voice is not None
    assert runtime.recogniser.hotwords == ("Anna", "Bert", "Cleo")
    assert runtime.voice.speed == pytest.approx(1.8)


def test_it_leaves_out_disabled_tools(alice: User) -> None:
    assistant = Assistant.objects.create(name="a", owner=alice)
    assistant.tools.set(Tool.objects.filter(pk__in=["calculator", "search"]))
    Tool.objects.filter(pk="search").update(is_enabled=False)
    assert [tool.id for tool in load_runtime(assistant.pk).tools] == ["calculator"]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([{"toolName": "calculator", "arguments": {"expression": "1"}}], ["calculator"]),
        ([{"toolName": "search", "arguments": {"query": "x"}}], []),
        (["calculator", {"toolName": 5}], []),
        ({"toolName": "calculator"}, []),
    ],
)
def test_it_makes_only_opener_calls_that_are_possible(
    alice: User, stored: Any, expected: list[str]
) -> None:
    assistant = Assistant.objects.create(owner=alice, name="a", manual_opener_tool_calls=stored)
    assistant.set_tools(["calculator", "search"])
    Tool.objects.filter(pk="search").update(is_enabled=False)
    calls = load_runtime(assistant.pk).opener_tool_calls
    assert [call.tool_name for call in calls] == expected


def test_it_uses_prepared_audio_only_while_it_says_the_opener(alice: User) -> None:
    assistant = Assistant.objects.create(
        name="a", owner=alice, language="en", opener="Hello.", opener_audio_enabled=True
    )
    voice = load_runtime(assistant.pk).voice
    assert voice is not None
    OpenerAudio.objects.create(
        assistant=assistant, text_hash=opener_hash("Hello.", voice), pcm=b"\1\0", duration_ms=1
    )
    assert load_runtime(assistant.pk).opener_pcm == b"\1\0"
    Assistant.objects.filter(pk=assistant.pk).update(speed=1.1)
    assert load_runtime(assistant.pk).opener_pcm is None
    Assistant.objects.filter(pk=assistant.pk).update(speed=1.0, opener="Hi.")
    assert load_runtime(assistant.pk).opener_pcm is None


@pytest.mark.parametrize("mode", ["dify", "fastgpt"])
def test_another_service_stands_in_for_the_model(alice: User, mode: BrainKind) -> None:
    default = Llm.objects.create(name="b", model_name="m", vendor="builtin")
    assistant = Assistant.objects.create(
        name="a",
        owner=alice,
        llm=default,
        config_mode=mode,
        api_url="https://brain.example/v1",
        api_key="brain-key",
    )
    runtime = load_runtime(assistant.pk)
    assert runtime.llm is None
    assert runtime.brain == BrainSpec(mode, "https://brain.example/v1", "brain-key")
    assert "brain-key" not in repr(runtime)
    Assistant.objects.filter(pk=assistant.pk).update(config_mode="platform")
    runtime = load_runtime(assistant.pk)
    assert (runtime.brain, runtime.llm is not None) == (None, True)


def test_it_needs_few_queries(alice: User, django_assert_max_num_queries: Any) -> None:
    create_demo_assistant()
    with django_assert_max_num_queries(8):
        load_runtime("demo")


def test_it_does_not_find_an_unknown_assistant() -> None:
    with pytest.raises(NotFound) as caught:
        load_runtime("nobody")
    assert caught.value.error_code == "ASSISTANT_NOT_FOUND"


def _llm_name(assistant: Assistant) -> str:
    llm = load_runtime(assistant.pk).llm
    return llm.endpoint.model_name if llm else ""


def _endpoint(assistant: Assistant) -> tuple[str, str]:
    llm = load_runtime(assistant.pk).llm
    assert llm is not None
    return llm.endpoint.base_url, llm.endpoint.api_key


# --- knowledge -----------------------------------------------------------------------------------


def _with_base(owner: User | None, base_owner: User | None, **fields: Any) -> Assistant:
    assistant = Assistant.objects.create(name="a", owner=owner, language="en", **fields)
    base = KnowledgeBase.objects.create(name="Prices", owner=base_owner)
    assistant.set_knowledge_bases([base.pk])
    return assistant


def test_it_says_how_knowledge_is_used(alice: User) -> None:
    row = _with_base(alice, alice, knowledge_mode="tool", knowledge_limit=7, knowledge_min_score=0)
    use = load_runtime(row.pk).knowledge
    assert use is not None
    assert use.base_ids == tuple(row.knowledge_bases.values_list("pk", flat=True))
    assert [base.name for base in use.bases] == ["Prices"]
    assert (use.mode, use.limit, use.min_score, use.reranker) == ("tool", 7, 0, None)


def test_without_bases_there_is_no_knowledge(alice: User) -> None:
    assert load_runtime(Assistant.objects.create(name="a", owner=alice).pk).knowledge is None


def test_passages_leave_a_small_model_room(alice: User) -> None:
    row = _with_base(alice, alice)
    for context_length, budget in ((None, PASSAGE_TOKENS), (4000, 1000), (100_000, PASSAGE_TOKENS)):
        row.llm = Llm.objects.create(name="m", vendor="openai", context_length=context_length)
        row.save()
        assert _use(row).token_budget == budget


def test_only_a_reranker_that_was_chosen_and_works_is_used(alice: User) -> None:
    row = _with_base(alice, alice)
    chosen = Llm.objects.create(name="r", vendor="openai", type="rerank", owner=alice)
    assert _use(row).reranker is None
    row.reranker = chosen
    row.save()
    spec = _use(row).reranker
    assert spec is not None
    assert spec.endpoint.row_id == chosen.pk
    Llm.objects.filter(pk=chosen.pk).update(is_enabled=False)
    assert _use(row).reranker is None


def test_an_assistant_has_only_the_knowledge_that_its_owner_may_see(
    alice: User, bob: User, carol: User
) -> None:
    for owner, base_owner, may_see in (
        (alice, alice, True),
        (alice, None, True),
        (alice, bob, False),
        (carol, bob, True),
        (None, bob, True),
    ):
        assert (load_runtime(_with_base(owner, base_owner).pk).knowledge is not None) == may_see


def _use(row: Assistant) -> KnowledgeUse:
    use = load_runtime(row.pk).knowledge
    assert use is not None
    return use
