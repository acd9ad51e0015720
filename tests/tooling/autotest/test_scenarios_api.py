from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from assistants.models import Assistant
from tooling.models import Scenario

PATH = "/api/v1/tools/autotest/scenarios"
STEPS = [{"say": "Hello", "expect_words": ["hi|hello"]}]


@pytest.fixture
def ada(alice: User) -> Assistant:
    return Assistant.objects.create(name="Ada", owner=alice)


def values(assistant: Assistant, **changes: Any) -> dict[str, Any]:
    return {"name": "Greeting", "assistant_id": assistant.pk, "steps": STEPS, **changes}


def body_of(response: Any, status: int = 200) -> dict[str, Any]:
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert (set(body) == {"detail"}) == (status >= 400)
    return body


def test_it_is_created_read_changed_and_deleted(
    alice_api: APIClient, alice: User, ada: Assistant
) -> None:
    made = body_of(alice_api.post(PATH, values(ada)))
    assert (made["user_id"], made["is_system"]) == (alice.pk, False)
    assert made["steps"][0] == {**STEPS[0], "forbid_words": [], "expect_tools": []}
    url = f"{PATH}/{made['id']}"
    assert body_of(alice_api.get(url)) == made
    changed = body_of(alice_api.put(url, {"name": "Other"}))
    assert (changed["name"], changed["steps"]) == ("Other", made["steps"])
    page = body_of(alice_api.get(f"{PATH}?assistant_id={ada.pk}"))
    assert [row["id"] for row in page["list"]] == [made["id"]]
    assert body_of(alice_api.get(f"{PATH}?assistant_id=other"))["total"] == 0
    assert body_of(alice_api.delete(url)) == {"message": "Deleted successfully"}
    assert body_of(alice_api.get(url), 404)["detail"] == "Scenario not found"


def test_it_takes_no_owner_from_the_body(
    alice_api: APIClient, alice: User, bob: User, ada: Assistant
) -> None:
    claims = {"user_id": bob.pk, "owner": bob.pk, "owner_id": bob.pk, "is_system": True}
    made = body_of(alice_api.post(PATH, values(ada, **claims)))
    changed = body_of(alice_api.patch(f"{PATH}/{made['id']}", claims))
    assert changed["user_id"] == alice.pk


def test_it_needs_an_assistant_that_may_be_seen(
    bob_api: APIClient, alice_api: APIClient, ada: Assistant
) -> None:
    for assistant_id in (ada.pk, "unknown"):
        refused = bob_api.post(PATH, values(ada, assistant_id=assistant_id))
        assert "assistant_id" in body_of(refused, 400)["detail"]
    made = body_of(alice_api.post(PATH, values(ada)))
    refused = alice_api.patch(f"{PATH}/{made['id']}", {"assistant_id": "unknown"})
    assert "assistant_id" in body_of(refused, 400)["detail"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": []}, "steps"),
        ({"steps": [{"say": ""}]}, "steps.0.say"),
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
    ],
)
def test_it_says_what_is_wrong(
    alice_api: APIClient, ada: Assistant, changes: dict[str, Any], field: str
) -> None:
    refused = alice_api.post(PATH, values(ada, **changes))
    assert field in body_of(refused, 400)["detail"]
    assert not Scenario.objects.exists()


def test_foreign_ones_are_not_found(
    alice_api: APIClient, bob_api: APIClient, carol_api: APIClient, ada: Assistant
) -> None:
    made = body_of(alice_api.post(PATH, values(ada)))
    url = f"{PATH}/{made['id']}"
    assert body_of(bob_api.get(PATH))["total"] == 0
    for refused in (
        bob_api.get(url),
        bob_api.put(url, {"name": "Mine"}),
        bob_api.delete(url),
        bob_api.get(f"{PATH}/unknown"),
    ):
        assert body_of(refused, 404)["detail"] == "Scenario not found"
    assert body_of(carol_api.get(url))["name"] == "Greeting"
    assert body_of(alice_api.put(url, {"name": "Mine"}))["name"] == "Mine"


def test_the_system_s_are_changed_by_operators(
    alice_api: APIClient, carol_api: APIClient, ada: Assistant
) -> None:
    row = Scenario.objects.create(name="System", assistant_id=ada.pk, steps=STEPS)
    url = f"{PATH}/{row.pk}"
    assert body_of(alice_api.get(url))["is_system"] is True
    body_of(alice_api.patch(url, {"name": "Mine"}), 403)
    body_of(alice_api.delete(url), 403)
    assert body_of(carol_api.patch(url, {"name": "Ours"}))["name"] == "Ours"
    body_of(carol_api.delete(url))


def test_it_needs_a_credential(anonymous_api: APIClient, db: None) -> None:
    body_of(anonymous_api.get(PATH), 401)
    body_of(anonymous_api.post(PATH, {}), 401)
