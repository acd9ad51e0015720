"""The measurement of background tasks measures: a small one, from end to end."""

from __future__ import annotations

import pytest

from bench.tasks import run

pytestmark = pytest.mark.processes


def test_it_measures_without_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(users=3, words=20, word_ms=10, stops=1, runs=0)
    assert result.failures == []
    assert (result.begun.tasks, result.load.tasks, len(result.to_closed)) == (3, 3, 1)
    assert result.load.events > 3 * 10
    assert "POST to 202" in capsys.readouterr().out
