"""The generated parts of the SDKs are what the schema of the product says now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.product import ROOT
from tests.sdks import node

STALE = "run scripts/generate_sdks.sh and commit what it changes"


def _generate(folder: Path, sdk: str) -> None:
    """Writes the generated part of an SDK below the folder."""
    environment = {"VENV": str(Path(sys.executable).parents[1]), "PATH": "/usr/bin:/bin"}
    command = ["sh", "scripts/generate_sdks.sh", str(folder), sdk]
    made = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("sdk", ["python", "javascript"])
def test_the_generated_part_is_not_stale(tmp_path: Path, sdk: str) -> None:
    if sdk == "javascript":
        node.require_node()
    _generate(tmp_path, sdk)
    made = {path.relative_to(tmp_path): path for path in tmp_path.rglob("*.*") if path.is_file()}
    assert made
    stale = [
        str(place)
        for place, path in made.items()
        if path.read_bytes() != (ROOT / "sdks" / place).read_bytes()
    ]
    assert not stale, STALE
