"""What the vendors' libraries, of every major and language, do with the gateway.

Each asks models whose upstream speaks its dialect and models whose upstream speaks the other.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from gateway import upstream as gateway_upstream
from providers.fakes import Behaviour, FakeUpstream, Step
from providers.fakes.behaviour import Kind
from tests.conftest import make_key
from tests.gateway.conformance.clients import KINDS, Answer, Client, Library, need
from tests.gateway.conformance.conftest import OVER_ANTHROPIC, OVER_OPENAI, Served

pytestmark = pytest.mark.django_db

HI = [{"role": "user", "content": "Hi"}]
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALLS = [
    {"name": "weather", "arguments": '{"city": "Paris"}'},
    {"name": "weather", "arguments": '{"city": "Rome"}'},
]
CITIES = [{"city": "Paris"}, {"city": "Rome"}]

LIBRARIES = pytest.mark.parametrize("library", ["anthropic", "openai"])
MODELS = pytest.mark.parametrize("model", [OVER_OPENAI, OVER_ANTHROPIC])
STREAMED = pytest.mark.parametrize("how", ["create", "stream"])


@pytest.fixture(scope="module", params=list(KINDS))
def client(request: pytest.FixtureRequest, served: Served) -> Iterator[Client]:
    need(request.param)
    with Client(request.param, served) as running:
        yield running


def says(upstream: FakeUpstream, *steps: Step) -> None:
    """Whatever dialect the next requests come in, they are answered so."""
    upstream.script("chat", *steps)
    upstream.script("messages", *steps)


def kind_of(model: str) -> Kind:
    return "chat" if model == OVER_OPENAI else "messages"


def asked(client: Client, library: Library, how: str, model: str, **body: Any) -> Answer:
    """One question, in the words of the library."""
    if library == "anthropic":
        fields = {"max_tokens": 100, "messages": HI, **body}
        return client.ask("anthropic", f"messages.{how}", model=model, **fields)
    return client.ask("openai", f"chat.{how}", model=model, **{"messages": HI, **body})


def good(answer: Answer) -> Any:
    assert answer.error is None, answer.error
    return answer.value


def test_it_is_the_version_that_it_says(client: Client) -> None:
    for library, major in KINDS[client.kind].items():
        assert client.versions[library].startswith(major)


# --- Messages -------------------------------------------------------------------------------------


@MODELS
@STREAMED
def test_messages(client: Client, upstream: FakeUpstream, model: str, how: str) -> None:
    says(upstream, Step(text="One two 三四."))
    answer = asked(client, "anthropic", how, model, system="Be short.", stop_sequences=["END"])
    message = good(answer)
    assert [block["text"] for block in message["content"]] == ["One two 三四."]
    assert (message["model"], message["role"]) == (model, "assistant")
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["input_tokens"] > 0
    assert message["usage"]["output_tokens"] > 0
    if how == "stream":
        assert "".join(answer.pieces) == "One two 三四."
        assert len(answer.pieces) > 1
    else:
        assert answer.request_id is not None
        assert answer.request_id.startswith("req_")


@MODELS
@STREAMED
def test_messages_with_parallel_tools_and_back(
    client: Client, upstream: FakeUpstream, model: str, how: str
) -> None:
    says(upstream, Step(text="I look.", tool_calls=CALLS))
    tools = [{"name": "weather", "description": "d", "input_schema": CITY}]
    message = good(asked(client, "anthropic", how, model, tools=tools))
    text, *uses = message["content"]
    assert text["text"] == "I look."
    assert [use["input"] for use in uses] == CITIES
    assert message["stop_reason"] == "tool_use"
    says(upstream, Step(text="Sunny."))
    results = [{"type": "tool_result", "tool_use_id": use["id"], "content": "sun"} for use in uses]
    back = [
        *HI,
        {"role": "assistant", "content": message["content"]},
        {"role": "user", "content": results},
    ]
    answer = good(asked(client, "anthropic", how, model, tools=tools, messages=back))
    assert answer["content"][0]["text"] == "Sunny."
    sent = json.dumps(upstream.stats.last(kind_of(model))[-1]["body"])
    assert all(use["id"] in sent for use in uses)


@MODELS
def test_messages_with_images(client: Client, upstream: FakeUpstream, model: str) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    good(
        asked(client, "anthropic", "create", model, messages=[{"role": "user", "content": content}])
    )
    assert PIXEL in json.dumps(upstream.stats.last()[-1]["body"])


@MODELS
@STREAMED
def test_messages_with_thinking(
    client: Client, upstream: FakeUpstream, model: str, how: str
) -> None:
    says(upstream, Step(text="42.", thinking="Let me see."))
    thinking = {"type": "enabled", "budget_tokens": 1024}
    options = {"thinking": thinking, "max_tokens": 2000}
    message = good(asked(client, "anthropic", how, model, **options))
    thought, text = message["content"]
    assert (thought["type"], thought["thinking"]) == ("thinking", "Let me see.")
    assert text["text"] == "42."
    # The vendor knows its own thoughts by the signature, so that it takes them back.
    said = [{"role": "assistant", "content": message["content"]}, {"role": "user", "content": "?"}]
    good(asked(client, "anthropic", "create", model, messages=[*HI, *said], **options))


@MODELS
def test_tokens_are_counted(client: Client, model: str) -> None:
    counted = good(client.ask("anthropic", "messages.count_tokens", model=model, messages=HI))
    assert counted["input_tokens"] > 0


# --- Chat completions -----------------------------------------------------------------------------


@MODELS
@STREAMED
def test_completions(client: Client, upstream: FakeUpstream, model: str, how: str) -> None:
    says(upstream, Step(text="One two 三四."))
    usage = {"stream_options": {"include_usage": True}} if how == "stream" else {}
    answer = asked(client, "openai", how, model, max_tokens=50, stop=["END"], **usage)
    made = good(answer)
    (choice,) = made["choices"]
    assert choice["message"]["content"] == "One two 三四."
    assert (made["model"], choice["finish_reason"]) == (model, "stop")
    assert made["usage"]["total_tokens"] > 0
    if how == "stream":
        deltas = [chunk["choices"][0]["delta"] for chunk in answer.pieces if chunk["choices"]]
        assert deltas[0]["role"] == "assistant"
        assert len([delta for delta in deltas if delta.get("content")]) > 1
        assert len({chunk["id"] for chunk in answer.pieces}) == 1
    else:
        assert answer.request_id is not None


@MODELS
@STREAMED
def test_completions_with_parallel_tools_and_back(
    client: Client, upstream: FakeUpstream, model: str, how: str
) -> None:
    says(upstream, Step(tool_calls=CALLS))
    tools = [{"type": "function", "function": {"name": "weather", "parameters": CITY}}]
    (choice,) = good(asked(client, "openai", how, model, tools=tools))["choices"]
    calls = choice["message"]["tool_calls"]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == CITIES
    assert choice["finish_reason"] == "tool_calls"
    # Whole it is null; the libraries add up what is streamed, which is nothing.
    assert not choice["message"].get("content")
    says(upstream, Step(text="Sunny."))
    said = {
        "role": "assistant",
        "tool_calls": [
            {"id": call["id"], "type": "function", "function": {
                "name": call["function"]["name"], "arguments": call["function"]["arguments"]}}
            for call in calls
        ],
    }  # fmt: skip
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "sun"} for call in calls]
    back = [*HI, said, *results]
    (choice,) = good(asked(client, "openai", how, model, tools=tools, messages=back))["choices"]
    assert choice["message"]["content"] == "Sunny."
    sent = json.dumps(upstream.stats.last(kind_of(model))[-1]["body"])
    assert all(call["id"] in sent for call in calls)


@MODELS
def test_completions_with_images(client: Client, upstream: FakeUpstream, model: str) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    content = [{"type": "text", "text": "What is it?"}, image]
    good(asked(client, "openai", "create", model, messages=[{"role": "user", "content": content}]))
    assert PIXEL in json.dumps(upstream.stats.last()[-1]["body"])


# --- Embeddings and models ------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vectors-public", "xiaoai-embed-v1"])
def test_embeddings(client: Client, model: str) -> None:
    texts = ["spring", "春天"]
    encodings: list[dict[str, Any]] = [
        {},
        {"encoding_format": "float"},
        {"encoding_format": "base64"},
    ]
    as_usual, as_numbers, packed = (
        good(client.ask("openai", "embeddings.create", model=model, input=texts, **encoding))
        for encoding in encodings
    )
    assert [item["index"] for item in as_usual["data"]] == [0, 1]
    assert (as_usual["model"], as_usual["usage"]["prompt_tokens"] > 0) == (model, True)
    for usual, plain, raw in zip(as_usual["data"], as_numbers["data"], packed["data"], strict=True):
        assert usual["embedding"] == pytest.approx(plain["embedding"], abs=1e-6)
        vector = raw["embedding"]
        if isinstance(vector, str):
            data = base64.b64decode(vector)
            vector = struct.unpack(f"<{len(data) // 4}f", data)
        assert list(vector) == pytest.approx(plain["embedding"], abs=1e-6)


@LIBRARIES
def test_models(client: Client, library: Library) -> None:
    listed = client.ask(library, "models.list").pieces
    assert {OVER_OPENAI, "vectors-public", "xiaoai-chat-v1"} <= {row["id"] for row in listed}
    found = good(client.ask(library, "models.retrieve", id=OVER_OPENAI))
    assert found["id"] == OVER_OPENAI
    assert found["display_name"]
    answer = client.ask(library, "models.retrieve", id="nothing")
    check_error(answer, "NotFoundError", 404)


# --- Errors ---------------------------------------------------------------------------------------

REFUSAL = {"type": "error", "error": {"type": "x", "message": "no: sk-vendor-secret-0123456789"}}


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that is asked a second time is asked at once."""
    monkeypatch.setattr(gateway_upstream, "_PAUSE_S", 0.0)


def check_error(answer: Answer, name: str, status: int) -> None:
    """The library raised an error of that class; some majors have subclasses of their own."""
    assert answer.error is not None
    assert answer.error["status"] == status
    assert name in answer.error["classes"]


@LIBRARIES
@MODELS
@pytest.mark.parametrize(
    ("status", "shown", "name", "upstream_requests"),
    [
        (400, 400, "BadRequestError", 1),
        (413, 413, "APIError", 1),
        (422, 400, "BadRequestError", 1),
        # Our account there is wrong, which is no affair of the client's.
        (401, 502, "InternalServerError", 1),
        (403, 502, "InternalServerError", 1),
        (404, 502, "InternalServerError", 1),
        # Here a second try by the gateway may do better.
        (429, 429, "RateLimitError", 2),
        (500, 502, "InternalServerError", 2),
        (503, 503, "InternalServerError", 2),
        (529, 503, "InternalServerError", 2),
    ],
)
@pytest.mark.usefixtures("no_pause")
def test_refusals_of_an_upstream(
    client: Client,
    upstream: FakeUpstream,
    library: Library,
    model: str,
    status: int,
    shown: int,
    name: str,
    upstream_requests: int,
) -> None:
    says(upstream, *[Step(status=status, body=REFUSAL)] * 2)
    answer = asked(client, library, "create", model)
    check_error(answer, name, shown)
    assert answer.error is not None
    assert "sk-vendor" not in answer.error["message"]
    assert upstream.stats.of(kind_of(model)).requests == upstream_requests


@LIBRARIES
def test_refusals_of_the_gateway(
    client: Client, served: Served, library: Library, upstream: FakeUpstream
) -> None:
    """Each is asked once, though the library would ask again."""

    def check(name: str, status: int, key: str = "", **body: Any) -> None:
        call = "messages.create" if library == "anthropic" else "chat.create"
        fields = {"model": OVER_OPENAI, "max_tokens": 9, "messages": HI, **body}
        check_error(client.ask(library, call, key=key, retries=2, **fields), name, status)

    disabled = served.commit(lambda: make_key(served.user, is_enabled=False))
    before = len(served.records())
    check("AuthenticationError", 401, key="sk-gw-" + "x" * 43)
    check("PermissionDeniedError", 403, key=disabled)
    check("NotFoundError", 404, model="nothing")
    check("BadRequestError", 400, model="vectors-public")
    check("BadRequestError", 400, max_tokens=0)
    check("BadRequestError", 400, messages=[])
    assert [row.status for row in served.records()[before:]] == [404, 400, 400, 400]
    assert upstream.stats.of("chat").requests == 0


@LIBRARIES
@pytest.mark.usefixtures("no_pause")
def test_it_asks_again_what_may_do_better_later(
    client: Client, served: Served, upstream: FakeUpstream, library: Library
) -> None:
    says(upstream, *[Step(status=500, body=REFUSAL)] * 4, Step(text="At last."))
    before = len(served.records())
    call = "messages.create" if library == "anthropic" else "chat.create"
    answer = client.ask(library, call, retries=2, model=OVER_OPENAI, max_tokens=9, messages=HI)
    assert "At last." in json.dumps(good(answer))
    assert [row.status for row in served.records()[before:]] == [502, 502, 200]
    assert upstream.stats.of("chat").requests == 5


@LIBRARIES
def test_it_waits_as_long_as_it_is_told(
    client: Client,
    served: Served,
    upstream: FakeUpstream,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The gateway itself does not wait.
    monkeypatch.setattr(gateway_upstream, "_LONGEST_PAUSE_S", 0.0)
    busy = Step(status=429, body=REFUSAL, headers={"retry-after": "1"})
    says(upstream, busy, Step(text="At last."))
    before = len(served.records())
    call = "messages.create" if library == "anthropic" else "chat.create"
    answer = client.ask(library, call, retries=1, model=OVER_OPENAI, max_tokens=9, messages=HI)
    assert "At last." in json.dumps(good(answer))
    first, second = served.records()[before:]
    assert (first.status, second.status) == (429, 200)
    # Longer than any of the libraries waits by itself the first time.
    assert (second.created_at - first.created_at).total_seconds() > 0.9


@LIBRARIES
@MODELS
@pytest.mark.parametrize("step", [
    Step(text="One two three four five six.", break_after=3),
    Step(text="One two three four five.", error={"type": "overloaded_error", "message": "Busy."}),
])  # fmt: skip
def test_a_stream_that_breaks_is_an_error(
    client: Client, upstream: FakeUpstream, library: Library, model: str, step: Step
) -> None:
    # What fails before the first word is sent would be asked again.
    upstream.set_behaviour(Behaviour(llm_token_ms=50))
    says(upstream, step)
    answer = asked(client, library, "stream", model)
    assert answer.pieces
    assert answer.error is not None
    assert answer.value is None
