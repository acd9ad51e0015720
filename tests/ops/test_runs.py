"""Tasks and chats whose processes are killed: they end, whole and once, and lock nobody out."""

from __future__ import annotations

import itertools
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from bench.users import Users, make_users
from conversations.chats.answering import LOG_EVERY_S
from providers.fakes import FakeUpstream
from tests.conversations.counting import CountingService
from tests.conversations.made import check_log
from tests.ops.product import Product, eventually

pytestmark = pytest.mark.processes

# What the sweeper waits for, its beat, and the restart of a process on a busy machine.
RECOVERED_WITHIN_S = 180
WORDS = 200
REPLY = "".join(f"word{n} " for n in range(WORDS))
# In its middle when something is killed.
WORD_MS = 60
OVER = {"succeeded", "failed", "canceled"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def vendor() -> Iterator[FakeUpstream]:
    """The model of all users; it outlives whatever is killed."""
    with FakeUpstream() as fake:
        fake.behaviour.reply = REPLY
        fake.behaviour.llm_token_ms = WORD_MS
        yield fake


@pytest.fixture(scope="module")
def service() -> Iterator[CountingService]:
    running = CountingService()
    yield running
    running.end()


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A running product that the tests share; each leaves it running and well."""
    variables = {
        "OUTBOUND_ALLOW": "127.0.0.0/8",
        "PLATFORM_REQUESTS_PER_MINUTE": "100000",
        "LOG_LEVEL": "WARNING",
    }
    running = Product(tmp_path_factory.mktemp("product") / "data", **variables)
    try:
        running.start()
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def users(product: Product, vendor: FakeUpstream) -> Users:
    return make_users(product.data, 60, vendor.base_url)


class Client:
    """A user with a message. No two tests share one, as a user has one task at a time."""

    def __init__(self, product: Product, users: Users) -> None:
        self.product = product
        self.message = f"Question {next(_numbers)}"
        self.events: list[dict[str, Any]] = []
        self.status = ""
        self.task_id = ""
        self.model_id = users.model_id
        self._http = httpx.Client(
            base_url=f"{product.url()}/api/v1",
            headers={"X-Api-Key": users.keys.pop()},
            timeout=30,
        )

    def send(self, **more: Any) -> httpx.Response:
        """Sends the message; accepted, its task is the one that is watched."""
        body = {"message": self.message, "model_key": self.model_id, "run_mode": "fast", **more}
        response = self._http.post("/messages", json=body)
        if response.status_code == 202:
            self.task_id = response.json()["task_id"]
            self.events, self.status = [], ""
        return response

    def look(self) -> str:
        """Reads on, as a page does that polls; the status. Whoever is away is asked again."""
        try:
            response = self._http.get(f"/tasks/{self.task_id}", params={"from": len(self.events)})
        except httpx.HTTPError:
            return self.status
        if response.status_code == 200:
            data = response.json()["data"]
            self.events += data["events"]
            self.status = data["status"]
        return self.status

    def log(self) -> list[dict[str, Any]]:
        """The log from its beginning."""
        data = self._http.get(f"/tasks/{self.task_id}", params={"from": 0}).json()["data"]
        events: list[dict[str, Any]] = data["events"]
        return events

    def has_seen(self, kind: str, times: int = 1) -> bool:
        self.look()
        return [event["type"] for event in self.events].count(kind) >= times

    def waits_for(self, kind: str, times: int = 1) -> bool:
        return eventually(lambda: self.has_seen(kind, times), within_s=60)

    def sees_the_end(self, status: str) -> None:
        """The task ends so, and what was seen along the way is what the log says."""
        ended = eventually(lambda: self.look() in OVER, within_s=RECOVERED_WITHIN_S)
        assert ended, f"{self.status}: {self.product.said()}"
        assert self.status == status, self.events[-1]
        assert self.events == self.log()
        check_log([(event["idx"], event["type"], event["data"]) for event in self.events])

    def text(self) -> str:
        """The answer that stands in the end."""
        ends = [event for event in self.events if event["type"] == "text_end"]
        return str(ends[-1]["data"]["full_content"])

    def cancel(self) -> None:
        assert self._http.post(f"/tasks/{self.task_id}/cancel").status_code == 200

    def post(self, path: str, **body: Any) -> Any:
        response = self._http.post(path, json=body)
        assert response.is_success, response.text
        return response.json()

    def can_chat(self, dialog_id: str) -> bool:
        """Whether the dialog takes a message; its answer is not waited for."""
        body = {"dialog_id": dialog_id, "user_input": "Again"}
        with self._http.stream("POST", "/chat", json=body) as response:
            return response.headers["content-type"].startswith("text/event-stream")

    def history(self, dialog_id: str) -> str:
        return self._http.get("/history", params={"dialog_id": dialog_id}).text

    def close(self) -> None:
        self._http.close()

    def stream(self, dialog_id: str, seen: threading.Event) -> None:
        """Reads a chat's answer until its connection breaks; `seen`: some of it is kept by then."""
        body = {"dialog_id": dialog_id, "user_input": self.message}
        try:
            with self._http.stream("POST", "/chat", json=body) as response:
                chunks = (line for line in response.iter_lines() if '"response_chunk"' in line)
                for number, _line in enumerate(chunks):
                    if number * WORD_MS > 1.5 * LOG_EVERY_S * 1000:
                        seen.set()
        except httpx.HTTPError:
            return


@pytest.fixture
def make_client(product: Product, users: Users) -> Iterator[Any]:
    made: list[Client] = []

    def make() -> Client:
        made.append(Client(product, users))
        return made[-1]

    yield make
    for client in made:
        client.close()


def times_asked(vendor: FakeUpstream, message: str) -> int:
    """How often the model was asked to answer a message; its title is another matter."""
    asked = [request["body"]["messages"] for request in vendor.stats.last("chat")]
    return sum(
        messages[-1].get("content") == message
        and not str(messages[0].get("content")).startswith("Write a title")
        for messages in asked
    )


def acting_assistant(client: Client, service: CountingService, vendor: FakeUpstream) -> str:
    """An assistant of the client that calls a service which may change something."""
    tool = client.post(
        "/tools/resources",
        name="Act",
        category="query",
        http_method="POST",
        http_url=service.url,
        http_timeout_ms=60_000,
    )
    vendor.behaviour.tool_call = json.dumps({"name": tool["id"], "arguments": {}})
    made = client.post("/assistants", name="Actor", prompt="Act.", tools=[tool["id"]])
    return str(made["data"]["id"])


def test_a_task_survives_its_worker(
    product: Product, vendor: FakeUpstream, service: CountingService, make_client: Any
) -> None:
    writing, acting, stopped = make_client(), make_client(), make_client()
    assistant_id = acting_assistant(acting, service, vendor)
    service.may_answer.clear()
    for client in (writing, stopped):
        assert client.send().status_code == 202
    assert acting.send(assistant_id=assistant_id).status_code == 202
    assert writing.waits_for("text_chunk", 3), product.said()
    assert stopped.waits_for("text_chunk", 3), product.said()
    assert eventually(lambda: len(service.asked) == 1), product.said()
    killed_at = time.monotonic()
    product.part("worker", "io@").kill()
    stopped.cancel()
    assert writing.send().status_code == 409  # as long as nobody knows
    stopped.sees_the_end("canceled")
    acting.sees_the_end("failed")
    assert acting.events[-1]["data"]["code"] == "worker_lost"
    writing.sees_the_end("succeeded")
    assert time.monotonic() - killed_at < RECOVERED_WITHIN_S
    kinds = [event["type"] for event in writing.events]
    assert (kinds.count("stream_reset"), kinds.count("system_message")) == (1, 1)
    assert writing.text() == REPLY
    assert times_asked(vendor, writing.message) == 2
    assert times_asked(vendor, stopped.message) == 1
    # What may have changed something was done once.
    assert len(service.asked) == 1
    service.may_answer.set()
    for client in (writing, acting, stopped):
        assert client.send().status_code == 202
        client.cancel()


def test_a_task_does_not_notice_that_the_web_process_dies(
    product: Product, vendor: FakeUpstream, make_client: Any
) -> None:
    client, chatting = make_client(), make_client()
    dialog_id = _dialog(chatting)
    assert client.send().status_code == 202
    seen = threading.Event()
    reader = threading.Thread(target=chatting.stream, args=(dialog_id, seen))
    reader.start()
    assert client.waits_for("text_chunk", 3), product.said()
    assert seen.wait(30)
    product.part("config.supervisor.web").kill()
    reader.join(30)
    client.sees_the_end("succeeded")
    assert client.text() == REPLY
    assert times_asked(vendor, client.message) == 1
    # The chat's answer died with its process; the dialog comes free, and what was said is kept.
    is_free = eventually(lambda: chatting.can_chat(dialog_id), within_s=RECOVERED_WITHIN_S)
    assert is_free, product.said()
    assert "word0" in chatting.history(dialog_id)


def _dialog(client: Client) -> str:
    fields = {"name": "Agent", "prompt": "Talk.", "llmModelId": client.model_id}
    agent_id = client.post("/assistants", **fields)["data"]["id"]
    made = client.post("/dialog", name="Talk", agent_id=agent_id, agent_type="Agent")
    return str(made["data"]["dialog_id"])


def test_a_task_goes_on_while_redis_is_gone(
    product: Product, vendor: FakeUpstream, make_client: Any
) -> None:
    client, late = make_client(), make_client()
    assert client.send().status_code == 202
    assert client.waits_for("text_chunk", 3), product.said()
    product.part("redis-server").kill()
    asked_at = time.monotonic()
    assert late.send().status_code == 202
    assert time.monotonic() - asked_at < 10
    client.sees_the_end("succeeded")
    late.sees_the_end("succeeded")
    for each in (client, late):
        assert each.text() == REPLY
        assert times_asked(vendor, each.message) == 1
    assert eventually(product.is_well), product.said()


def test_a_task_goes_on_after_the_database_was_killed(
    product: Product, vendor: FakeUpstream, make_client: Any
) -> None:
    client = make_client()
    assert client.send().status_code == 202
    assert client.waits_for("text_chunk", 3), product.said()
    product.part("bin/postgres").kill()
    client.sees_the_end("succeeded")
    assert client.text() == REPLY
    assert times_asked(vendor, client.message) == 1
    assert "stream_reset" not in [event["type"] for event in client.events]
    assert eventually(product.is_well), product.said()


def test_a_task_outlives_a_restart_of_everything(
    product: Product, vendor: FakeUpstream, make_client: Any
) -> None:
    client = make_client()
    assert client.send().status_code == 202
    assert client.waits_for("text_chunk", 3), product.said()
    assert product.signal(signal.SIGTERM) == 0
    product.start()
    client.sees_the_end("succeeded")
    assert client.text() == REPLY
    kinds = [event["type"] for event in client.events]
    assert (kinds.count("stream_reset"), kinds.count("system_message")) == (1, 1)
    assert times_asked(vendor, client.message) == 2


def test_of_fifty_messages_at_once_one_is_accepted(make_client: Any) -> None:
    client = make_client()
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: client.send(), range(50)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [202] + [409] * 49
    accepted = next(answer for answer in answers if answer.status_code == 202).json()["task_id"]
    refusals = [answer.json() for answer in answers if answer.status_code == 409]
    assert {refusal["task_id"] for refusal in refusals} == {accepted}
    client.cancel()
    client.sees_the_end("canceled")
