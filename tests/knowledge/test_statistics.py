"""How much words say, before and after Postgres knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from django.db import connection

from accounts.models import User
from knowledge import statistics
from knowledge.statistics import Keywords, Word, choose, idf, weigh
from tests.knowledge.corpus import make_base


@pytest.fixture(autouse=True)
def unknown(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Statistics of tables as small as these are trusted here, and of this test alone."""
    monkeypatch.setattr(statistics, "TRUSTED_FROM", 1)
    statistics.forget_statistics()
    yield
    statistics.forget_statistics()


def analyze() -> None:
    with connection.cursor() as cursor:
        cursor.execute("analyze knowledge_chunk")
    statistics.forget_statistics()


def words_of(keywords: Keywords) -> list[str]:
    return [word.text for word in (*keywords.candidates, *keywords.refining)]


@pytest.mark.django_db
class TestWeighing:
    @pytest.fixture(params=["before statistics", "with statistics"])
    def base_id(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, alice: User
    ) -> str:
        base = make_base(
            alice, [f"over {'often' if at % 2 else 'else'} rare{chr(97 + at)}" for at in range(20)]
        )
        if request.param == "with statistics":
            analyze()
        else:
            # Those of other tests may be there: Postgres does not roll all of them back.
            monkeypatch.setattr(statistics, "TRUSTED_FROM", 10**9)
        return base.pk

    def test_rare_words_come_first(self, base_id: str) -> None:
        keywords = weigh("over often rarec", [base_id], searched_rows=20)
        assert words_of(keywords)[-2:] == ["often", "over"]
        shares = {word.text: word.share for word in keywords.candidates}
        assert shares["over"] == pytest.approx(1, abs=0.01)
        assert shares["often"] == pytest.approx(0.5, abs=0.01)

    def test_words_of_no_chunk_take_no_place_but_have_weight(self, base_id: str) -> None:
        filler = " ".join(f"filler{letter}" for letter in "abcdefghijklmnop")
        keywords = weigh(f"{filler} often", [base_id], searched_rows=20)
        assert words_of(keywords) == ["often"]
        assert keywords.full_weight == pytest.approx(8 * idf(0, 20), rel=0.05)

    def test_words_of_other_bases_take_no_place(self, base_id: str, bob: User) -> None:
        filler = " ".join(f"filler{letter}" for letter in "abcdefghijklmnop")
        make_base(bob, [filler] * 2)
        analyze()
        keywords = weigh(f"{filler} often", [base_id], searched_rows=20)
        assert words_of(keywords) == ["often"]

    def test_nothing_is_looked_for_without_words(self, base_id: str) -> None:
        assert weigh("?!", [base_id], searched_rows=20) == Keywords()

    def test_words_of_hostile_texts_are_only_words(self, base_id: str) -> None:
        assert words_of(weigh("o'ften \\ ' often' | !none", [base_id], searched_rows=20)) == [
            "often"
        ]


@pytest.mark.django_db
def test_it_weighs_in_an_empty_database() -> None:
    assert words_of(weigh("anything at all", [], searched_rows=0)) == []


@pytest.mark.django_db
def test_statistics_are_kept(alice: User) -> None:
    base = make_base(alice, ["red blue", "red green"])
    analyze()
    before = weigh("red", [base.pk], searched_rows=2)
    make_base(alice, ["yellow"] * 6)
    with connection.cursor() as cursor:
        cursor.execute("analyze knowledge_chunk")
    assert weigh("red", [base.pk], searched_rows=8) == before
    statistics.forget_statistics()
    [word] = weigh("red", [base.pk], searched_rows=8).candidates
    assert word.share == pytest.approx(0.25)


@pytest.mark.django_db
def test_a_small_table_is_counted_however_old_its_statistics(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    base = make_base(alice, ["red blue", "red green"])
    analyze()
    weigh("red", [base.pk], searched_rows=2)
    make_base(alice, ["yellow"] * 6)
    [word] = weigh("red", [base.pk], searched_rows=8).candidates
    assert word.share == pytest.approx(0.25)


class TestChoice:
    def words(self, *shares: float) -> list[Word]:
        return [Word(f"w{at}", 1 - share, share) for at, share in enumerate(shares)]

    def choose(self, words: list[Word], *, missing: str = "", total: int, rows: int) -> Keywords:
        """The choice where the bases hold all words but the missing ones."""

        def held(asked: Sequence[Word]) -> list[Word]:
            return [word for word in asked if word.text not in missing.split()]

        return choose(words, total=total, searched_rows=rows, held=held)

    def test_no_more_than_eight_decide(self) -> None:
        assert len(words_of(self.choose(self.words(*[0.001] * 20), total=100, rows=100))) == 8

    def test_common_words_only_refine(self) -> None:
        keywords = self.choose(self.words(0.001, 0.3, 0.4), total=100_000, rows=50_000)
        assert [word.text for word in keywords.candidates] == ["w0"]
        assert [word.text for word in keywords.refining] == ["w1", "w2"]

    def test_a_small_base_is_told_from_a_large_one(self) -> None:
        words = self.words(0.001, 0.02)
        small, large = (self.choose(words, total=100_000, rows=n) for n in (800, 50_000))
        assert (len(small.candidates), small.are_bases_small) == (2, True)
        assert (len(large.candidates), large.are_bases_small) == (2, False)

    def test_there_is_always_a_candidate(self) -> None:
        words = self.words(1.0, 1.0)
        assert len(self.choose(words, total=10**6, rows=10**6).candidates) == 1

    @pytest.mark.parametrize(
        ("shares", "missing", "chosen"),
        [
            ((0.001,) * 10, "w0 w1 w2 w3 w4 w5 w6 w7 w8", ["w9"]),
            ((0.02, 0.025), "w0", ["w1"]),
            ((0.5, 0.6, 0.7), "w0 w1", ["w2"]),
            ((0.001, 0.5), "w0", ["w1"]),
            ((0.5,), "w0", []),
        ],
        ids=["rare", "that fill the candidates", "common", "rare before common", "all"],
    )
    def test_words_of_other_bases_take_no_place(
        self, shares: tuple[float, ...], missing: str, chosen: list[str]
    ) -> None:
        keywords = self.choose(self.words(*shares), missing=missing, total=10**5, rows=50_000)
        assert words_of(keywords) == chosen
        assert len(keywords.candidates) == len(chosen)

    def test_a_word_of_every_chunk_weighs_little_but_something(self) -> None:
        assert 0 < idf(1, 1) < idf(0.5, 100) < idf(0.001, 100_000)
        assert idf(1, 100_000) > 0
