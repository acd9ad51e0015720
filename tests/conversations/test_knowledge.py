"""Turns of assistants that have knowledge: real searches on the real database."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
from django.db import InterfaceError, OperationalError

from accounts.models import User
from assistants.models import Assistant
from assistants.runtime import AssistantRuntime, load_runtime
from conversations import history, lookup, searches, turn
from conversations.encoding import Turn, collect
from conversations.events import Cited, TextDelta, ToolCalled, ToolReturned, TurnEvent
from conversations.journal import flush, open_call
from conversations.models import Message
from conversations.turn import TurnRequest, run_turn
from core.db import in_db
from knowledge.models import KnowledgeBase, SearchRecord
from knowledge.search import record_search
from knowledge.types import SearchOutcome, SearchRequest, SearchTimings
from providers.fakes import FakeUpstream, Step
from providers.fakes.upstream import embedding
from providers.models import Llm
from providers.passages import Passage, find_passages, render_passages
from providers.tokens import estimate_tokens
from providers.types import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from tests.conversations.library import HANDBOOK, librarian, museum, shelve
from tests.conversations.scripted import LLM, ScriptedModel, call, calls, says, tool
from tests.knowledge.corpus import add_document, make_embedder, make_space
from tests.upstream import reranker_spec
from tooling.types import HttpTarget

pytestmark = pytest.mark.django_db(transaction=True)

Script = Callable[..., ScriptedModel]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    def play(*scripts: Any, **options: Any) -> ScriptedModel:
        model = ScriptedModel(scripts or (says("ok"),), **options)
        monkeypatch.setattr(turn, "chat_model", lambda spec: model)
        return model

    return play


def runtime_for(owner: User | None, *bases: KnowledgeBase, **fields: Any) -> AssistantRuntime:
    if not bases:
        assert owner is not None
        bases = (museum(owner),)
    runtime = load_runtime(librarian(owner, *bases, **fields).pk)
    return dataclasses.replace(runtime, llm=LLM, tools=())


def asked(text: str, *before: str) -> TurnRequest:
    said = tuple(m for text in before for m in (UserMessage(text), AssistantMessage("Well.")))
    return TurnRequest(turn=1, text=text, history=said, variables={})


def events_of(request: TurnRequest, runtime: AssistantRuntime) -> list[TurnEvent]:
    async def run() -> list[TurnEvent]:
        async with aclosing(run_turn(request, runtime)) as events:
            seen = [event async for event in events]
        await searches.flush()
        return seen

    return asyncio.run(run())


def answer(request: TurnRequest, runtime: AssistantRuntime) -> Turn:
    async def collected() -> Turn:
        async with aclosing(run_turn(request, runtime)) as events:
            reply = await collect(events)
        await searches.flush()
        return reply

    return asyncio.run(collected())


def sources(reply: Turn) -> list[tuple[str, str]]:
    return [(citation.document, citation.text[:12]) for citation in reply.citations]


# --- before the answer ---------------------------------------------------------------------------


def test_it_puts_what_it_found_before_the_model_and_says_so_first(
    script: Script, alice: User
) -> None:
    model = script(says("At nine. [1]"))
    base = museum(alice)
    runtime = dataclasses.replace(runtime_for(alice, base), prompt="You are Ada, {{system_time}}.")
    events = events_of(asked("When does the museum open?"), runtime)
    cited = next(event for event in events if isinstance(event, Cited))
    assert events.index(cited) < min(
        at for at, event in enumerate(events) if isinstance(event, TextDelta)
    )
    first = cited.citations[0]
    assert (first.index, first.document, first.page, first.text) == (
        *(1, "Handbook.pdf", 1),
        HANDBOOK[1],
    )
    assert first.knowledge_base_id == base.pk
    assert first.score is not None
    system = model.requests[0].messages[0]
    assert isinstance(system, SystemMessage)
    assert system.text.startswith("You are Ada, 2")
    assert "such as [1]" in system.text
    shown = find_passages(system.text)
    assert [passage.text for passage in shown] == [each.text for each in cited.citations]
    assert shown[0].source == "Handbook.pdf, p. 1"
    assert model.requests[0].tools == ()


@pytest.mark.parametrize(
    ("question", "source"),
    [
        ("When does the museum open?", ("Handbook.pdf", "Opening hour")),
        ("How much is a coffee?", ("Handbook.pdf", "The café on ")),
        ("What does ERR-4711 mean?", ("Handbook.pdf", "Error ERR-47")),
        ("博物馆几点开门？", ("手册.pdf", "开放时间：博物馆周二至周")),
        ("咖啡多少钱？", ("手册.pdf", "二楼的咖啡厅供应咖啡、茶")),
        ("学生票多少钱？", ("手册.pdf", "票价：成人票十二欧元，学")),
        # In other words than the document's.
        ("What do students pay to get in?", ("Handbook.pdf", "Admission co")),
        ("Can I bring my dog?", ("Handbook.pdf", "The café on ")),
        ("可以带狗吗？", ("手册.pdf", "二楼的咖啡厅供应咖啡、茶")),
        ("狗能进去吗？", ("手册.pdf", "二楼的咖啡厅供应咖啡、茶")),
    ],
)
def test_a_question_about_a_document_cites_it(
    script: Script, alice: User, question: str, source: tuple[str, str]
) -> None:
    script()
    assert sources(answer(asked(question), runtime_for(alice)))[0] == source


@pytest.mark.parametrize(
    ("question", "start"),
    [
        ("How much is the entrance fee for students?", "Admission"),
        ("What does a ticket cost for a child?", "Admission"),
        ("年票能带人吗？", "票价"),
        ("包放在哪里？", "欢迎来到"),
    ],
)
def test_a_question_in_other_words_finds_its_passage(
    script: Script, alice: User, question: str, start: str
) -> None:
    script()
    found = answer(asked(question), runtime_for(alice)).citations
    assert any(citation.text.startswith(start) for citation in found)


@pytest.mark.parametrize(
    "said",
    [
        *("Thanks, that helps", "你喜欢音乐吗？", "好吧，那就这样", "我有点累", "Sing me a song"),
        *(
            "hello",
            "thank you very much",
            "what is 12 times 7",
            "你好",
            "谢谢你",
            "十二加五等于多少？",
        ),
        *("Tell me a joke", "What is the capital of France?", "How is the weather today?"),
        *("讲个笑话", "法国的首都是哪里？", "今天天气怎么样？"),
    ],
)
def test_what_no_document_is_about_cites_nothing(script: Script, alice: User, said: str) -> None:
    model = script()
    reply = answer(asked(said), runtime_for(alice))
    assert (reply.text, reply.citations, reply.knowledge_note) == ("ok", (), "")
    assert "knowledge" not in "".join(message.text for message in model.requests[0].messages)


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("What does the annual pass cost?", "and for students?"),
        ("When does the museum open?", "and on Sundays?"),
        ("博物馆几点开门？", "那周日呢？"),
    ],
)
def test_a_question_that_leans_on_the_one_before_is_understood(
    script: Script, alice: User, before: str, said: str
) -> None:
    script()
    runtime = runtime_for(alice)
    alone = answer(asked(before), runtime)
    assert sources(answer(asked(said, before, "thanks"), runtime))[0] == sources(alone)[0]


def test_it_opens_a_conversation_without_a_search(script: Script, alice: User) -> None:
    script()
    events = events_of(asked(""), runtime_for(alice))
    assert not [event for event in events if isinstance(event, Cited)]
    assert not SearchRecord.objects.exists()


def test_it_speaks_to_the_model_in_the_assistants_language(script: Script, alice: User) -> None:
    model = script()
    answer(asked("博物馆几点开门？"), runtime_for(alice, language="zh"))
    text = model.requests[0].messages[0].text
    assert "例如 [1]" in text
    assert find_passages(text)[0].source == "手册.pdf，第1页"


def test_it_shows_no_more_passages_than_the_assistant_allows(script: Script, alice: User) -> None:
    script()
    base = shelve(
        alice, ("Prices", [f"Coffee of size {size} costs {size} euros" for size in "123456"])
    )
    few, many = (
        answer(asked("What does a coffee cost?"), runtime_for(alice, base, knowledge_limit=limit))
        for limit in (2, 20)
    )
    assert [citation.index for citation in few.citations] == [1, 2]
    assert len(many.citations) == 6


def test_passages_never_take_more_tokens_than_they_may(script: Script, alice: User) -> None:
    script()
    base = shelve(alice, ("Prices", [f"Coffee {size}: " + "x" * 400 for size in "123456"]))
    runtime = runtime_for(alice, base)
    assert runtime.knowledge is not None
    tight = dataclasses.replace(runtime.knowledge, token_budget=250)
    request = asked("What does a coffee cost?")
    assert len(answer(request, runtime).citations) == 5
    assert len(answer(request, dataclasses.replace(runtime, knowledge=tight)).citations) == 2


def test_a_passage_that_is_similar_enough_needs_no_common_words(
    script: Script, alice: User
) -> None:
    script()
    base = museum(alice)
    request = asked("What is the capital of France?")
    strict = runtime_for(alice, base, knowledge_min_score=1)
    lenient = runtime_for(alice, base, knowledge_min_score=0)
    assert answer(request, strict).citations == ()
    assert len(answer(request, lenient).citations) == 5


# --- what goes wrong -----------------------------------------------------------------------------


def test_a_search_that_takes_too_long_is_left_out_with_a_note(
    script: Script, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    script()

    async def hang(request: SearchRequest) -> SearchOutcome:
        await asyncio.Event().wait()
        raise AssertionError

    runtime, request = runtime_for(alice), asked("When does the museum open?")
    with monkeypatch.context() as patch:
        patch.setattr(lookup, "search", hang)
        patch.setattr(lookup, "SEARCH_TIMEOUT_S", 0.05)
        late = answer(request, runtime)
    assert (late.text, late.citations) == ("ok", ())
    assert late.knowledge_note == "The knowledge was not searched in time."
    in_time = answer(request, runtime)
    assert (in_time.text, len(in_time.citations) > 0, in_time.knowledge_note) == ("ok", True, "")


def test_a_search_that_breaks_does_not_break_the_answer(
    script: Script, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    script()

    async def fail(request: SearchRequest) -> SearchOutcome:
        raise ValueError("a secret of ours")

    monkeypatch.setattr(lookup, "search", fail)
    reply = answer(asked("When does the museum open?"), runtime_for(alice))
    assert (reply.text, reply.citations) == ("ok", ())
    assert reply.knowledge_note == "The knowledge could not be searched."


def test_without_the_embedding_model_words_still_find_and_a_note_says_so(
    script: Script, alice: User, upstream: FakeUpstream
) -> None:
    script()
    embedder = make_embedder(
        alice, vendor="openai_compatible", base_url=upstream.base_url, model_name="m"
    )
    base = shelve(alice, ("Handbook.pdf", HANDBOOK), embedder=embedder)
    upstream.script("embeddings", *[Step(status=500)] * 10)
    runtime = runtime_for(alice, base)
    reply = answer(asked("What does ERR-4711 mean?"), runtime)
    assert sources(reply) == [("Handbook.pdf", "Error ERR-47")]
    assert reply.citations[0].score is None
    assert "words only" in reply.knowledge_note
    assert answer(asked("What is the capital of France?"), runtime).citations == ()


def vendors_base(owner: User, upstream: FakeUpstream, *texts: str) -> KnowledgeBase:
    """A base of the owner whose embedding model is a vendor's."""
    embedder = make_embedder(
        owner, vendor="openai_compatible", base_url=upstream.base_url, model_name="m"
    )
    base = KnowledgeBase.objects.create(owner=owner, name="Museum")
    add_document(base, texts, name="Handbook.pdf")
    vectors = [embedding(text, 8) for text in texts]
    make_space(base, embedder, np.asarray(vectors, np.float32))
    return base


@pytest.mark.parametrize("mode", ["before", "tool"])
@pytest.mark.parametrize("is_slow", [False, True])
def test_a_slow_embedding_model_costs_no_more_than_its_vector(
    script: Script,
    alice: User,
    upstream: FakeUpstream,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    *,
    is_slow: bool,
) -> None:
    monkeypatch.setattr(lookup, "TOOL_SEARCH_TIMEOUT_S", 2.0)
    question = "What does ERR-4711 mean?"
    turns = [calls(call("search_knowledge", {"query": question}))] if mode == "tool" else []
    script(*turns, says("Empty. [1]"))
    runtime = runtime_for(alice, vendors_base(alice, upstream, *HANDBOOK), knowledge_mode=mode)
    if is_slow:
        upstream.script("embeddings", *[Step(wait_ms=60_000)] * 5)

    reply = answer(asked(question), runtime)

    assert ("Handbook.pdf", "Error ERR-47") in sources(reply)
    assert ("did not answer in time" in reply.knowledge_note) == is_slow
    found = [each for each in reply.citations if each.text.startswith("Error")]
    assert [each.score is None for each in found] == [is_slow]


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_slow_reranker_costs_no_more_than_its_order(
    script: Script, alice: User, upstream: FakeUpstream, *, is_slow: bool
) -> None:
    script()
    runtime = runtime_for(alice, vendors_base(alice, upstream, *HANDBOOK))
    assert runtime.knowledge is not None
    reranked = dataclasses.replace(
        runtime.knowledge, reranker=reranker_spec(upstream.base_url), min_score=1
    )
    if is_slow:
        upstream.script("rerank", *[Step(wait_ms=60_000)] * 5)
    reply = answer(
        asked("What does ERR-4711 mean?"), dataclasses.replace(runtime, knowledge=reranked)
    )
    assert sources(reply) == [("Handbook.pdf", "Error ERR-47")]
    assert ("Not reranked" in reply.knowledge_note) == is_slow


def test_a_passage_beyond_the_budget_is_cut_and_what_is_left_out_is_told(
    script: Script, alice: User
) -> None:
    model = script()
    base = shelve(alice, ("Coffee.txt", [f"Coffee number {at} is hot. " * 80 for at in "12"]))
    runtime = runtime_for(alice, base)
    assert runtime.knowledge is not None
    tight = dataclasses.replace(runtime.knowledge, token_budget=200)
    request = asked("Which coffee is hot?")
    whole = answer(request, runtime)
    assert (len(whole.citations), whole.knowledge_note) == (2, "")
    cut = answer(request, dataclasses.replace(runtime, knowledge=tight))
    [citation] = cut.citations
    assert whole.citations[0].text.startswith(citation.text)
    assert citation.text.endswith("is hot.")
    assert [each.text for each in find_passages(model.requests[-1].messages[0].text)] == [
        citation.text
    ]
    assert cut.knowledge_note == "Left out, as there was no room for more tokens: 1."


async def test_an_interruption_ends_the_search_at_once(
    script: Script, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = script()
    runtime = await in_db(runtime_for, alice)
    begun, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(assistant_id: str) -> tuple[()]:
        loop.call_soon_threadsafe(begun.set)
        release.wait(30)
        return ()

    monkeypatch.setattr(lookup, "searched_bases", wait)
    monkeypatch.setattr(lookup, "SEARCH_TIMEOUT_S", 60)

    async def talk() -> None:
        async with aclosing(run_turn(asked("When does the museum open?"), runtime)) as events:
            async for _event in events:
                pass

    talking = asyncio.create_task(talk())
    try:
        await begun.wait()
        talking.cancel()
        async with asyncio.timeout(30):
            with pytest.raises(asyncio.CancelledError):
                await talking
    finally:
        release.set()
    assert model.requests == []


# --- whose knowledge -----------------------------------------------------------------------------


def test_it_searches_its_own_bases_only(script: Script, alice: User, bob: User) -> None:
    script()
    shelve(alice, ("Other.pdf", HANDBOOK))
    own = shelve(alice, ("Handbook.pdf", HANDBOOK))
    museum(bob)
    reply = answer(asked("When does the museum open?"), runtime_for(alice, own))
    assert {citation.knowledge_base_id for citation in reply.citations} == {own.pk}


def _take_away(base: KnowledgeBase, bob: User) -> None:
    KnowledgeBase.objects.filter(pk=base.pk).update(owner=bob)


def _delete(base: KnowledgeBase, bob: User) -> None:
    base.delete()


def _detach(base: KnowledgeBase, bob: User) -> None:
    Assistant.knowledge_bases.through.objects.filter(knowledgebase_id=base.pk).delete()


@pytest.mark.parametrize("lose", [_take_away, _delete, _detach])
def test_a_base_that_is_lost_during_a_call_is_searched_no_more(
    script: Script, alice: User, bob: User, lose: Callable[[KnowledgeBase, User], None]
) -> None:
    script()
    lost = shelve(alice, ("Handbook.pdf", HANDBOOK))
    kept = shelve(alice, ("Prices.pdf", ["When the museum opens, coffee costs three euros."]))
    runtime, request = runtime_for(alice, lost, kept), asked("When does the museum open?")
    before = {citation.document for citation in answer(request, runtime).citations}
    assert before == {"Handbook.pdf", "Prices.pdf"}
    lose(lost, bob)
    after = answer(request, runtime)
    assert {citation.document for citation in after.citations} == {"Prices.pdf"}
    assert after.text == "ok"


def test_a_system_assistant_searches_what_its_operator_gave_it(script: Script, alice: User) -> None:
    script()
    runtime = runtime_for(None, museum(alice))
    assert answer(asked("When does the museum open?"), runtime).citations


# --- as a tool -----------------------------------------------------------------------------------


def test_the_model_searches_by_a_tool_and_numbers_go_on(script: Script, alice: User) -> None:
    model = script(
        calls(call("search_knowledge", {"query": "opening hours of the museum"}, "a")),
        calls(call("search_knowledge", {"query": "price of coffee"}, "b")),
        calls(call("search_knowledge", {"query": "when does the museum open"}, "c")),
        says("At nine [1], three euros [2]."),
    )
    events = events_of(asked("Tell me about it"), runtime_for(alice, knowledge_mode="tool"))
    assert [schema.name for schema in model.requests[0].tools] == ["search_knowledge"]
    assert "Museum" in model.requests[0].tools[0].description
    assert len(model.requests[0].messages) == 1
    cited = [event for event in events if isinstance(event, Cited)]
    indices = [[citation.index for citation in event.citations] for event in cited]
    flat = [index for found in indices for index in found]
    assert flat == list(range(1, len(flat) + 1))
    assert indices[0]
    assert indices[1]
    # What was told of is not told of again; but the model sees it, under the number it has.
    third = [m for m in model.requests[3].messages if isinstance(m, ToolMessage)][2]
    assert 1 in {passage.index for passage in find_passages(third.text)}
    assert 1 not in indices[2]
    kinds = [
        type(event) for event in events if isinstance(event, ToolCalled | ToolReturned | Cited)
    ]
    assert kinds == [ToolCalled, ToolReturned, Cited] * 3


def test_the_tool_says_that_nothing_fits(script: Script, alice: User) -> None:
    model = script(calls(call("search_knowledge", {"query": "capital of France"})), says("Sorry."))
    reply = answer(
        asked("What is the capital of France?"), runtime_for(alice, knowledge_mode="tool")
    )
    assert model.requests[1].messages[-1].text == "No passage fits."
    assert (reply.text, reply.citations) == ("Sorry.", ())


@pytest.mark.parametrize("arguments", [{}, {"query": " "}, {"query": 5}])
def test_the_tool_refuses_what_is_no_query(
    script: Script, alice: User, arguments: dict[str, Any]
) -> None:
    script(calls(call("search_knowledge", arguments)), says("ok"))
    events = events_of(asked("Tell me"), runtime_for(alice, knowledge_mode="tool"))
    (returned,) = [event for event in events if isinstance(event, ToolReturned)]
    assert returned.code == 400


def test_the_tool_never_takes_the_name_of_another(script: Script, alice: User) -> None:
    model = script()
    runtime = runtime_for(alice, knowledge_mode="tool")
    answer(asked("Tell me"), dataclasses.replace(runtime, tools=(tool("search_knowledge"),)))
    names = [schema.name for schema in model.requests[0].tools]
    assert names == ["search_knowledge", "search_knowledge_2"]


@pytest.mark.parametrize("mode", ["before", "tool"])
def test_the_registrys_tool_is_this_search(script: Script, alice: User, mode: str) -> None:
    arguments: dict[str, Any] = {"query": "opening hours of the museum"}
    model = script(calls(call("knowledge", arguments)), says("At nine. [1]"))
    parameters = {
        "type": "object",
        "properties": {"query": {"type": "string"}, "kb_id": {"type": "string"}},
        "required": ["query"],
    }
    runtime = runtime_for(alice, knowledge_mode=mode)
    runtime = dataclasses.replace(runtime, tools=(tool("knowledge", parameters=parameters),))
    reply = answer(asked("hello"), runtime)
    assert [schema.name for schema in model.requests[0].tools] == ["knowledge"]
    assert reply.citations[0].document == "Handbook.pdf"
    without = dataclasses.replace(runtime, knowledge=None)
    answer(asked("hello"), without)
    assert model.requests[-1].tools == ()


def test_a_tool_of_ones_own_of_that_name_stays_itself(script: Script, alice: User) -> None:
    model = script()
    own = dataclasses.replace(tool("knowledge"), target=HttpTarget("GET", "https://a.example/"))
    runtime = dataclasses.replace(runtime_for(alice, knowledge_mode="before"), tools=(own,))
    answer(asked("hello"), runtime)
    assert [schema.name for schema in model.requests[-1].tools] == ["knowledge"]
    answer(asked("hello"), dataclasses.replace(runtime, knowledge=None))
    assert [schema.name for schema in model.requests[-1].tools] == ["knowledge"]


def test_the_registrys_tool_reaches_no_foreign_base(script: Script, alice: User, bob: User) -> None:
    own, foreign = museum(alice), museum(bob)
    runtime = runtime_for(alice, own)
    parameters = {"type": "object", "properties": {"query": {}, "kb_id": {}}}
    runtime = dataclasses.replace(runtime, tools=(tool("knowledge", parameters=parameters),))
    for base, code in ((own, 200), (foreign, 404)):
        arguments = {"query": "opening hours of the museum", "kb_id": base.pk}
        script(calls(call("knowledge", arguments)), says("ok"))
        reply = answer(asked("hello"), runtime)
        assert [result.code for result in reply.tool_results] == [code]
        assert bool(reply.citations) == (code == 200)


def test_long_passages_reach_the_model_whole(script: Script, alice: User) -> None:
    chunks = [f"咖啡{number}号：" + "好" * 480 for number in range(5)]
    base = shelve(alice, ("咖啡.txt", chunks))
    model = script(calls(call("search_knowledge", {"query": "咖啡"})), says("ok"))
    answer(asked("咖啡多少钱？"), runtime_for(alice, base, knowledge_mode="tool"))
    found = find_passages(model.requests[1].messages[-1].text)
    assert [len(passage.text) for passage in found] == [len(chunks[0])] * 5


def test_numbers_of_earlier_turns_are_not_given_again(script: Script, alice: User) -> None:
    script(calls(call("search_knowledge", {"query": "price of coffee"})), says("ok"))
    runtime = runtime_for(alice, knowledge_mode="tool")
    first = answer(asked("What is a coffee?"), runtime)
    seen = history.chat_messages(history.entries(first))
    script(calls(call("search_knowledge", {"query": "opening hours of the museum"})), says("ok"))
    request = dataclasses.replace(asked("And when?"), history=(UserMessage("What?"), *seen))
    second = answer(request, runtime)
    last = max(citation.index for citation in first.citations)
    assert min(citation.index for citation in second.citations) == last + 1


@pytest.mark.parametrize("at_once", [False, True])
def test_searches_of_a_turn_leave_room_in_the_models_context(
    script: Script, alice: User, *, at_once: bool
) -> None:
    topics = ["coffee", "tea", "water", "juice", "beer", "wine", "milk", "soup", "cake"]
    texts = [f"{topic} {at}: " + f"{topic} is served. " * 60 for topic in topics for at in range(5)]
    base = shelve(alice, ("Menu.txt", texts))
    asks = [call("search_knowledge", {"query": f"Is {topic} served?"}) for topic in topics]
    model = script(*([calls(*asks)] if at_once else map(calls, asks)), says("Yes. [1]"))
    llm = dataclasses.replace(LLM, context_length=8_192)
    runtime = runtime_for(alice, base, knowledge_mode="tool", llm=None)
    assert runtime.knowledge is not None
    use = dataclasses.replace(runtime.knowledge, token_budget=2_048)
    runtime = dataclasses.replace(runtime, llm=llm, knowledge=use)

    reply = answer(asked("What is served?"), runtime)

    assert reply.text.endswith("Yes. [1]")
    results = [m.text for m in model.requests[-1].messages if isinstance(m, ToolMessage)]
    assert len(results) == len(topics)
    assert 2_000 < sum(map(estimate_tokens, results)) < 8_192 * 0.6
    assert sum(map(history.message_tokens, model.requests[-1].messages)) < 8_192 * 3 // 4
    refused = [text for text in results if not find_passages(text)]
    assert 0 < len(refused) < len(results)
    assert all(text.startswith("Enough was found") for text in refused)


@pytest.mark.parametrize(
    ("shown", "expected"), [((), 1), ((1, 2), 3), ((2, 998, 999), 1), ((999_999,), 1)]
)
def test_numbers_of_passages_stay_within_three_digits(
    script: Script, alice: User, shown: tuple[int, ...], expected: int
) -> None:
    script(calls(call("search_knowledge", {"query": "price of coffee"})), says("ok"))
    runtime = runtime_for(alice, knowledge_mode="tool")
    section = render_passages(Passage(index, "a.txt", "Text.") for index in shown)
    earlier = (UserMessage("What?"), ToolMessage("a", "search_knowledge", section))
    reply = answer(dataclasses.replace(asked("And?"), history=earlier), runtime)
    assert reply.citations[0].index == expected


# --- what is kept --------------------------------------------------------------------------------


def test_the_search_is_kept_for_operators_after_the_answer(script: Script, alice: User) -> None:
    script()
    base = museum(alice)
    answer(asked("When does the museum open?"), runtime_for(alice, base))
    (record,) = SearchRecord.objects.all()
    assert (record.knowledge_base_id, record.source) == (base.pk, "conversation")
    assert record.query == "When does the museum open?"
    assert record.hits > 0


@pytest.mark.parametrize("error", [InterfaceError("gone"), OperationalError("away"), OSError("!")])
async def test_a_search_that_cannot_be_kept_does_not_hold_up_the_next(
    script: Script, alice: User, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    base = await in_db(museum, alice)
    request = SearchRequest("coffee", (base.pk,))
    outcome = SearchOutcome((), SearchTimings(0, 0, 0, 0))
    failures = [error]

    def fail_once(*args: Any) -> None:
        if failures:
            raise failures.pop()
        record_search(*args)

    monkeypatch.setattr(searches, "record_search", fail_once)
    searches.keep([(request, outcome), (dataclasses.replace(request, query="tea"), outcome)])
    await searches.flush()
    kept = await in_db(lambda: [each.query for each in SearchRecord.objects.all()])
    assert kept == ["tea"]


async def test_sources_and_notes_are_kept_with_the_answer(script: Script, alice: User) -> None:
    script(says("At nine. [1]"))
    runtime = await in_db(runtime_for, alice)
    async with aclosing(run_turn(asked("When does the museum open?"), runtime)) as events:
        reply = await collect(events)
    (entry,) = history.entries(reply)
    assert entry.citations == reply.citations != ()
    journal = await open_call(runtime, owner_id=None)
    journal.record(dataclasses.replace(entry, knowledge_note="Searched by words\x00 only."))
    assert await flush()
    await searches.flush()
    stored = await in_db(lambda: Message.objects.get(conversation_id=journal.id).entry())
    assert stored.citations == entry.citations
    assert stored.knowledge_note == "Searched by words only."


# --- the demo model ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["before", "tool"])
@pytest.mark.parametrize(
    ("language", "question", "said"),
    [
        ("en", "What does ERR-4711 mean?", "According to “Handbook.pdf, p. 1”: Error ERR-4711 on"),
        ("en", "What time does the museum open?", "The museum opens at nine"),
        ("en", "How much is a coffee?", "A cup of coffee is three euros. [1]"),
        ("zh", "博物馆几点开门？", "上午九点开门，下午六点闭馆。"),
        ("zh", "学生票多少钱？", "根据“手册.pdf，第1页”：票价：成人票十二欧元，学生票七欧元"),
        ("zh", "你好，请问咖啡多少钱？", "一杯咖啡三欧元。[1]"),
    ],
)
def test_the_demo_model_answers_from_the_documents(
    alice: User, demo: Llm, mode: str, language: str, question: str, said: str
) -> None:
    row = librarian(alice, museum(alice), knowledge_mode=mode, language=language, llm=demo)
    reply = answer(asked(question), load_runtime(row.pk))
    assert said in reply.text
    assert reply.citations


@pytest.mark.parametrize("mode", ["before", "tool"])
@pytest.mark.parametrize("said", ["Hello!", "What is the capital of France?", "法国的首都是哪里？"])
def test_the_demo_model_quotes_nothing_that_does_not_fit(
    alice: User, demo: Llm, mode: str, said: str
) -> None:
    row = librarian(alice, museum(alice), knowledge_mode=mode, llm=demo)
    reply = answer(asked(said), load_runtime(row.pk))
    assert reply.citations == ()
    assert "Handbook" not in reply.text
    assert "手册" not in reply.text


@pytest.fixture
def demo(db: None) -> Llm:
    return Llm.objects.create(name="demo", vendor="builtin", model_name="demo")
