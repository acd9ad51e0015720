"""Polls that are answered in front of Django: as its view answers them, or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NoReturn

import httpx
import pytest
from django.db import OperationalError

from accounts.models import ApiKey, User, hash_key
from conversations.api import tasks_polls
from conversations.models import Channel, Conversation, Run, RunEvent, RunKind, RunStatus
from conversations.runs import store
from core.db import in_db
from core.handler import Handler
from tests.accounts.test_keyring import until_refused, warmed
from tests.conftest import make_key

# Everything is read in threads of its own.
pytestmark = pytest.mark.django_db(transaction=True)

HOST = "http://localhost"


@pytest.fixture
def key(alice: User) -> str:
    return make_key(alice)


@pytest.fixture
def path(alice: User) -> str:
    """A task of alice's with three events."""
    talk = Conversation.objects.create(id="conv_1", owner=alice, channel=Channel.TASK)
    run = Run.objects.create(
        kind=RunKind.TASK,
        owner=alice,
        conversation=talk,
        turn=1,
        request={},
        status=RunStatus.RUNNING,
        next_seq=3,
    )
    texts = ["终末地 🚀", "two", "three"]
    RunEvent.objects.bulk_create(
        RunEvent(run=run, seq=seq, type="text_chunk", data={"content": text, "index": seq})
        for seq, text in enumerate(texts)
    )
    return f"/api/v1/tasks/{run.pk}"


class Behind:
    """Django, which counts what it is asked."""

    def __init__(self) -> None:
        self._handler = Handler()
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await self._handler(scope, receive, send)


@pytest.fixture
def behind() -> Behind:
    return Behind()


async def asked(
    application: Any, path: str, headers: Mapping[str, str], *, method: str = "GET"
) -> httpx.Response:
    # Nothing that a client would add by itself.
    request = httpx.Request(method, f"{HOST}{path}", headers={"Host": "localhost", **headers})
    async with httpx.ASGITransport(application) as transport:
        response = await transport.handle_async_request(request)
        await response.aread()
        return response


@pytest.mark.parametrize("query", ["", "?from=0", "?from=2", "?from=3", "?from=99"])
@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
@pytest.mark.parametrize("language", ["en", "zh-CN,zh;q=0.9", ""])
async def test_it_answers_as_the_view_does(
    key: str, path: str, behind: Behind, query: str, header: str, language: str
) -> None:
    headers = {header: key if header == "X-Api-Key" else f"Bearer {key}"}
    headers |= {"Accept-Language": language} if language else {}
    answer = await asked(tasks_polls.before(behind), path + query, headers)
    assert behind.asked == 0
    of_view = await asked(behind, path + query, headers)
    assert (answer.status_code, of_view.status_code) == (200, 200)
    assert answer.content == of_view.content
    kinds = [dict(each.headers.items()) for each in (answer, of_view)]
    ids = [kind.pop("x-request-id") for kind in kinds]
    assert ids[0] != ids[1]
    assert kinds[0] == kinds[1]


@pytest.mark.parametrize(
    ("suffix", "more", "method", "status"),
    [
        ("?from=0&wait=0.01", {}, "GET", 200),
        ("?from=x", {}, "GET", 400),
        ("?from=00000000000000000000", {}, "GET", 200),
        ("/", {}, "GET", 200),
        ("", {"Cookie": "a=b"}, "GET", 200),
        ("", {"Host": "elsewhere.example"}, "GET", 400),
        ("", {"Authorization": "Bearer other"}, "GET", 401),
        ("", {"Authorization": "Basic eA=="}, "GET", 401),
        ("", {"X-Api-Key": "sk-unknown"}, "GET", 401),
        ("", {}, "HEAD", 200),
        ("", {}, "DELETE", 405),
        ("/cancel", {}, "GET", 405),
    ],
)
async def test_whatever_is_not_plain_is_left_to_the_view(
    key: str,
    path: str,
    behind: Behind,
    suffix: str,
    more: dict[str, str],
    method: str,
    status: int,
) -> None:
    front = tasks_polls.before(behind)
    headers = {"X-Api-Key": key}
    answer = await asked(front, path + suffix, headers | more, method=method)
    assert (answer.status_code, behind.asked) == (status, 1)
    assert (await asked(front, path, headers)).status_code == 200
    assert behind.asked == 1


async def test_a_foreign_task_is_answered_like_an_unknown_one(
    key: str, path: str, bob: User, behind: Behind
) -> None:
    front, bobs = tasks_polls.before(behind), {"X-Api-Key": await in_db(make_key, bob)}
    foreign = await asked(front, path, bobs)
    unknown = await asked(front, f"/api/v1/tasks/{uuid.uuid4()}", bobs)
    assert (foreign.status_code, foreign.content) == (404, unknown.content)
    assert behind.asked == 2
    assert (await asked(front, path, {"X-Api-Key": key})).status_code == 200


async def test_a_key_of_another_scope_is_refused(alice: User, path: str, behind: Behind) -> None:
    front = tasks_polls.before(behind)
    talking = await in_db(lambda: make_key(alice, scopes=["gateway"]))
    tasks = await in_db(lambda: make_key(alice, scopes=["tasks"]))
    assert (await asked(front, path, {"X-Api-Key": talking})).status_code == 403
    assert (await asked(front, path, {"X-Api-Key": tasks})).status_code == 200


async def test_a_key_that_is_taken_away_reads_no_further(
    key: str, path: str, behind: Behind
) -> None:
    front = tasks_polls.before(behind)
    await warmed(key)
    assert (await asked(front, path, {"X-Api-Key": key})).status_code == 200
    await in_db(ApiKey.objects.filter(digest=hash_key(key)).delete)
    await until_refused(key)
    assert (await asked(front, path, {"X-Api-Key": key})).status_code == 401


@pytest.mark.parametrize("per_minute", [1, 30])
async def test_both_doors_count_polls_together_and_exactly(
    alice: User, path: str, behind: Behind, per_minute: int
) -> None:
    own = await in_db(lambda: make_key(alice, requests_per_minute=per_minute))
    front, headers = tasks_polls.before(behind), {"X-Api-Key": own}
    answers = [await asked(front, path, headers) for _ in range(5 * per_minute)]
    answers += [await asked(behind, path, headers) for _ in range(5 * per_minute + 1)]
    good = [each for each in answers if each.status_code == 200]
    assert len(good) <= 10 * per_minute
    # What was taken ahead and is not used yet is all that can be missing.
    assert len(good) >= 10 * per_minute - 3
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 70
    rest = [await asked(front, path, headers) for _ in range(4)]
    assert len(good) + sum(each.status_code == 200 for each in rest) == 10 * per_minute


async def test_a_database_that_is_away_is_the_views_to_tell_of(
    key: str, path: str, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    front, headers = tasks_polls.before(behind), {"X-Api-Key": key}
    assert (await asked(front, path, headers)).status_code == 200

    def read_as(*arguments: Any, **options: Any) -> NoReturn:
        raise OperationalError

    monkeypatch.setattr(store, "read_as", read_as)
    answer = await asked(front, path, headers)
    assert (answer.status_code, behind.asked) == (503, 1)
    assert answer.json()["success"] is False


async def test_behind_https_it_says_so_and_answers_nobody_else(
    key: str, path: str, settings: Any
) -> None:
    settings.SECURE_SSL_REDIRECT, settings.SECURE_HSTS_SECONDS = True, 60
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    tasks_polls.fixed_headers.cache_clear()
    try:
        front = tasks_polls.before(behind := Behind())
        headers = {"X-Api-Key": key}
        answer = await asked(front, path, {**headers, "X-Forwarded-Proto": "https"})
        assert (answer.status_code, behind.asked) == (200, 0)
        assert "strict-transport-security" in answer.headers
        assert (await asked(front, path, headers)).status_code == 301
    finally:
        tasks_polls.fixed_headers.cache_clear()
