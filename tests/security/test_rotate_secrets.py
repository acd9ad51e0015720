"""Every stored secret moves to the newest key; what cannot be opened is named, not lost."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, models

from accounts.models import User
from assistants.models import Assistant
from core import rotation
from core.crypto import EncryptedJSONField, EncryptedTextField
from providers.models import Llm, Provider
from tooling.models import McpServer, McpUserConfig, Tool, ToolBackend, ToolSecret

pytestmark = pytest.mark.django_db

TOOL = {"name": "Orders", "category": "query"}


def make_rows(owner: User) -> dict[type[models.Model], Any]:
    """A row with secrets of each kind of table that keeps some."""
    provider = Provider.objects.create(name="vendor", vendor="openai", api_key="of a provider")
    tool = Tool.objects.create(**TOOL, owner=owner, http_headers={"X-Key": "of 工具"})
    server = McpServer.objects.create(owner=owner, name="m", prefix="m", headers={"X-Key": "mcp"})
    return {
        Provider: provider,
        Llm: Llm.objects.create(name="llm", vendor="openai", api_key="of a model"),
        Assistant: Assistant.objects.create(name="a", owner=owner, api_key="of an assistant"),
        Tool: tool,
        ToolSecret: ToolSecret.objects.create(tool=tool, name="key", value="秘密", host="h:443"),
        ToolBackend: ToolBackend.objects.create(
            tool=tool, vendor="tavily", base_url="https://t", api_key="of a service"
        ),
        McpServer: server,
        McpUserConfig: McpUserConfig.objects.create(
            owner=owner, server=server, values={"token": "of a user"}
        ),
    }


def secrets_of(rows: dict[type[models.Model], Any]) -> dict[str, Any]:
    """All secrets as they are read from the database."""
    names = rotation.encrypted_fields()
    return {
        f"{model._meta.label}.{name}": getattr(model._base_manager.get(pk=row.pk), name)
        for model, row in rows.items()
        for name in names[model]
    }


def rotate(*arguments: str) -> str:
    output = StringIO()
    call_command("rotate_secrets", *arguments, stdout=output)
    return output.getvalue()


def new_key() -> str:
    return Fernet.generate_key().decode()


def test_it_knows_every_field_that_is_encrypted() -> None:
    # By what their description says, so that a third kind of field cannot be forgotten.
    described = {
        f"{model._meta.label}.{field.name}"
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.local_concrete_fields
        if str(field.description).startswith("Encrypted")
    }
    known = {
        f"{model._meta.label}.{name}"
        for model, names in rotation.encrypted_fields().items()
        for name in names
    }
    assert known == described
    assert {
        "tooling.Tool.http_headers", "tooling.ToolSecret.value", "tooling.ToolBackend.api_key",
        "tooling.McpServer.headers", "tooling.McpUserConfig.values", "providers.Provider.api_key",
        "assistants.Assistant.api_key",
    } <= known  # fmt: skip
    assert {EncryptedTextField.description, EncryptedJSONField.description} == {
        "Encrypted text",
        "Encrypted JSON",
    }


def test_it_moves_texts_and_json_of_all_apps(settings: Any, alice: User) -> None:
    rows = make_rows(alice)
    before = secrets_of(rows)
    old, new = settings.FIELD_KEYS, new_key()

    settings.FIELD_KEYS = [new, *old]
    printed = rotate()
    for label in ("tooling.Tool:", "tooling.McpUserConfig:", "providers.Llm:"):
        assert f"{label} 1 moved" in printed

    settings.FIELD_KEYS = [new]
    assert secrets_of(rows) == before
    settings.FIELD_KEYS = old
    for model, row in rows.items():
        with pytest.raises(ImproperlyConfigured):
            model._base_manager.get(pk=row.pk)


def test_it_does_not_touch_when_rows_were_changed(settings: Any, alice: User) -> None:
    tool = make_rows(alice)[Tool]
    settings.FIELD_KEYS = [new_key(), *settings.FIELD_KEYS]
    rotate()
    assert Tool.objects.get(pk=tool.pk).updated_at == tool.updated_at


def test_it_goes_on_where_it_was_stopped(
    settings: Any, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = [
        Tool.objects.create(**TOOL, owner=alice, http_headers={"X-Key": str(number)})
        for number in range(7)
    ]
    settings.FIELD_KEYS = [new := new_key(), *settings.FIELD_KEYS]
    batches = 0
    plain = rotation._batch

    def dying(*arguments: Any) -> Any:
        nonlocal batches
        if arguments[0] is Tool:
            batches += 1
        if batches == 3:
            raise KeyboardInterrupt
        return plain(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(rotation, "_batch", dying)
        with pytest.raises(KeyboardInterrupt):
            rotate("--batch", "2")
    assert "tooling.Tool: 3 moved, 4 already there" in rotate("--batch", "2")
    assert "tooling.Tool: 0 moved, 7 already there" in rotate("--batch", "2")
    settings.FIELD_KEYS = [new]
    shown = [Tool.objects.get(pk=tool.pk).http_headers["X-Key"] for tool in tools]
    assert shown == [str(number) for number in range(7)]


def test_it_names_what_no_key_opens_and_moves_the_rest(
    settings: Any, alice: User, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = make_rows(alice)
    lost = rows[ToolSecret]
    own, foreign, new = settings.FIELD_KEYS, new_key(), new_key()
    settings.FIELD_KEYS = [foreign]
    ToolSecret.objects.filter(pk=lost.pk).update(value="of an older time")

    settings.FIELD_KEYS = [new, *own]
    errors = StringIO()
    with pytest.raises(CommandError, match="1 secrets are opened by no key"):
        call_command("rotate_secrets", stdout=StringIO(), stderr=errors)
    assert f"tooling.ToolSecret {lost.pk}: no key opens 'value'" in errors.getvalue()

    settings.FIELD_KEYS = [new]
    del rows[ToolSecret]
    assert secrets_of(rows)["tooling.McpUserConfig.values"] == {"token": "of a user"}
    # With its key back the same command ends well, and the secret is whole.
    settings.FIELD_KEYS = [new, foreign]
    rotate()
    settings.FIELD_KEYS = [new]
    assert ToolSecret.objects.get(pk=lost.pk).value == "of an older time"


def test_it_says_no_secret(settings: Any, alice: User) -> None:
    rows = make_rows(alice)
    settings.FIELD_KEYS = [new_key(), *settings.FIELD_KEYS]
    printed = rotate()
    assert "秘密" not in printed
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM tooling_toolsecret WHERE id = %s", [rows[ToolSecret].pk])
        token = cursor.fetchone()[0]
    assert token not in printed
    assert "秘密" not in token


@pytest.mark.parametrize("keys", [[], ["no key"]])
def test_it_does_nothing_without_a_usable_key(settings: Any, alice: User, keys: list[str]) -> None:
    rows = make_rows(alice)
    before, own = secrets_of(rows), settings.FIELD_KEYS
    settings.FIELD_KEYS = keys
    with pytest.raises(CommandError, match="FIELD_KEYS"):
        rotate()
    settings.FIELD_KEYS = own
    assert secrets_of(rows) == before


def test_it_refuses_empty_batches() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        rotate("--batch", "0")
