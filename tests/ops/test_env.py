"""How variables are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from config import env
from config.env import SettingError, as_ports, is_explicit, read, use_runtime_file


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
    with pytest.raises(SettingError, match="SOME_PORTS"):
        read("SOME_PORTS", as_ports, default="80", help="Ports.")


def test_a_wrong_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    with pytest.raises(SettingError) as caught:
        read("A_SECRET", int, default="1", help="A secret.", is_secret=True)
    assert "A_SECRET" in str(caught.value)
    assert "hunter2" not in str(caught.value)
