"""Public models over REST, for operators."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from gateway.models import PublicModel, Route
from providers.models import Llm, LlmType
from tests.rest import data_of, error_of

PATH = "/api/v1/gateway/models"


@pytest.fixture
def llm(db: None) -> Llm:
    return Llm.objects.create(
        name="row", vendor="openai_compatible", base_url="http://127.0.0.1:9/v1", model_name="m"
    )


def body(llm: Llm, **values: Any) -> dict[str, Any]:
    return {
        "public_name": "fast",
        "kind": "chat",
        "max_tokens_cap": 4096,
        "price_in": 1.5,
        "price_out": 6,
        "cache_s": 60,
        "routes": [{"llm_id": llm.pk, "priority": 1, "weight": 3}],
        **values,
    }


def test_it_makes_shows_changes_and_deletes_one(carol_api: APIClient, llm: Llm) -> None:
    made = data_of(carol_api.post(PATH, body(llm)), 201)
    assert (made["public_name"], made["price_in"], made["enabled"]) == ("fast", 1.5, True)
    (route,) = made["routes"]
    assert (route["llm_id"], route["llm_name"], route["weight"]) == (llm.pk, "row", 3)
    assert made["problem"] == ""
    url = f"{PATH}/{made['id']}"
    changed = data_of(carol_api.patch(url, {"price_out": 7}))
    assert (changed["price_out"], len(changed["routes"])) == (7, 1)
    assert data_of(carol_api.get(PATH))["items"] == [changed]
    emptied = data_of(carol_api.patch(url, {"routes": []}))
    assert emptied["routes"] == []
    assert emptied["problem"]
    assert data_of(carol_api.delete(url)) == {"id": made["id"], "deleted": True}
    error_of(carol_api.get(url), 404)


def test_it_keeps_the_route_to_a_model_that_stays(carol_api: APIClient, llm: Llm) -> None:
    made = data_of(carol_api.post(PATH, body(llm)), 201)
    other = Llm.objects.create(
        name="other", vendor="openai_compatible", base_url="http://127.0.0.1:9/v1", model_name="o"
    )
    Route.objects.update(last_error="Broke.")
    routes = [{"llm_id": other.pk}, {"llm_id": llm.pk, "enabled": False}]
    changed = data_of(carol_api.patch(f"{PATH}/{made['id']}", {"routes": routes}))
    kept = next(route for route in changed["routes"] if route["llm_id"] == llm.pk)
    assert kept["id"] == made["routes"][0]["id"]
    assert (kept["enabled"], kept["weight"], kept["last_error"]) == (False, 3, "Broke.")


@pytest.mark.parametrize("verb", ["get", "post"])
def test_it_is_for_operators_only(
    alice_api: APIClient, carol_api: APIClient, llm: Llm, verb: str
) -> None:
    error_of(getattr(alice_api, verb)(PATH, body(llm)), 403)
    assert getattr(carol_api, verb)(PATH, body(llm)).status_code < 300


def test_nobody_else_changes_one(alice_api: APIClient, carol_api: APIClient, llm: Llm) -> None:
    made = data_of(carol_api.post(PATH, body(llm)), 201)
    url = f"{PATH}/{made['id']}"
    for verb in ("patch", "put", "delete", "get"):
        error_of(getattr(alice_api, verb)(url, {"enabled": False}), 403)
    assert PublicModel.objects.get().is_enabled
    assert data_of(carol_api.patch(url, {"enabled": False}))["enabled"] is False


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("public_name", ""),
        ("public_name", "two words"),
        ("public_name", "assistant:Guide"),
        ("public_name", "x" * 101),
        ("kind", "voice"),
        ("max_tokens_cap", 0),
        ("price_in", -1),
        ("price_out", "much"),
        ("cache_s", -1),
        ("routes", [{"llm_id": "unknown"}]),
        ("routes", [{"priority": 1}]),
        ("routes", "row"),
    ],
)
def test_it_names_the_field_that_is_wrong(
    carol_api: APIClient, llm: Llm, field: str, value: Any
) -> None:
    error = error_of(carol_api.post(PATH, body(llm, **{field: value})), 400)
    assert [name.partition("[")[0].partition(".")[0] for name in error["details"]] == [field]
    assert not PublicModel.objects.exists()


def test_it_refuses_a_taken_name_and_routes_of_another_kind(carol_api: APIClient, llm: Llm) -> None:
    data_of(carol_api.post(PATH, body(llm)), 201)
    assert list(error_of(carol_api.post(PATH, body(llm)), 400)["details"]) == ["public_name"]
    vectors = Llm.objects.create(name="vectors", vendor="openai", type=LlmType.EMBEDDING)
    wrong = body(llm, public_name="other", routes=[{"llm_id": vectors.pk}])
    assert list(error_of(carol_api.post(PATH, wrong), 400)["details"]) == ["routes"]
    twice = body(llm, public_name="other", routes=[{"llm_id": llm.pk}] * 2)
    assert list(error_of(carol_api.post(PATH, twice), 400)["details"]) == ["routes"]
    assert PublicModel.objects.count() == 1
