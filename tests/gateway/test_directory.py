"""What a name means on the gateway, for whom, and how soon a change is known."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.keyring import KeyRecord
from accounts.models import User
from accounts.principals import principal_for_user
from core import changes
from core.db import in_db
from core.errors import NotFound, Unavailable
from core.wire import parse_origin
from gateway import directory
from gateway import types as gateway_types
from gateway.models import PublicModel, Route
from gateway.standing import failing_models, standing_of
from providers.models import Llm, LlmType, Provider
from tests.conftest import make_user
from tests.core.test_changes import until

pytestmark = pytest.mark.django_db(transaction=True)


def make_llm(name: str, **fields: Any) -> Llm:
    values: dict[str, Any] = {
        "vendor": "openai_compatible",
        "base_url": f"https://{name}.example/v1/",
        "model_name": f"{name}-upstream",
        "api_key": f"key-of-{name}",
        **fields,
    }
    return Llm.objects.create(name=name, **values)


def make_public(name: str, *llms: Llm, **fields: Any) -> PublicModel:
    public = PublicModel.objects.create(name=name, **fields)
    for number, llm in enumerate(llms):
        Route.objects.create(model=public, llm=llm, priority=number, weight=number + 1)
    return public


def key_of(user: User, *allowed: str) -> KeyRecord:
    return KeyRecord(
        principal=principal_for_user(user, login="x"),
        key_id=1,
        key_name="tests",
        requests_per_minute=60,
        allowed_models=frozenset(allowed),
    )


async def alices_key(*allowed: str) -> KeyRecord:
    return key_of(await in_db(make_user, "alice"), *allowed)


async def known(key: KeyRecord, name: str) -> gateway_types.PublicModel:
    """What the name means, kept in memory, with word of changes coming."""
    await directory.find(key, name)
    await until(changes.is_listening)
    found = await directory.find(key, name)
    assert directory.cached(key, name) is found
    return found


async def names(record: KeyRecord) -> list[str]:
    return [model.name for model in await directory.listed(record)]


async def test_a_public_name_has_its_routes_in_the_order_of_priority() -> None:
    key = await alices_key()
    first, second = await in_db(make_llm, "first"), await in_db(make_llm, "second")
    await in_db(lambda: make_public("public", second, first, price_input=3, cache_s=60))
    found = await directory.find(key, "public")
    assert (found.name, found.kind, found.cache_s) == ("public", "chat", 60)
    assert found.price.input == 3
    assert [target.row_id for target in found.targets] == [second.pk, first.pk]
    assert [(target.priority, target.weight) for target in found.targets] == [(0, 1), (1, 2)]
    assert all(target.route_id for target in found.targets)


@pytest.mark.parametrize(
    ("fields", "dialect", "address", "path", "headers"),
    [
        (
            {},
            "chat_completions",
            "https://m.example/v1",
            "/chat/completions",
            {b"authorization": b"Bearer key-of-m"},
        ),
        (
            {"vendor": "anthropic", "base_url": "https://m.example/v1"},
            "messages",
            "https://m.example",
            "/v1/messages",
            {b"authorization": b"Bearer key-of-m", b"anthropic-version": b"2026-10-21"},
        ),
        (
            {"vendor": "tei", "type": LlmType.EMBEDDING, "base_url": "", "api_key": ""},
            "embeddings",
            "http://127.0.0.1:8080",
            "/v1/embeddings",
            {},
        ),
        (
            {"vendor": "openai", "type": LlmType.EMBEDDING, "base_url": ""},
            "embeddings",
            "https://api.openai.com/v1",
            "/embeddings",
            {b"authorization": b"Bearer key-of-m"},
        ),
    ],
)
async def test_a_target_says_how_its_vendor_is_asked(
    fields: dict[str, Any], dialect: str, address: str, path: str, headers: dict[bytes, bytes]
) -> None:
    key = await alices_key()
    await in_db(lambda: make_llm("m", **fields))
    (target,) = (await directory.find(key, "m")).targets
    assert (target.dialect, target.path) == (dialect, path)
    assert target.origin == parse_origin(address)
    assert dict(target.headers) == headers
    assert (target.model_name, target.route_id) == ("m-upstream", None)
    assert "key-of-m" not in repr(target)


async def test_a_built_in_model_has_no_address() -> None:
    key = await alices_key()
    await in_db(lambda: make_llm("m", vendor="builtin", base_url="", api_key=""))
    (target,) = (await directory.find(key, "m")).targets
    assert (target.dialect, target.origin, target.headers) == ("builtin", None, ())


async def test_public_names_go_before_own_models_and_these_before_the_systems() -> None:
    alice, bob = await in_db(make_user, "alice"), await in_db(make_user, "bob")
    system = await in_db(make_llm, "name")
    own = await in_db(lambda: make_llm("other", owner=alice, aliases=["name"]))
    await in_db(lambda: make_llm("name", owner=bob))
    found = await known(key_of(alice), "name")
    assert [target.row_id for target in found.targets] == [own.pk]
    assert (found.name, found.owner_id, found.display_name) == ("name", alice.pk, "other")
    await in_db(lambda: make_public("name", system))
    await until(lambda: directory.cached(key_of(alice), "name") is None)
    found = await directory.find(key_of(alice), "name")
    assert [target.row_id for target in found.targets] == [system.pk]


async def test_names_go_before_other_names_and_ids_are_known_too() -> None:
    key = await alices_key()
    aliased = await in_db(lambda: make_llm("a", aliases=["b", "c"]))
    named = await in_db(make_llm, "b")
    assert (await directory.find(key, "b")).targets[0].row_id == named.pk
    assert (await directory.find(key, "c")).targets[0].row_id == aliased.pk
    by_id = await directory.find(key, aliased.pk)
    assert (by_id.name, by_id.targets[0].row_id) == ("a", aliased.pk)


async def test_models_of_others_disabled_ones_and_rerankers_are_not_found() -> None:
    alice, bob = await in_db(make_user, "alice"), await in_db(make_user, "bob")
    provider = await in_db(lambda: Provider.objects.create(name="p", is_enabled=False))
    await in_db(lambda: make_llm("bobs", owner=bob))
    await in_db(lambda: make_llm("off", is_enabled=False))
    await in_db(lambda: make_llm("provider off", provider=provider))
    await in_db(lambda: make_llm("reranker", type=LlmType.RERANK))
    assert (await directory.find(key_of(bob), "bobs")).owner_id == bob.pk
    for name in ("bobs", "off", "provider off", "reranker", "unknown", "", "\0", "x" * 1000):
        with pytest.raises(NotFound) as caught:
            await directory.find(key_of(alice), name)
        assert caught.value.error_code == "model_not_found"
    assert await names(key_of(alice)) == []
    assert await names(key_of(bob)) == ["bobs"]


async def test_a_key_finds_and_lists_what_it_is_allowed() -> None:
    alice = await in_db(make_user, "alice")
    llm = await in_db(lambda: make_llm("a", aliases=["b"]))
    await in_db(make_public, "public", llm)
    assert await names(key_of(alice)) == ["public", "a", "b"]
    assert (await directory.find(key_of(alice), "a")).name == "a"
    key = key_of(alice, "public", "b")
    assert await names(key) == ["public", "b"]
    assert (await directory.find(key, "b")).name == "b"
    for name in ("a", llm.pk):
        with pytest.raises(NotFound) as caught:
            await directory.find(key, name)
        assert caught.value.error_code == "model_not_found"
        assert directory.cached(key, name) is None


async def test_a_disabled_public_name_hides_models_of_the_same_name() -> None:
    key = await alices_key()
    llm = await in_db(make_llm, "name")
    public = await in_db(make_public, "name", llm)
    await known(key, "name")
    await in_db(lambda: PublicModel.objects.filter(pk=public.pk).update(is_enabled=False))
    await until(lambda: directory.cached(key, "name") is None)
    with pytest.raises(NotFound):
        await directory.find(key, "name")
    assert await names(key) == []


async def test_a_public_name_that_leads_nowhere_is_known_and_says_so() -> None:
    key = await alices_key()
    good = await in_db(make_llm, "good")
    off = await in_db(lambda: make_llm("off", is_enabled=False))
    nowhere = await in_db(lambda: make_llm("nowhere", base_url=""))
    embedder = await in_db(lambda: make_llm("embedder", type=LlmType.EMBEDDING))
    public = await in_db(make_public, "public", off, nowhere, embedder)
    with pytest.raises(Unavailable, match="public"):
        await directory.find(key, "public")
    problem = await in_db(directory.problem_of, public)
    assert all(each.name in problem for each in (off, nowhere, embedder))
    await in_db(lambda: Route.objects.create(model=public, llm=good))
    assert await in_db(directory.problem_of, public) == ""
    async with asyncio.timeout(10):
        while True:
            try:
                found = await directory.find(key, "public")
            except Unavailable:
                await asyncio.sleep(0.01)
            else:
                break
    assert [target.row_id for target in found.targets] == [good.pk]
    empty = await in_db(make_public, "empty")
    assert await in_db(directory.problem_of, empty)


@pytest.mark.parametrize("table", ["providers_llm", "providers_provider"])
async def test_a_key_that_cannot_be_decrypted_concerns_its_model_alone(table: str) -> None:
    key = await alices_key()
    provider = await in_db(lambda: Provider.objects.create(name="p", api_key="provider-key"))
    own = "" if table == "providers_provider" else "own-key"
    bad = await in_db(lambda: make_llm("bad", provider=provider, api_key=own))
    good = await in_db(make_llm, "good")
    both, one = await in_db(make_public, "both", bad, good), await in_db(make_public, "one", bad)
    spoil = f"UPDATE {table} SET api_key = 'nonsense' WHERE name IN ('bad', 'p')"
    await in_db(change, spoil)
    found = await directory.find(key, "both")
    assert [target.row_id for target in found.targets] == [good.pk]
    for name in ("one", "bad"):
        with pytest.raises(Unavailable):
            await directory.find(key, name)
    assert await in_db(directory.problem_of, both) == ""
    assert "cannot be decrypted" in await in_db(directory.problem_of, one)
    (route, _) = await in_db(lambda: list(both.routes.with_models().order_by("priority")))
    standing = await in_db(standing_of, route)
    assert (standing.state, "cannot be decrypted" in standing.text) == ("off", True)
    assert [row.name for row, _problem in await in_db(failing_models)] == ["one"]


def change(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE gateway_publicmodel SET cache_s = 5",
        "UPDATE gateway_route SET weight = 7",
        "DELETE FROM gateway_route WHERE weight = 2",
        "UPDATE providers_llm SET model_name = 'new'",
        "UPDATE providers_provider SET is_enabled = false",
    ],
)
async def test_changes_by_raw_sql_are_known_at_once(statement: str) -> None:
    key = await alices_key()
    provider = await in_db(lambda: Provider.objects.create(name="p"))
    one, two = await in_db(lambda: make_llm("one", provider=provider)), await in_db(make_llm, "two")
    await in_db(make_public, "public", one, two)
    before = await known(key, "public")
    await in_db(change, statement)
    await until(lambda: directory.cached(key, "public") is None)
    assert await directory.find(key, "public") != before


async def test_what_tests_and_failures_leave_on_rows_is_no_news() -> None:
    key = await alices_key()
    # Without a secret: each save encrypts it anew.
    public = await in_db(lambda: make_public("public", make_llm("one", api_key="")))
    before = await known(key, "public")

    def note() -> None:
        Route.objects.update(last_error="broken", last_failed_at=timezone.now())
        llm = Llm.objects.get(name="one")
        llm.note_check(is_ok=False, message="broken")
        llm.save()
        public.save()

    await in_db(note)
    heard: list[str] = []
    changes.subscribe("marker", heard.append, lambda: None)
    await in_db(change, "SELECT pg_notify('changes', 'marker:')")
    await until(lambda: bool(heard))
    assert directory.cached(key, "public") is before
