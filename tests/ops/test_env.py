"""How variables are read."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import override_settings

from config import env
from config.env import (
    SettingError,
    as_field_keys,
    as_log_level,
    as_networks,
    as_ports,
    as_time_zone,
    is_explicit,
    read,
    url_with,
    use_runtime_file,
)


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read here is not a variable of the product."""
    monkeypatch.setattr(env, "KNOWN", {})
    monkeypatch.setattr(env, "_RUNTIME", {})


def secret() -> str:
    return read("A_SECRET", str, default="default", help="A secret.", is_secret=True)


def test_the_environment_wins_over_the_runtime_file_which_wins_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert secret() == "default"
    file = tmp_path / "runtime.env"
    file.write_text("# comment\n\nA_SECRET=a=b#c\n")
    use_runtime_file(file)
    assert secret() == "a=b#c"
    assert not is_explicit("A_SECRET")
    monkeypatch.setenv("A_SECRET", "mine")
    assert secret() == "mine"
    assert is_explicit("A_SECRET")


def test_a_secret_can_come_from_a_file_but_not_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("from file\n")
    monkeypatch.setenv("A_SECRET_FILE", str(tmp_path / "secret"))
    assert secret() == "from file"
    assert is_explicit("A_SECRET")
    monkeypatch.setenv("A_SECRET", "too")
    with pytest.raises(SettingError, match="not both"):
        secret()


def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET_FILE", str(tmp_path / "missing"))
    with pytest.raises(SettingError, match="A_SECRET_FILE"):
        secret()


@pytest.mark.parametrize("text", ["x", "0", "80,99999", ","])
def test_a_wrong_value_is_refused_by_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PORTS", text)
    with pytest.raises(SettingError, match=r"SOME_PORTS.*expected port numbers"):
        read("SOME_PORTS", as_ports, default="80", help="Ports.")


def test_a_wrong_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    with pytest.raises(SettingError) as caught:
        read("A_SECRET", int, default="1", help="A secret.", is_secret=True)
    assert "A_SECRET" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_values_that_would_fail_later_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cast, good, bad in (
        (as_time_zone, "Asia/Shanghai", "Asia/Atlantis"),
        (as_log_level, "warning", "LOUD"),
        (as_field_keys, Fernet.generate_key().decode(), "short"),
        (url_with("redis", "unix"), "unix:///run/redis.sock", "http://redis"),
    ):
        monkeypatch.setenv("A_VALUE", good)
        read("A_VALUE", cast, default="", help="A value.")
        monkeypatch.setenv("A_VALUE", bad)
        with pytest.raises(SettingError, match="A_VALUE"):
            read("A_VALUE", cast, default="", help="A value.")


@override_settings(OUTBOUND_ALLOW=["10.0.0.0/8:443", "nowhere"])
def test_a_rule_that_cannot_be_read_fails_the_checks() -> None:
    with pytest.raises(SystemCheckError, match=r"config\.E001.*nowhere"):
        call_command("check")


def test_production_settings_are_checked() -> None:
    def complaints() -> set[str]:
        found = run_checks(tags=["security"], include_deployment_checks=True)
        return {message.id or "" for message in found if (message.id or "").startswith("config.")}

    with override_settings(ALLOWED_HOSTS=["example.org"]):
        assert complaints() == set()
    with override_settings(ALLOWED_HOSTS=["*"], FIELD_KEYS=[]):
        assert complaints() == {"config.W001", "config.W002"}


def test_trusted_proxies_are_addresses_or_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("everyone", "*", "10.0.0.1/8", "10.0.0.0/33"):
        monkeypatch.setenv("PROXIES", text)
        with pytest.raises(SettingError, match=r"PROXIES.*expected addresses or CIDR"):
            read("PROXIES", as_networks, default="127.0.0.1", help="Proxies.")
    monkeypatch.setenv("PROXIES", "10.0.0.0/8, ::1")
    networks = read("PROXIES", as_networks, default="127.0.0.1", help="Proxies.")
    assert networks == ["10.0.0.0/8", "::1"]
