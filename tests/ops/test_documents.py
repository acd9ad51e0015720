"""Promises of the documents and the floors that a program can hold."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

import config.settings  # noqa: F401 - importing it reads every variable
from config.env import KNOWN

ROOT = Path(__file__).resolve().parents[2]
_ROW = re.compile(
    r"^\| `(?P<name>[A-Z_]+)` \| (?:`(?P<default>[^`]*)`)? ?\| (?P<help>.+) \|$", re.M
)


def documented(name: str) -> dict[str, re.Match[str]]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return {match["name"]: match for match in _ROW.finditer(text)}


def test_the_readme_lists_every_variable_with_its_default_and_meaning() -> None:
    rows = documented("README.md")
    assert list(rows) == list(KNOWN)
    for name, variable in KNOWN.items():
        assert (rows[name]["default"] or "") == variable.default
        assert rows[name]["help"] == variable.help


def test_the_chinese_readme_lists_the_same_variables_with_the_same_defaults() -> None:
    rows = documented("README.zh-hans.md")
    assert list(rows) == list(KNOWN)
    for name, variable in KNOWN.items():
        assert (rows[name]["default"] or "") == variable.default


@pytest.mark.parametrize("name", ["README.md", "README.zh-hans.md"])
def test_the_readme_uses_the_first_port_throughout(name: str) -> None:
    first = KNOWN["PORTS"].default.split(",")[0]
    text = (ROOT / name).read_text(encoding="utf-8")
    # 9000 is a service of the reader's own, 11434 another product.
    ports = set(re.findall(r"(?:localhost|127\.0\.0\.1):(80\d\d)\b", text))
    assert ports == {first}


@pytest.mark.parametrize("target", ["setup", "run", "test", "check", "bench"])
def test_make_offers_what_the_documents_name(target: str) -> None:
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.M)


def _pure_files() -> list[Path]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    pure = next(c for c in contracts if c["name"].startswith("Protocol logic"))["source_modules"]
    paths = [ROOT / module.replace(".", "/") for module in pure]
    return [
        file
        for path in paths
        for file in (path.glob("*.py") if path.is_dir() else [path.with_suffix(".py")])
    ]


def test_protocol_logic_takes_only_translations_and_helpers_from_django() -> None:
    files = _pure_files()
    assert len(files) >= 6
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert not name.startswith("django") or name.startswith("django.utils"), file
