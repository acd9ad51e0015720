"""A model that can be asked, and how the answers of the tasks family are read."""

from __future__ import annotations

from typing import Any

import pytest

from providers.models import Llm


def ok(response: Any, status: int = 200) -> dict[str, Any]:
    """The body of a tasks answer, after a look at its status and envelope."""
    assert response.status_code == status, response.content
    body: dict[str, Any] = response.json()
    assert body["success"] is True
    return body


def refused(response: Any, status: int) -> str:
    """The message of a tasks error, after a look at its status and envelope."""
    assert response.status_code == status, response.content
    body = response.json()
    assert body["success"] is False
    assert set(body) <= {"success", "error", "task_id"}
    return str(body["error"])


def make_llm(name: str = "Model", **fields: Any) -> Llm:
    values = {"vendor": "openai_compatible", "base_url": "http://127.0.0.1:9/v1", **fields}
    return Llm.objects.create(name=name, model_name="fake-model", **values)


@pytest.fixture
def llm(db: None) -> Llm:
    return make_llm()
