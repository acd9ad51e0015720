"""The benchmark of the history measures; on a small scale, so that it does not rot."""

from __future__ import annotations

import pytest

from bench.history import QUESTIONS, Bench


@pytest.mark.django_db(transaction=True)
def test_it_measures_what_each_kind_of_user_asks() -> None:
    bench = Bench(records=2000)
    results = {
        (who, question.name): bench.measure(who, question, repeats=2)
        for who in bench.askers
        for question in QUESTIONS
    }
    counted = {who: results[who, "stats"].records for who in bench.askers}
    assert counted == {"ordinary user": 10, "heavy user": 400, "operator": 2000}
    for who in bench.askers:
        listed, page_100 = results[who, "list, page 1"], results[who, "list, page 100"]
        assert listed.records == page_100.records == counted[who]
        assert len(listed.times_ms) == 2
    for question in ("stats, chats", "stats, 30 days", "list, failed"):
        assert 0 < results["operator", question].records < 2000
