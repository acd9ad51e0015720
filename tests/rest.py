"""Inheritable cases for resources of the platform family.

    class TestAssistants(PlatformResourceCases):
        path = "/api/v1/assistants"
        not_found_code = "ASSISTANT_NOT_FOUND"
        create_data = {"name": "Anna"}
        update_data = {"name": "Berta"}

        def make(self, owner: User | None) -> Assistant:
            return Assistant.objects.create(owner=owner, name="Anna")

Take single classes (`ListCases`, `DetailCases`, …) where a resource has only some of the verbs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.db.models import Model
from rest_framework.test import APIClient

from accounts.models import User


def data_of(response: Any, status: int = 200) -> Any:
    """What a platform answer holds, after a look at its status and envelope."""
    assert response.status_code == status, response.content
    body = response.json()
    assert body["success"] is True
    assert set(body) == {"success", "data"}
    return body["data"]


def error_of(response: Any, status: int) -> dict[str, Any]:
    """The error of a platform answer, after a look at its status and envelope."""
    assert response.status_code == status, response.content
    body = response.json()
    assert body["success"] is False
    assert set(body) == {"success", "error"}
    assert {"code", "message"} <= set(body["error"]) <= {"code", "message", "details"}
    error: dict[str, Any] = body["error"]
    return error


class PlatformCase:
    """What the cases must know about a resource."""

    path: ClassVar[str]
    unknown_id: ClassVar[str] = "000000000000"
    not_found_code: ClassVar[str] = "NOT_FOUND"
    create_data: ClassVar[dict[str, Any]]
    update_data: ClassVar[dict[str, Any]]

    def make(self, owner: User) -> Model:
        raise NotImplementedError

    def url(self, row: Model) -> str:
        return f"{self.path}/{row.pk}"

    def assert_unknown(self, response: Any) -> None:
        assert error_of(response, 404)["code"] == self.not_found_code


class ListCases(PlatformCase):
    def test_it_lists_own_rows(self, alice_api: APIClient, alice: User) -> None:
        row = self.make(alice)
        page = data_of(alice_api.get(self.path))
        assert set(page) == {"items", "total", "page", "page_size"}
        assert str(row.pk) in {str(item["id"]) for item in page["items"]}

    def test_it_lists_nothing_of_others(
        self, bob_api: APIClient, alice_api: APIClient, alice: User
    ) -> None:
        row_id = str(self.make(alice).pk)
        listed = [
            row_id in {str(item["id"]) for item in data_of(client.get(self.path))["items"]}
            for client in (alice_api, bob_api)
        ]
        assert listed == [True, False]

    def test_it_lists_everything_to_operators(self, carol_api: APIClient, alice: User) -> None:
        row = self.make(alice)
        items = data_of(carol_api.get(self.path))["items"]
        assert str(row.pk) in {str(item["id"]) for item in items}

    def test_it_pages(self, alice_api: APIClient, alice: User) -> None:
        for _number in range(3):
            self.make(alice)
        total = data_of(alice_api.get(self.path))["total"]
        first = data_of(alice_api.get(self.path, {"page_size": 2}))
        second = data_of(alice_api.get(self.path, {"limit": 2, "page": 2}))
        beyond = data_of(alice_api.get(self.path, {"page": 99999}))
        ids = [str(item["id"]) for item in first["items"] + second["items"]]
        assert len(ids) == len(set(ids)) == min(total, 4)
        assert (first["page"], first["page_size"], first["total"]) == (1, 2, total)
        assert beyond["items"] == []

    @pytest.mark.parametrize("query", ["page=0", "page=x", "page_size=-1", "limit=1e3", "page="])
    def test_it_refuses_a_page_that_is_no_number(self, alice_api: APIClient, query: str) -> None:
        error = error_of(alice_api.get(f"{self.path}?{query}"), 400)
        assert error["code"] == "VALIDATION_ERROR"
        assert list(error["details"]) == [query.split("=")[0]]


class DetailCases(PlatformCase):
    def test_it_shows_an_own_row(self, alice_api: APIClient, alice: User) -> None:
        row = self.make(alice)
        assert str(data_of(alice_api.get(self.url(row)))["id"]) == str(row.pk)

    def test_it_shows_any_row_to_operators(self, carol_api: APIClient, alice: User) -> None:
        row = self.make(alice)
        assert str(data_of(carol_api.get(self.url(row)))["id"]) == str(row.pk)

    def test_it_hides_a_foreign_row_like_an_unknown_one(
        self, bob_api: APIClient, alice: User
    ) -> None:
        foreign = bob_api.get(self.url(self.make(alice)))
        unknown = bob_api.get(f"{self.path}/{self.unknown_id}")
        self.assert_unknown(foreign)
        assert foreign.json() == unknown.json()

    @pytest.mark.parametrize(
        "row_id",
        [
            "'",
            "%00",
            "..%2f..%2fetc",
            "%2e%2e",
            "1%20OR%201=1",
            "a" * 10_000,
            "%ff",
            "-1",
            "9" * 30,
        ],
    )
    def test_it_survives_hostile_ids(self, alice_api: APIClient, row_id: str) -> None:
        assert alice_api.get(f"{self.path}/{row_id}").status_code == 404


class CreateCases(PlatformCase):
    def test_it_creates_a_row_of_the_caller(self, alice_api: APIClient, alice: User) -> None:
        made = data_of(alice_api.post(self.path, self.create_data), 201)
        assert str(made["user_id"]) == str(alice.pk)
        assert data_of(alice_api.get(f"{self.path}/{made['id']}"))["id"] == made["id"]

    def test_it_takes_no_owner_from_the_body(
        self, alice_api: APIClient, alice: User, bob: User
    ) -> None:
        claims = {"user_id": bob.pk, "owner": bob.pk, "owner_id": bob.pk, "is_system": True}
        made = data_of(alice_api.post(self.path, {**self.create_data, **claims}), 201)
        assert str(made["user_id"]) == str(alice.pk)

    def test_it_refuses_a_body_that_is_no_object(self, alice_api: APIClient) -> None:
        for body in ("[]", '"text"', "{", "[" * 100_000):
            response = alice_api.post(self.path, body, content_type="application/json")
            error_of(response, 400)

    def test_it_needs_a_credential(self, anonymous_api: APIClient, alice_api: APIClient) -> None:
        assert error_of(anonymous_api.post(self.path, self.create_data), 401)["code"] == (
            "UNAUTHORIZED"
        )
        data_of(alice_api.post(self.path, self.create_data), 201)


class UpdateCases(PlatformCase):
    @pytest.mark.parametrize("verb", ["put", "patch"])
    def test_it_changes_what_is_given(self, alice_api: APIClient, alice: User, verb: str) -> None:
        row = self.make(alice)
        before = data_of(alice_api.get(self.url(row)))
        after = data_of(getattr(alice_api, verb)(self.url(row), self.update_data))
        changed = {name for name in before if before[name] != after[name]}
        assert set(self.update_data) <= changed
        assert changed <= set(self.update_data) | {"updated_at", "updatedAt"}

    def test_it_lets_operators_change_any_row(self, carol_api: APIClient, alice: User) -> None:
        data_of(carol_api.patch(self.url(self.make(alice)), self.update_data))

    def test_it_changes_no_foreign_row(
        self, bob_api: APIClient, alice_api: APIClient, alice: User
    ) -> None:
        row = self.make(alice)
        for verb in ("put", "patch"):
            self.assert_unknown(getattr(bob_api, verb)(self.url(row), self.update_data))
        data_of(alice_api.patch(self.url(row), self.update_data))

    def test_it_keeps_the_owner(self, alice_api: APIClient, alice: User, bob: User) -> None:
        row = self.make(alice)
        claims = {"user_id": bob.pk, "owner": bob.pk, "id": "other", "is_system": True}
        after = data_of(alice_api.patch(self.url(row), {**self.update_data, **claims}))
        assert (str(after["user_id"]), str(after["id"])) == (str(alice.pk), str(row.pk))


class DeleteCases(PlatformCase):
    def test_it_deletes_an_own_row(self, alice_api: APIClient, alice: User) -> None:
        row = self.make(alice)
        deleted = data_of(alice_api.delete(self.url(row)))
        assert deleted == {"id": row.pk, "deleted": True}
        self.assert_unknown(alice_api.get(self.url(row)))

    def test_it_deletes_no_foreign_row(
        self, bob_api: APIClient, alice_api: APIClient, alice: User
    ) -> None:
        row = self.make(alice)
        self.assert_unknown(bob_api.delete(self.url(row)))
        data_of(alice_api.delete(self.url(row)))

    def test_it_lets_operators_delete_any_row(self, carol_api: APIClient, alice: User) -> None:
        data_of(carol_api.delete(self.url(self.make(alice))))


class PlatformResourceCases(ListCases, DetailCases, CreateCases, UpdateCases, DeleteCases):
    """All of them."""
