"""Where a model's key may go, where requests may go, and whose name a model may have."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from core.crypto import MASK
from providers.models import Asr, Embedder, Llm, ModelRow, Provider, Reranker, Voice
from tests.rest import data_of, error_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("loopback_allowed")]

KEY = "sk-a-secret-key-1234"
HERE, THERE = "http://127.0.0.1:9101/v1", "http://127.0.0.1:9102/v1"
PRIVATE = "http://10.1.2.3/v1"
KINDS: list[tuple[str, type[ModelRow], dict[str, Any]]] = [
    ("/api/v1/llm", Llm, {}),
    ("/api/v1/llm", Llm, {"type": "embedding"}),
    ("/api/v1/llm", Llm, {"type": "rerank"}),
    ("/api/v1/asr", Asr, {}),
    ("/api/v1/voices", Voice, {}),
]


def body(**more: Any) -> dict[str, Any]:
    return {"name": "Mine", "vendor": "openai_compatible", "base_url": HERE, "api_key": KEY, **more}


@pytest.mark.parametrize(("path", "model", "more"), KINDS)
class TestOverTheApi:
    @pytest.mark.parametrize("kept", [{}, {"api_key": MASK}, {"apiKey": f"{MASK}1234"}])
    def test_a_key_stays_with_its_host(
        self,
        alice_api: APIClient,
        path: str,
        model: type[ModelRow],
        more: dict[str, Any],
        kept: dict[str, Any],
    ) -> None:
        made = data_of(alice_api.post(path, body(**more)), 201)
        url = f"{path}/{made['id']}"
        error = error_of(alice_api.patch(url, {"base_url": THERE, **kept}), 400)
        assert list(error["details"]) == ["api_key"]
        assert "another host" in error["message"]
        assert model._default_manager.get(pk=made["id"]).base_url == HERE
        data_of(alice_api.patch(url, {"base_url": f"{HERE}/chat", **kept}))
        data_of(alice_api.patch(url, {"base_url": THERE, "api_key": "sk-another-key-1234"}))

    def test_a_key_is_not_moved_in_steps(
        self, alice_api: APIClient, path: str, model: type[ModelRow], more: dict[str, Any]
    ) -> None:
        made = data_of(alice_api.post(path, body(**more)), 201)
        url = f"{path}/{made['id']}"
        error = error_of(alice_api.patch(url, {"vendor": "siliconflow", "base_url": ""}), 400)
        assert list(error["details"]) == ["api_key"]
        data_of(alice_api.patch(url, {"base_url": THERE, "api_key": ""}))

    def test_what_may_not_be_reached_is_refused_when_it_is_saved(
        self, alice_api: APIClient, path: str, model: type[ModelRow], more: dict[str, Any]
    ) -> None:
        error = error_of(alice_api.post(path, body(base_url=PRIVATE, **more)), 400)
        assert list(error["details"]) == ["base_url"]
        assert "An operator can allow it" in error["message"]
        unknown = "http://nobody.invalid/v1"
        data_of(alice_api.post(path, body(base_url=unknown, **more)), 201)


def test_a_key_of_the_provider_stays_with_its_host(alice_api: APIClient, alice: User) -> None:
    account = Provider.objects.create(
        owner=alice, name="Account", vendor="openai_compatible", base_url=HERE, api_key=KEY
    )
    row = Llm.objects.create(owner=alice, name="m", vendor="openai_compatible", provider=account)
    error = error_of(alice_api.patch(f"/api/v1/llm/{row.pk}", {"base_url": THERE}), 400)
    assert list(error["details"]) == ["api_key"]
    data_of(alice_api.patch(f"/api/v1/llm/{row.pk}", {"base_url": THERE, "api_key": KEY}))


def test_an_owner_has_one_enabled_model_of_a_name(
    alice_api: APIClient, bob_api: APIClient, alice: User
) -> None:
    path = "/api/v1/llm"
    first = data_of(alice_api.post(path, body()), 201)
    error = error_of(alice_api.post(path, body()), 409)
    assert "name" in error["message"]
    second = data_of(alice_api.post(path, body(enabled=False)), 201)
    error_of(alice_api.patch(f"{path}/{second['id']}", {"enabled": True}), 409)
    data_of(alice_api.patch(f"{path}/{second['id']}", {"temperature": 1}))
    third = data_of(alice_api.post(path, body(name="Other")), 201)
    error_of(alice_api.patch(f"{path}/{third['id']}", {"name": "Mine"}), 409)
    # Neither another kind of model nor another owner is in the way.
    data_of(alice_api.post(path, body(type="embedding")), 201)
    data_of(bob_api.post(path, body()), 201)
    # Those that shared a name before go on as they are.
    Llm.objects.filter(pk=third["id"]).update(name="Mine")
    data_of(alice_api.patch(f"{path}/{third['id']}", {"temperature": 1}))
    data_of(alice_api.patch(f"{path}/{first['id']}", {"enabled": False}))


CONSOLE = [("llm", Llm), ("embedder", Embedder), ("reranker", Reranker), ("asr", Asr),
           ("voice", Voice), ("provider", Provider)]  # fmt: skip


@pytest.mark.parametrize(("page", "model"), CONSOLE)
class TestInTheConsole:
    @pytest.fixture
    def console(self, carol: User) -> Client:
        client = Client(HTTP_ACCEPT_LANGUAGE="en")
        client.force_login(carol)
        return client

    def errors_of(self, console: Client, row: Any, page: str, **more: Any) -> dict[str, Any]:
        url = f"/admin/providers/{page}/{row.pk}/change/"
        form = console.get(url).context["adminform"].form
        values = {name: form[name].value() for name in form.fields if name != "api_key"}
        sent = {
            name: value
            for name, value in values.items()
            if value is not None and value is not False
        }
        response = console.post(url, {**sent, **more})
        if response.status_code == 302:
            return {}
        return dict(response.context["adminform"].form.errors)

    def test_it_checks_what_the_api_checks(
        self, console: Client, page: str, model: Any, alice: User
    ) -> None:
        values = {"owner": alice, "vendor": "openai_compatible", "base_url": HERE, "api_key": KEY}
        row = model.objects.create(name="Mine", **values)
        assert set(self.errors_of(console, row, page, base_url=THERE)) == {"api_key"}
        assert set(self.errors_of(console, row, page, base_url=PRIVATE)) == {"base_url"}
        assert self.errors_of(console, row, page, base_url=f"{HERE}/x") == {}
        assert self.errors_of(console, row, page, base_url=THERE, api_key="sk-new") == {}
        row.refresh_from_db()
        assert (row.base_url, row.api_key) == (THERE, "sk-new")

    def test_it_keeps_names_apart(
        self, console: Client, page: str, model: Any, alice: User
    ) -> None:
        values = {"owner": alice, "vendor": "openai_compatible", "base_url": HERE}
        model.objects.create(name="Mine", **values)
        row = model.objects.create(name="Other", **values)
        has_names = issubclass(model, Llm)
        errors = self.errors_of(console, row, page, name="Mine")
        assert set(errors) == ({"name"} if has_names else set())
        assert self.errors_of(console, row, page, name="New") == {}
