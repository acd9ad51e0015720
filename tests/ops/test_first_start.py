"""What a fresh database contains, and what the environment adds to it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import ApiKey, User, hash_key
from assistants.models import Assistant
from assistants.task_agent import TASK_AGENT_ID
from config.first_start import prepare
from gateway.models import PublicModel, Route
from providers.models import Llm, OutboundRule, Provider
from providers.specs import default_llm
from tooling.models import Tool

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folder(settings: Settings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def login(folder: Path) -> dict[str, str]:
    lines = (folder / "first-login.txt").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def test_it_makes_an_operator_whose_login_is_in_a_private_file(folder: Path) -> None:
    prepared = prepare()
    written = login(folder)
    admin = User.objects.get(username=written["username"])
    assert admin.is_operator
    assert admin.check_password(written["password"])
    assert ApiKey.objects.get(digest=hash_key(written["API key"])).owner == admin
    assert stat.S_IMODE((folder / "first-login.txt").stat().st_mode) == 0o600
    assert any(str(folder / "first-login.txt") in line for line in prepared.lines)


def test_it_makes_the_operator_of_an_account_whose_name_differs_by_case(folder: Path) -> None:
    User.objects.create_user("Admin", password="Admin-password")
    prepare()
    written = login(folder)
    assert written["username"] == "Admin"
    assert User.objects.get().check_password(written["password"])


def test_it_adds_the_built_in_rows_and_the_examples_in_both_languages() -> None:
    demos = prepare().demos
    assert {demo.language for demo in demos} == {"en", "zh"}
    assert all(demo.opener for demo in demos)
    assert Tool.objects.filter(owner=None).count() == 15
    model = default_llm(None)
    assert model is not None
    assert model.vendor == "builtin"


def test_a_second_start_changes_nothing_that_people_did(folder: Path) -> None:
    prepare()
    (folder / "first-login.txt").unlink()
    Assistant.objects.get(pk="demo-zh").delete()
    Tool.objects.filter(pk="calculator").update(is_enabled=False)
    prepared = prepare()
    assert prepared.lines == []
    assert [demo.pk for demo in prepared.demos] == ["demo"]
    assert not (folder / "first-login.txt").exists()
    assert User.objects.count() == 1
    assert not Tool.objects.get(pk="calculator").is_enabled


def test_it_adds_the_agent_of_tasks_with_tools_that_work_without_keys() -> None:
    prepare()
    agent = Assistant.objects.get(pk=TASK_AGENT_ID)
    assert agent.is_system
    tools = set(agent.tools.values_list("pk", flat=True))
    assert {"calculator", "code_interpreter", "current_time"} <= tools
    assert "search" not in tools


def test_an_installation_without_the_agent_of_tasks_gets_it_once(folder: Path) -> None:
    prepare()
    Assistant.objects.get(pk=TASK_AGENT_ID).delete()
    # As an installation was before there was an agent.
    (folder / "added-rows.txt").unlink()
    prepare()
    Assistant.objects.filter(pk=TASK_AGENT_ID).update(name="Ours")
    prepare()
    assert Assistant.objects.get(pk=TASK_AGENT_ID).name == "Ours"
    Assistant.objects.get(pk=TASK_AGENT_ID).delete()
    assert prepare().lines == []
    assert not Assistant.objects.filter(pk=TASK_AGENT_ID).exists()


def test_the_gateway_offers_its_first_names_until_they_are_deleted() -> None:
    prepare()
    routes = Route.objects.values_list("model__name", "model__kind", "llm_id")
    assert set(routes) == {
        ("xiaoai-chat-v1", "chat", "builtin-demo"),
        ("xiaoai-embed-v1", "embedding", "builtin-hashing"),
    }
    PublicModel.objects.get(name="xiaoai-chat-v1").delete()
    prepare()
    assert [model.name for model in PublicModel.objects.all()] == ["xiaoai-embed-v1"]


def test_a_vendor_that_the_environment_names_is_added_once_and_preferred(
    settings: Settings,
) -> None:
    settings.OPENAI_API_KEY = "sk-test-openai"
    assert "added OpenAI, named by the environment" in prepare().lines
    provider = Provider.objects.get(vendor="openai")
    assert provider.api_key == "sk-test-openai"
    model = default_llm(None)
    assert model is not None
    assert (model.vendor, model.model_name) == ("openai", settings.OPENAI_MODEL)
    assert provider.asr_set.count() == provider.voice_set.count() == 1

    Llm.objects.filter(provider=provider).update(name="mine")
    assert prepare().lines == []
    assert set(Llm.objects.filter(provider=provider).values_list("name", flat=True)) == {"mine"}


def test_a_vendor_that_was_deleted_does_not_come_back(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "sk-test-openai"
    prepare()
    Provider.objects.get(vendor="openai").delete()
    settings.ANTHROPIC_API_KEY = "sk-test-anthropic"
    assert prepare().lines == ["added Anthropic, named by the environment"]
    assert set(Provider.objects.values_list("vendor", flat=True)) == {"anthropic"}
    Provider.objects.all().delete()
    assert prepare().lines == []
    assert not Provider.objects.exists()


def test_another_server_gets_no_speech_models_that_it_may_lack(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    settings.OPENAI_API_KEY = "sk-test-openai"
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9999/v1"
    prepare()
    provider = Provider.objects.get(vendor="openai")
    assert provider.base_url == "http://127.0.0.1:9999/v1"
    assert provider.llm_set.count() == 1
    assert provider.asr_set.count() == provider.voice_set.count() == 0

    provider.delete()
    (folder / "named-vendors.txt").unlink()
    monkeypatch.setenv("OPENAI_ASR_MODEL", "whisper-1")
    settings.OPENAI_ASR_MODEL = "whisper-1"
    prepare()
    assert Provider.objects.get(vendor="openai").asr_set.get().model_name == "whisper-1"


def test_a_private_address_that_the_operator_names_may_be_reached(
    settings: Settings,
) -> None:
    settings.OLLAMA_BASE_URL = "http://127.0.0.1:11434"
    prepare()
    assert Provider.objects.get(vendor="ollama").base_url == "http://127.0.0.1:11434/v1"
    rules = OutboundRule.objects.values_list("network", "port")
    assert list(rules) == [("127.0.0.1", 11434)]
