"""What requests took, over REST: by key, model and day, and one by one; nobody else's."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from gateway.models import PublicModel, Route
from providers.models import Llm
from tests.gateway.api.conftest import key_of, put_down
from tests.rest import data_of, error_of

USAGE = "/api/v1/gateway/usage"
REQUESTS = "/api/v1/gateway/requests"
OCTOBER: dict[str, str | float] = {"from": "2026-10-01", "to": "2026-10-31"}


def test_it_sums_up_by_day_model_and_key(alice: User, alice_api: APIClient) -> None:
    first, second = key_of(alice), key_of(alice)
    put_down(first)
    put_down(first, model="dear", cost="2.25", status=502)
    put_down(second, day="2026-10-06")
    put_down(second, day="2026-11-01")

    def asked(by: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = data_of(alice_api.get(USAGE, {**OCTOBER, "group_by": by}))
        return rows

    days = asked("day")
    assert [row["group"] for row in days] == ["2026-10-05", "2026-10-06"]
    assert days[0] == {
        "group": "2026-10-05", "name": "2026-10-05", "requests": 2, "errors": 1,
        "input_tokens": 200, "output_tokens": 40, "cost": 2.75,
    }  # fmt: skip
    assert [(row["group"], row["cost"]) for row in asked("model")] == [("dear", 2.25), ("fast", 1)]
    assert [(row["group"], row["name"], row["requests"]) for row in asked("key")] == [
        (str(first.pk), "tests", 2),
        (str(second.pk), "tests", 1),
    ]


def test_it_shows_nobody_elses_usage(
    alice: User, bob: User, alice_api: APIClient, bob_api: APIClient, carol_api: APIClient
) -> None:
    put_down(key_of(alice))
    query: dict[str, str | float] = {**OCTOBER, "owner": alice.pk}
    assert data_of(bob_api.get(USAGE, OCTOBER)) == []
    error_of(bob_api.get(USAGE, query), 404)
    assert len(data_of(alice_api.get(USAGE, query))) == 1
    assert len(data_of(carol_api.get(USAGE, query))) == 1
    assert len(data_of(carol_api.get(USAGE, OCTOBER))) == 1
    assert data_of(carol_api.get(USAGE, {**OCTOBER, "owner": bob.pk})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("from", "yesterday"),
        ("to", "2026-13-01"),
        ("from", "2026-11-01"),
        ("group_by", "owner"),
        ("owner", "x"),
    ],
)
def test_it_names_what_is_wrong_in_the_question(
    alice_api: APIClient, name: str, value: str
) -> None:
    error = error_of(alice_api.get(USAGE, {**OCTOBER, name: value}), 400)
    assert list(error["details"]) == [name]


def test_it_bears_the_first_day_there_is(alice_api: APIClient) -> None:
    assert data_of(alice_api.get(USAGE, {"to": "0001-01-01"})) == []


def test_it_lists_requests_and_finds_one_by_its_id(alice: User, alice_api: APIClient) -> None:
    key = key_of(alice)
    good = put_down(key)
    bad = put_down(
        key, day="2026-10-06", status=502, error_type="upstream_error", error_message="Broke."
    )
    items = data_of(alice_api.get(REQUESTS))["items"]
    assert [item["request_id"] for item in items] == [bad, good]
    assert (items[0]["error_type"], items[0]["error_message"]) == ("upstream_error", "Broke.")
    assert (items[1]["cost"], items[1]["key_id"]) == (0.5, key.pk)
    narrowed: tuple[tuple[dict[str, str | float], list[str]], ...] = (
        ({"status": "error"}, [bad]),
        ({"status": "200"}, [good]),
        ({"status": "%"}, []),
        ({"request_id": good}, [good]),
        ({"model": "dear"}, []),
        ({"key": key.pk}, [bad, good]),
        ({"key": key.pk + 1}, []),
    )
    for query, found in narrowed:
        page = data_of(alice_api.get(REQUESTS, query))
        assert [item["request_id"] for item in page["items"]] == found, query
    assert data_of(alice_api.get(f"{REQUESTS}/{good}"))["request_id"] == good


def test_it_tells_which_model_answered_to_those_who_may_see_it(
    alice: User, bob: User, alice_api: APIClient, carol_api: APIClient
) -> None:
    public = PublicModel.objects.create(name="fast")
    fields = {"vendor": "openai_compatible", "model_name": "m"}
    mine = Llm.objects.create(owner=alice, name="mine", **fields)
    theirs = Llm.objects.create(owner=bob, name="theirs", **fields)
    routes = {row.pk: Route.objects.create(model=public, llm=row).pk for row in (mine, theirs)}
    nothing = (None, None, None)
    for target, route, is_seen in (
        (mine, routes[mine.pk], True),
        (mine, None, True),
        (theirs, routes[theirs.pk], False),
    ):
        request_id = put_down(key_of(alice), target_row=target.pk, route_id=route)
        for client, expected in (
            (alice_api, (target.pk, target.name, route) if is_seen else nothing),
            (carol_api, (target.pk, target.name, route)),
        ):
            row = data_of(client.get(f"{REQUESTS}/{request_id}"))
            assert (row["llm_id"], row["llm_name"], row["route_id"]) == expected
    unanswered = data_of(alice_api.get(f"{REQUESTS}/{put_down(key_of(alice))}"))
    assert (unanswered["llm_id"], unanswered["llm_name"], unanswered["route_id"]) == nothing


def test_it_hides_the_requests_of_others_like_unknown_ones(
    alice: User, alice_api: APIClient, bob_api: APIClient, carol_api: APIClient
) -> None:
    request_id = put_down(key_of(alice))
    foreign = bob_api.get(f"{REQUESTS}/{request_id}")
    unknown = bob_api.get(f"{REQUESTS}/req_unknown")
    assert error_of(foreign, 404)["code"] == "REQUEST_NOT_FOUND"
    assert foreign.json() == unknown.json()
    assert data_of(bob_api.get(REQUESTS))["items"] == []
    for owner in (alice_api, carol_api):
        assert data_of(owner.get(f"{REQUESTS}/{request_id}"))["request_id"] == request_id
        assert data_of(owner.get(REQUESTS))["total"] == 1
