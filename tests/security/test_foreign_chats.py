"""Chats, tasks, files, prompts and memories: another user's id is an unknown id on every door."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from accounts.models import User
from conversations.models import Conversation, Message, Run
from providers.fakes import FakeUpstream
from providers.fakes.behaviour import KINDS
from tests.conftest import make_key
from tests.security.chats import DOORS, Answer, Door, ask, knock, make_things, rows, unknown

pytestmark = pytest.mark.django_db
# What streams or waits reads the database in threads of its own.
in_threads = pytest.mark.django_db(transaction=True)


@dataclasses.dataclass(frozen=True)
class Somebody:
    """A user, what they have, and how they say who they are."""

    user: User
    things: dict[str, str]
    headers: dict[str, str]


@pytest.fixture
def folders(settings: Any, tmp_path: Path) -> Path:
    settings.USER_FILES_DIR = tmp_path / "user_files"
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "user_files"


def somebody(user: User, upstream: FakeUpstream) -> Somebody:
    headers = {"Authorization": f"Bearer {make_key(user, requests_per_minute=100_000)}"}
    return Somebody(user, make_things(user, upstream.base_url), headers)


@pytest.fixture
def owner(alice: User, upstream: FakeUpstream, folders: Path) -> Somebody:
    return somebody(alice, upstream)


@pytest.fixture
def other(bob: User, upstream: FakeUpstream, folders: Path) -> Somebody:
    return somebody(bob, upstream)


def plain(answer: Answer, thing: str) -> tuple[int, str]:
    """What an answer says, without the id that was sent."""
    return answer.status, answer.text.replace(thing, "ID")


def files(folders: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folders.rglob("*") if path.is_file()}


def asked(upstream: FakeUpstream) -> int:
    return sum(upstream.stats.of(kind).requests for kind in KINDS)


def marked(doors: list[Door]) -> list[Any]:
    return [
        pytest.param(door, id=door.id, marks=[in_threads] if door.is_async else [])
        for door in doors
    ]


@dataclasses.dataclass(frozen=True)
class Scene:
    """Who has something, who would like to, and what could be changed by it."""

    owner: Somebody
    other: Somebody
    upstream: FakeUpstream
    folders: Path

    def check(self, door: Door) -> None:
        thing, missing = self.owner.things[door.what], unknown(door.what)
        before, calls = (rows(), files(self.folders)), asked(self.upstream)
        foreign = knock(self.other.headers, door, thing, self.other.things)
        nobodys = knock(self.other.headers, door, missing, self.other.things)
        assert plain(foreign, thing) == plain(nobodys, missing), door.id
        assert foreign.code == door.status, (door.id, foreign)
        assert (rows(), files(self.folders)) == before, door.id
        assert asked(self.upstream) == calls, door.id
        allowed = knock(self.owner.headers, door, thing, self.owner.things)
        assert allowed.is_success, (door.id, allowed)


@pytest.fixture
def scene(owner: Somebody, other: Somebody, upstream: FakeUpstream, folders: Path) -> Scene:
    return Scene(owner, other, upstream, folders)


@pytest.mark.parametrize("what", sorted({door.what for door in DOORS if not door.is_async}))
def test_a_foreign_id_is_an_unknown_one(what: str, scene: Scene) -> None:
    for door in DOORS:
        if door.what == what and not door.is_async:
            # What one door changes is there again before the next.
            with transaction.atomic():
                scene.check(door)
                transaction.set_rollback(True)


@in_threads
@pytest.mark.parametrize(
    "door", [door for door in DOORS if door.is_async], ids=lambda door: door.id
)
def test_a_foreign_id_is_an_unknown_one_where_the_answer_is_streamed(
    door: Door, scene: Scene
) -> None:
    scene.check(door)


LISTS = [
    ("get", "/agent"), ("post", "/agent/search"), ("get", "/agent/models"),
    ("get", "/llm/agent/models"), ("post", "/llm/personal"), ("post", "/llm/visible"),
    ("post", "/llm/search"), ("get", "/dialog/list"), ("get", "/memory"),
    ("get", "/workspace/session"), ("get", "/workspace/plugins"), ("get", "/conversations"),
    ("get", "/tasks"), ("get", "/prompts"), ("get", "/personalizations"), ("get", "/models"),
    ("get", "/files"), ("get", "/history"), ("get", "/history/stats"),
]  # fmt: skip


def test_no_list_shows_what_is_foreign(owner: Somebody, other: Somebody) -> None:
    for verb, path in LISTS:
        check_list(verb, path, owner, other)


def check_list(verb: str, path: str, owner: Somebody, other: Somebody) -> None:
    found = []
    for reader in (other, owner):
        answer = ask(reader.headers, verb, path, {} if verb == "post" else None)
        assert answer.is_success, answer.text
        found.append([what for what, thing in owner.things.items()
                      if what != "user" and f'"{thing}"' in answer.text])  # fmt: skip
    assert found[0] == [], path
    assert found[1], path


@pytest.mark.parametrize("path", ["/llm/all", "/user/list"])
def test_only_operators_list_what_everybody_has(path: str, owner: Somebody, carol: User) -> None:
    headers = {"Authorization": f"Bearer {make_key(carol)}"}
    assert ask(owner.headers, "get", path).code == 403
    assert ask(headers, "get", path).is_success


@pytest.mark.parametrize("path", ["/usage", "/usage_count"])
def test_no_usage_names_what_is_foreign(path: str, owner: Somebody, other: Somebody) -> None:
    Conversation.objects.filter(pk=owner.things["dialog"]).update(assistant_name="Of alice")
    Message.objects.filter(pk=owner.things["message"]).update(input_tokens=7, model_name="Hers")
    for filters in ({}, {"agent": "Of alice"}, {"model": "Hers"}):
        assert "Hers" not in ask(other.headers, "post", path, filters).text
    assert "Hers" in ask(owner.headers, "post", path, {}).text
    for words in ("/usage/models_list", "/usage/agents_list"):
        lists = [ask(each.headers, "get", words).text for each in (other, owner)]
        assert ["Hers" in text or "Of alice" in text for text in lists] == [False, True]


@in_threads
def test_a_session_of_anothers_id_is_an_own_one(owner: Somebody, other: Somebody) -> None:
    """Clients name their sessions; two of them may choose the same words."""
    session = owner.things["session"]
    body = {"query": "Hi", "session_id": session, "model_id": other.things["llm"]}
    answer = ask(other.headers, "post", "/workspace/simple/chat", body, is_async=True)
    assert answer.is_success
    made = Conversation.objects.get(alias=session)
    assert (made.owner_id, made.pk == session) == (other.user.pk, False)
    assert not Message.objects.filter(conversation_id=session).exists()
    own = ask(owner.headers, "post", "/workspace/simple/chat",
              {**body, "model_id": owner.things["llm"]}, is_async=True)  # fmt: skip
    assert own.is_success
    assert Message.objects.filter(conversation_id=session).count() == 2


def test_an_alias_takes_nothing_over(owner: Somebody, other: Somebody) -> None:
    """A dialog that is named as another's id leads to the own one only."""
    body = {"name": "T", "agent_id": other.things["agent"], "dialog_id": owner.things["dialog"]}
    assert ask(other.headers, "post", "/dialog", body).is_success
    path = f"/history?dialog_id={owner.things['dialog']}"
    assert "Said to alice" not in ask(other.headers, "get", path).text
    assert "Said to alice" in ask(owner.headers, "get", path).text


@pytest.mark.parametrize("door", marked([
    Door("dialog", "put", "/dialog", {"dialog_id": "{}", "name": "Changed"}),
    Door("dialog", "post", "/chat", {"user_input": "Hi", "dialog_id": "{}"},
         is_async=True),
    Door("memory", "delete", "/memory", {"memory_id": "{}"}),
    Door("dialog", "get", "/memory?dialog_id={}"),
    Door("prompt", "get", "/prompts/{}"),
    Door("manner", "get", "/personalizations/{}"),
    Door("picture", "get", "/files/download?path={}", is_async=True),
    Door("message", "post", "/message/like",
         {"user_input": "a", "agent_output": "b", "message_id": "{}"}),
]))  # fmt: skip
def test_an_operator_is_nobody_else(door: Door, owner: Somebody, carol: User) -> None:
    """Operators read what they may in the history and the console; they speak for nobody."""
    headers = {"Authorization": f"Bearer {make_key(carol)}"}
    assert knock(headers, door, owner.things[door.what], {}).code == 404
    assert knock(owner.headers, door, owner.things[door.what], owner.things).is_success


def test_no_personalization_leads_to_a_foreign_model(
    owner: Somebody, other: Somebody, upstream: FakeUpstream
) -> None:
    for each, is_taken in ((other, False), (owner, True)):
        content = {"enabled": True, "default_model": owner.things["llm"]}
        name = {"name": "wish", "content": content}
        assert ask(each.headers, "post", "/personalizations", name).is_success
        body = {"message": "Hi", "personalization_name": "wish"}
        sent = ask(each.headers, "post", "/messages", body)
        assert sent.is_success, sent.text
        run = Run.objects.filter(owner=each.user).latest("created_at")
        assert (run.request["llm_id"] == owner.things["llm"]) is is_taken


HOSTILE_IDS = ["'", "%00", "..%2f..%2fetc", "%2e%2e", "a" * 5000, "%ff", "-1", "1%20OR%201=1"]


@in_threads
def test_hostile_ids_are_unknown(owner: Somebody) -> None:
    doors = [door for door in DOORS if door.body is None and "path=" not in door.path]
    for door in doors:
        for row_id in HOSTILE_IDS:
            answer = knock(owner.headers, door, row_id, owner.things)
            assert answer.code in (400, 404, 422), (door.id, row_id, answer)
    for door in doors:
        if door.verb == "get":
            assert knock(owner.headers, door, owner.things[door.what], owner.things).is_success


HOSTILE_VALUES = [
    "'", "\0", "../etc", "a" * 5000, "-1", "9" * 40, {"$ne": 1}, ["x"], True, 1.5, "\ud800",
]  # fmt: skip


@in_threads
def test_hostile_values_in_bodies_are_refused(owner: Somebody) -> None:
    doors = [door for door in DOORS if door.body is not None]
    for door in doors:
        for value in HOSTILE_VALUES:
            sent = {
                name: value if each == "{}" else [value] if each == ["{}"] else each
                for name, each in (door.body or {}).items()
            }
            if sent == door.body:
                continue
            hostile = dataclasses.replace(door, body=sent)
            answer = knock(owner.headers, hostile, "x", owner.things)
            assert answer.code in (400, 404, 422), (door.id, value, answer)
    door = next(door for door in doors if door.path == "/chat")
    assert knock(owner.headers, door, owner.things[door.what], owner.things).is_success
