"""The generated parts of the SDKs are what the schema of the product says now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.product import ROOT
from tests.sdks import node

STALE = "run scripts/generate_sdks.sh and commit what it changes"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated parts of today; that of JavaScript only where there is Node."""
    folder = tmp_path_factory.mktemp("generated")
    environment = {"VENV": str(Path(sys.executable).parents[1]), "PATH": "/usr/bin:/bin"}
    sdks = ["python", *(["javascript"] if node.is_installed() else [])]
    made = subprocess.run(
        ["sh", "scripts/generate_sdks.sh", str(folder), *sdks],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.parametrize("sdk", ["python", "javascript"])
def test_the_generated_part_is_not_stale(generated: Path, sdk: str) -> None:
    if sdk == "javascript":
        node.require_node()
    made = [path for path in (generated / sdk).rglob("*.*") if path.is_file()]
    assert made
    stale = [
        str(path.relative_to(generated))
        for path in made
        if path.read_bytes() != (ROOT / "sdks" / path.relative_to(generated)).read_bytes()
    ]
    assert not stale, STALE
