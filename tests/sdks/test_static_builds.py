"""What the product serves of the JavaScript SDK is what its source makes."""

from __future__ import annotations

from pathlib import Path

from tests.sdks import node

SERVED = node.PACKAGE.parents[1] / "static" / "sdk"
CARRIED = node.PACKAGE / "src" / "voice" / "audio" / "worklet-sources.ts"


def test_its_builds_are_those_of_its_source(tmp_path: Path) -> None:
    node.require_node()
    served, carried = tmp_path / "served", tmp_path / "carried"
    node.run("scripts/static.mjs", served, carried)
    fresh = {path.name: path.read_text() for path in served.iterdir()}
    stale = [name for name, text in fresh.items() if text != (SERVED / name).read_text()]
    assert fresh.keys() == {path.name for path in SERVED.iterdir()}
    assert not stale, f"Run scripts/build_sdks.sh; in static/sdk these are stale: {stale}"
    assert (carried / CARRIED.name).read_text() == CARRIED.read_text()
