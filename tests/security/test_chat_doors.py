"""Who gets in at the doors of chats and tasks, with what, how often, and for how long."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admindocs.views import extract_views_from_urlpatterns, simplify_regex
from django.test import AsyncClient, Client
from django.urls import get_resolver
from django.utils import timezone

from accounts import actions, tokens
from accounts.authentication import CredentialAuthentication
from accounts.models import ApiKey, Scope, User, hash_key
from accounts.permissions import HasScope
from assistants.models import Assistant
from conversations.api import chat, tasks_runs
from conversations.models import Conversation, Memory, Message, Run, RunStatus
from conversations.runs import store
from conversations.runs.log import follow
from conversations.runs.types import NewEvent, Outcome
from core.db import in_db
from core.families import is_api
from core.redis import redis_sync
from knowledge.models import KnowledgeBase
from providers.fakes import FakeUpstream, Step
from providers.models import Llm
from tests.accounts.test_doors import OPEN, OWN_GUARD, routes
from tests.conftest import make_key
from tests.conversations.made import claimed, conversation
from tests.security.chats import API, Answer, ask

# What streams or waits reads the database in threads of its own.
pytestmark = pytest.mark.django_db(transaction=True)

# What each part of the API asks of a credential, by the beginning of its paths.
SCOPES: dict[Scope, list[tuple[str, str]]] = {
    Scope.CHAT: [
        ("post", "/dialog"), ("put", "/dialog"), ("delete", "/dialog"), ("get", "/dialog/list"),
        ("post", "/chat"), ("post", "/completion"), ("post", "/chat/stop"),
        ("get", "/history?dialog_id=x"), ("post", "/message/like"), ("post", "/message/down"),
        ("get", "/memory"), ("delete", "/memory"), ("get", "/workspace/plugins"),
        ("get", "/workspace/session"), ("post", "/workspace/session"),
        ("delete", "/workspace/session"), ("post", "/workspace/session/x"),
        ("post", "/workspace/simple/chat"),
    ],
    Scope.TASKS: [
        ("get", "/conversations"), ("post", "/conversations"), ("get", "/conversations/x"),
        ("delete", "/conversations/x"), ("post", "/messages"), ("get", "/tasks"),
        ("get", "/tasks/x"), ("get", "/tasks/x/events"), ("post", "/tasks/x/cancel"),
        ("get", "/files"), ("delete", "/files?path=x"), ("post", "/files/upload"),
        ("get", "/files/download?path=x"), ("get", "/prompts"), ("post", "/prompts"),
        ("get", "/prompts/x"), ("delete", "/prompts/x"), ("get", "/personalizations"),
        ("post", "/personalizations"), ("get", "/personalizations/x"),
        ("delete", "/personalizations/x"), ("get", "/models"),
    ],
    Scope.MANAGE: [
        ("get", "/agent"), ("post", "/agent"), ("put", "/agent"), ("delete", "/agent"),
        ("post", "/agent/search"), ("get", "/agent/models"), ("get", "/llm/agent/models"),
        ("post", "/llm/create"), ("put", "/llm/update"), ("delete", "/llm/delete"),
        ("post", "/llm/personal"), ("post", "/llm/visible"), ("post", "/llm/search"),
        ("get", "/llm/schema"), ("post", "/usage"), ("post", "/usage_count"),
        ("get", "/usage/models_list"), ("get", "/usage/agents_list"), ("get", "/history"),
        ("get", "/history/stats"), ("get", "/history/x"), ("put", "/history/x"),
        ("patch", "/history/x"), ("delete", "/history/x"),
    ],
}  # fmt: skip
# Their views answer async; the framework runs them in the test's own loop.
_ASYNC = ("/chat", "/completion", "/workspace/simple/chat", "/tasks/x", "/tasks/x/events")

SENT_AS: dict[str, Callable[[str], dict[str, str]]] = {
    "bearer": lambda key: {"Authorization": f"Bearer {key}"},
    "x-api-key": lambda key: {"X-Api-Key": key},
}


@pytest.fixture(autouse=True)
def folders(settings: Any, tmp_path: Any) -> None:
    settings.USER_FILES_DIR = tmp_path


@pytest.fixture(params=SENT_AS)
def sent_as(request: pytest.FixtureRequest) -> Callable[[str], dict[str, str]]:
    return SENT_AS[request.param]


def knock(headers: dict[str, str], verb: str, path: str) -> Answer:
    body: dict[str, Any] | None = None if verb == "get" else {}
    return ask(headers, verb, path, body, is_async=path in _ASYNC)


def doors() -> Iterator[tuple[Scope, str, str]]:
    for scope, listed in SCOPES.items():
        for verb, path in listed:
            yield scope, verb, path


# --- What a door is ------------------------------------------------------------------------------


def test_the_tables_have_every_door() -> None:
    apps = ("conversations.", "assistants.api.agentchat", "providers.api.agentchat")
    ours = {
        path.removeprefix(API)
        for path, view in routes()
        if (getattr(view, "cls", None) or view).__module__.startswith(apps)
    }
    listed = {path.partition("?")[0].replace("/x", "/1") for _scope, _verb, path in doors()}
    assert listed | {"/llm/all"} == ours


def test_every_view_of_the_api_has_its_guard() -> None:
    """A view that is no REST view would have to look at its caller itself: there is none."""
    views = [(path, view) for path, view in routes() if path not in OPEN | OWN_GUARD]
    assert views
    for path, view in views:
        cls = getattr(view, "cls", None)
        assert cls is not None, path
        assert CredentialAuthentication in cls.authentication_classes, path
        assert cls.permission_classes, path
        assert all(issubclass(each, HasScope) for each in cls.permission_classes), path
        assert cls.throttle_classes, path


# Open to everybody, by design: each with the reason why.
PUBLIC = {
    "/": "leads to the console",
    "/favicon.ico": "a picture",
    "/health": "for load balancers",
    "/i18n/setlang/": "Django's own",
    "/files/<path:name>": "the signature in the link is the credential",
    "/talk/<str:assistant_id>": "asks itself whether the assistant is public",
    "/widget/<str:assistant_id>": "asks itself, as the voice page does",
    "/metrics": "asks itself for an operator or its token; tests/gateway hold that",
}


def test_every_other_page_is_the_consoles() -> None:
    anonymous = Client()
    for view, pattern, _namespace, _name in extract_views_from_urlpatterns(
        get_resolver().url_patterns
    ):
        path = simplify_regex(str(pattern))
        if is_api(path) or path in PUBLIC:
            continue
        assert path.startswith("/admin/"), path
        if path.endswith(("login/", "jsi18n/", "logout/")):
            continue
        filled = path.replace("<", "").replace(">", "")
        response = anonymous.get(filled)
        assert response.status_code in (301, 302), (path, view)
        if response.status_code == 302:
            assert response["Location"].startswith("/admin/login/"), path


# --- Scopes and credentials ----------------------------------------------------------------------


def test_a_key_needs_the_scope(alice: User, sent_as: Callable[[str], dict[str, str]]) -> None:
    # More requests than the default allows.
    fields: dict[str, Any] = {"requests_per_minute": 10_000}
    only = {scope: sent_as(make_key(alice, scopes=[scope], **fields)) for scope in SCOPES}
    without = {
        scope: sent_as(make_key(alice, scopes=[each for each in Scope if each != scope], **fields))
        for scope in SCOPES
    }
    wrong = []
    for scope, verb, path in doors():
        refused, allowed = knock(without[scope], verb, path), knock(only[scope], verb, path)
        if refused.code != 403 or allowed.code in (401, 403) or allowed.code >= 500:
            wrong.append((verb, path, refused.code, allowed.code))
    assert wrong == []


def test_a_key_that_has_ended_opens_nothing(
    alice: User, sent_as: Callable[[str], dict[str, str]]
) -> None:
    past = timezone.now() - timedelta(seconds=1)
    ended = [
        sent_as(make_key(alice, expires_at=past)),
        sent_as(make_key(alice, is_enabled=False)),
        sent_as("sk-gw-" + "x" * 43),
        sent_as("' or 1=1 --"),
        sent_as("x" * 10_000),
    ]
    good = sent_as(make_key(alice, requests_per_minute=10_000))
    wrong = []
    for _scope, verb, path in doors():
        statuses = {knock(headers, verb, path).status for headers in ended}
        if statuses != {401} or knock(good, verb, path).status == 401:
            wrong.append((verb, path, statuses))
    assert wrong == []


def test_two_credentials_that_disagree_open_nothing(alice_key: str, bob_key: str) -> None:
    both = {"Authorization": f"Bearer {alice_key}", "X-Api-Key": bob_key}
    for path in ("/chat", "/messages", "/dialog"):
        assert ask(both, "post", path, {}, is_async=path == "/chat").status == 401
        agreed = {**both, "X-Api-Key": alice_key}
        assert ask(agreed, "post", path, {}, is_async=path == "/chat").status != 401


def test_a_refresh_token_opens_nothing(alice: User) -> None:
    pair = tokens.issue(alice)
    for verb, path in (("post", "/chat"), ("get", "/tasks/x"), ("get", "/conversations")):
        refused, let_in = (
            knock({"Authorization": f"Bearer {token}"}, verb, path).status
            for token in (pair.refresh, pair.access)
        )
        assert (refused, let_in == 401) == (401, False)


# --- Cookies -------------------------------------------------------------------------------------

FORMS = ("application/json", "text/plain", "application/x-www-form-urlencoded")


@pytest.mark.parametrize("content_type", FORMS)
def test_no_other_site_uses_the_cookie(alice: User, content_type: str) -> None:
    """Also with the content types that a form of another page can send."""
    cookie = {"Cookie": f"access_token_cookie={tokens.issue(alice).access}"}
    unsafe = [(verb, path) for _scope, verb, path in doors() if verb != "get"]
    assert ("post", "/chat") in unsafe
    wrong = []
    for verb, path in unsafe:
        sent: dict[str, Any] = {"is_async": path in _ASYNC, "content_type": content_type}
        for origin in ("http://evil.example", "null", None):
            headers = cookie if origin is None else {**cookie, "Origin": origin}
            if ask(headers, verb, path, {}, **sent).status != 401:
                wrong.append((verb, path, origin))
    assert wrong == []
    for path in ("/chat", "/messages"):
        own = {**cookie, "Origin": "http://testserver"}
        assert ask(own, "post", path, {}, is_async=path == "/chat").status != 401


# --- Limits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "path", "factor"),
    [
        ("post", "/chat", 1), ("post", "/workspace/simple/chat", 1), ("post", "/messages", 1),
        ("get", "/files", 1), ("get", "/tasks/x", 10), ("get", "/tasks/x/events", 10),
    ],
)  # fmt: skip
def test_a_limit_holds_on_every_kind_of_door(
    alice: User, verb: str, path: str, factor: int
) -> None:
    key = make_key(alice, requests_per_minute=2)
    ways = [SENT_AS["bearer"](key), SENT_AS["x-api-key"](key)]
    statuses = [knock(ways[number % 2], verb, path).status for number in range(2 * factor + 1)]
    assert 429 not in statuses[:-1]
    assert statuses[-1] == 429
    redis_sync().flushdb()
    assert knock(ways[0], verb, path).status != 429


def test_reading_a_log_takes_nothing_from_other_doors(alice: User) -> None:
    headers = SENT_AS["bearer"](make_key(alice, requests_per_minute=1))
    for _number in range(5):
        assert knock(headers, "get", "/tasks/x").status == 404
    assert knock(headers, "get", "/conversations").status == 200
    assert knock(headers, "get", "/conversations").status == 429


# --- Rights that end while an answer goes on -----------------------------------------------------


def log_out(user: User, token: str) -> None:
    actions.logout([token])


def change_password(user: User, token: str) -> None:
    user.set_password("another-password")
    user.save()


def disable(user: User, token: str) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def nothing(user: User, token: str) -> None:
    """The twin: whoever stays signed in reads on."""


ENDINGS = [(log_out, False), (change_password, False), (disable, False), (nothing, True)]


@contextmanager
def streaming(token: str, verb: str, path: str, body: Any = None) -> Iterator[Any]:
    """The function that reads the stream: up to its first piece, then does the work, then all."""

    async def read(work: Callable[[], None]) -> tuple[str, str]:
        client: Any = AsyncClient()
        headers = {"Authorization": f"Bearer {token}"}
        response = await client.generic(
            verb.upper(), API + path, json.dumps(body or {}), headers=headers,
            content_type="application/json",
        )  # fmt: skip
        assert response.status_code == 200, response
        pieces = aiter(response.streaming_content)
        first = (await anext(pieces)).decode()
        await in_db(work)
        rest = b"".join([piece async for piece in pieces]).decode()
        return first, rest

    yield async_to_sync(read)


@pytest.mark.parametrize(("end", "goes_on"), ENDINGS)
def test_a_stream_of_a_task_ends_with_the_login(
    alice: User, end: Callable[[User, str], None], goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_runs, "STREAM_WAIT_S", 0.02)
    monkeypatch.setattr(tasks_runs, "STREAM_CHECK_S", 0)
    claim = claimed(conversation(alice))
    token = tokens.issue(alice).access

    def work() -> None:
        end(alice, token)
        last = NewEvent("task_complete", {"total_iterations": 1, "total_tool_calls": 0})
        store.append(claim, [NewEvent("text_chunk", {"content": "later"})])
        store.finish(claim, Outcome(status=RunStatus.SUCCEEDED, last=last, turn=None))

    with streaming(token, "get", f"/tasks/{claim.run_id}/events") as read:
        first, rest = read(work)
    assert "user_message" in first
    assert ("later" in rest) is goes_on


def test_a_stream_of_anothers_task_ends_with_the_operators_rights(
    alice: User, carol: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_runs, "STREAM_WAIT_S", 0.02)
    monkeypatch.setattr(tasks_runs, "STREAM_CHECK_S", 0)
    claim = claimed(conversation(alice))
    token = tokens.issue(carol).access

    def demote() -> None:
        User.objects.filter(pk=carol.pk).update(is_staff=False, is_superuser=False)

    # It would go on for ever: the task does not end.
    with streaming(token, "get", f"/tasks/{claim.run_id}/events") as read:
        first, rest = read(demote)
    assert "user_message" in first
    assert "idx" not in rest


@pytest.mark.parametrize(("end", "goes_on"), ENDINGS)
def test_a_long_poll_ends_with_the_login(
    alice: User, end: Callable[[User, str], None], goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_runs, "WAIT_CHECK_S", 0)
    claim = claimed(conversation(alice))
    token = tokens.issue(alice).access

    async def meanwhile(run_id: Any, **options: Any) -> Any:
        await in_db(end, alice, token)
        return await follow(run_id, **options)

    monkeypatch.setattr(tasks_runs, "follow", meanwhile)
    path = f"/tasks/{claim.run_id}?from=1&wait=0.05"
    answer = ask({"Authorization": f"Bearer {token}"}, "get", path, is_async=True)
    assert answer.status == (200 if goes_on else 401)


@pytest.mark.parametrize(("end", "goes_on"), ENDINGS)
@pytest.mark.parametrize("path", ["/chat", "/workspace/simple/chat"])
def test_an_answer_of_a_chat_ends_with_the_login(
    alice: User, upstream: FakeUpstream, end: Callable[[User, str], None], goes_on: bool,
    path: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(chat, "STREAM_CHECK_S", 0)
    llm = Llm.objects.create(
        owner=alice, name="m", model_name="m", vendor="openai_compatible",
        base_url=upstream.base_url,
    )  # fmt: skip
    agent = Assistant.objects.create(owner=alice, name="Ada", llm=llm, language="en")
    row = conversation(alice, agent, channel="chat", settings={"agent_type": "Agent"})
    upstream.behaviour.llm_token_ms = 20
    upstream.script("chat", Step(text=" ".join(f"word{number}" for number in range(60))))
    token = tokens.issue(alice).access
    body = {"user_input": "Hi", "dialog_id": row.pk, "query": "Hi", "model_id": llm.pk}
    with streaming(token, "post", path, body) as read:
        _first, rest = read(lambda: end(alice, token))
    assert ("word59" in rest) is goes_on
    run = Run.objects.get()
    # What was said until then is kept, and the model is not paid for more.
    assert run.status == (RunStatus.SUCCEEDED if goes_on else RunStatus.CANCELED)
    assert Message.objects.filter(role="assistant", is_interrupted=not goes_on).count() == 1


def test_a_key_that_is_deleted_ends_its_streams(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks_runs, "STREAM_WAIT_S", 0.02)
    monkeypatch.setattr(tasks_runs, "STREAM_CHECK_S", 0)
    claim, key = claimed(conversation(alice)), make_key(alice)
    row = ApiKey.objects.filter(digest=hash_key(key))
    for change in (lambda: row.update(scopes=["chat"]), lambda: row.update(is_enabled=False)):
        row.update(scopes=["tasks"], is_enabled=True)
        with streaming(key, "get", f"/tasks/{claim.run_id}/events") as read:
            first, rest = read(change)
        assert "user_message" in first
        assert "idx" not in rest


# --- What no body can say ------------------------------------------------------------------------


def claims(user: User) -> dict[str, Any]:
    """That a row is somebody else's, or the system's, or was something it was not."""
    return {
        "owner": user.pk, "owner_id": user.pk, "user_id": str(user.pk), "user": user.pk,
        "is_system": True, "is_staff": True, "is_custom": False, "is_public": True,
        "isPublic": True, "status": "succeeded", "kind": "chat", "channel": "voice",
        "assistant_key": "x", "remote_id": "x", "next_turn": 77, "id": "chosen", "pk": "chosen",
        "role": "system", "is_superuser": True, "provider_id": "x", "attempt": 9,
        "has_acted": True, "input_tokens": 10**9,
    }  # fmt: skip


def test_no_body_says_whose_a_row_is(alice: User, bob: User, upstream: FakeUpstream) -> None:
    headers = SENT_AS["bearer"](make_key(alice))
    more = claims(bob)
    vendor = {"provider": "OpenAI", "api_key": "sk-x", "base_url": upstream.base_url}

    def post(path: str, **body: Any) -> Any:
        answer = ask(headers, "post", path, {**more, **body})
        assert answer.is_success, answer
        return json.loads(answer.text)

    llm_id = post("/llm/create", model="m", **vendor)["data"]["llm_id"]
    fields = {"name": "A", "description": "", "system_prompt": "", "logo_url": ""}
    agent_id = post("/agent", llm_id=llm_id, **fields)["data"]["agent_id"]
    put = {**more, "agent_id": agent_id, "name": "B"}
    assert ask(headers, "put", "/agent", put).is_success
    dialog_id = post("/dialog", name="D", agent_id=agent_id)["data"]["dialog_id"]
    assert ask(headers, "put", "/dialog", {**more, "dialog_id": dialog_id, "name": "E"}).is_success
    post("/workspace/session", title="S")
    post("/message/like", user_input="a", agent_output="b")
    post("/prompts", name="p", content="c")
    post("/personalizations", name="p", content={**more, "tone": "x"})
    post("/conversations")
    sent = post("/messages", message="Hi", model_key=llm_id)
    owned: list[Any] = [Llm.objects.get(), Assistant.objects.get(), Run.objects.get()]
    for row in (*owned, *Conversation.objects.all()):
        assert row.owner_id == alice.pk, row
        assert row.pk != "chosen"
    agent = Assistant.objects.get()
    assert (agent.is_public, agent.is_system, agent.name) == (False, False, "B")
    run = Run.objects.get()
    assert (run.kind, run.status, run.attempt) == ("task", RunStatus.PENDING, 0)
    assert (str(run.pk), run.has_acted) == (sent["task_id"], False)
    assert {row.channel for row in Conversation.objects.all()} == {"chat", "task"}
    assert max(row.next_turn for row in Conversation.objects.all()) <= 2
    for user in (alice, bob):
        user.refresh_from_db()
        assert (user.is_staff, user.is_superuser) == (False, False)
    for kind in (Memory, KnowledgeBase):
        assert not kind.objects.exists()


# --- Numbers -------------------------------------------------------------------------------------

HUGE = ("-1", "99999999999999999999", "1e3", "x", "%00", "٣", "9" * 400)
PAGED = [
    ("get", "/dialog/list"), ("get", "/memory"), ("get", "/agent"), ("post", "/agent/search"),
    ("get", "/conversations"), ("get", "/tasks"), ("get", "/history"),
]  # fmt: skip


def test_no_number_of_a_page_breaks_a_list(alice: User) -> None:
    headers = SENT_AS["bearer"](make_key(alice, requests_per_minute=10_000))
    wrong = []
    for verb, path in PAGED:
        for name in ("page", "limit", "page_size", "offset"):
            for number in (*HUGE, "999999999"):
                answer = ask(headers, verb, f"{path}?{name}={number}", None)
                if answer.code >= 500:
                    wrong.append((path, name, number, answer))
        assert ask(headers, verb, f"{path}?page=1&limit=1&offset=0").is_success
    assert wrong == []


def test_no_offset_breaks_a_log(alice: User) -> None:
    headers = SENT_AS["bearer"](make_key(alice, requests_per_minute=10_000))
    path = f"/tasks/{claimed(conversation(alice)).run_id}"
    for number in HUGE:
        for query in (f"?from={number}", f"?wait={number}" if number[0] != "9" else ""):
            answer = ask(headers, "get", path + query, is_async=True)
            assert answer.code in (200, 400), (query, answer)
    stream = {**headers, "Last-Event-ID": "-1"}
    assert ask(stream, "get", f"{path}/events", is_async=True).code == 400
    assert ask(headers, "get", f"{path}?from=0", is_async=True).is_success
