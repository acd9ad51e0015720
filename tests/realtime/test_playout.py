"""What was heard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.playout import Playout, SpokenSegment, heard_text

ENGLISH = (
    SpokenSegment("Hello there. ", 0, 1000),
    SpokenSegment("How are you today?", 1000, 1800),
)
CHINESE = (SpokenSegment("你好。", 0, 900), SpokenSegment("今天天气好吗", 900, 1200))


@pytest.mark.parametrize(
    ("segments", "heard_ms", "text"),
    [
        (ENGLISH, 0, ""),
        (ENGLISH, 500, "Hello"),
        (ENGLISH, 999, "Hello there."),
        (ENGLISH, 1000, "Hello there. "),
        (ENGLISH, 1290, "Hello there. "),
        (ENGLISH, 1350, "Hello there. How"),
        (ENGLISH, 1750, "Hello there. How are"),
        (ENGLISH, 2799, "Hello there. How are you"),
        (ENGLISH, 2800, "Hello there. How are you today?"),
        (CHINESE, 899, "你好"),
        (CHINESE, 900, "你好。"),
        (CHINESE, 1300, "你好。今天"),
        (CHINESE, 9999, "你好。今天天气好吗"),
        ((), 100, ""),
    ],
)
def test_whole_segments_and_the_share_of_the_current_one_were_heard(
    segments: tuple[SpokenSegment, ...], heard_ms: int, text: str
) -> None:
    assert heard_text(segments, heard_ms) == text


def test_a_segment_whose_sound_is_still_being_made_is_not_taken_for_whole() -> None:
    text = "This is a rather long sentence for a start."
    growing = SpokenSegment(text, 0, 200, is_complete=False)
    assert heard_text([growing], 200) == ""
    assert heard_text([growing], 1000) == "This is a"
    assert heard_text([SpokenSegment(text, 0, 200)], 200) == text


def test_it_keeps_the_account_of_a_response() -> None:
    playout = Playout()
    assert playout.begin_segment("One two. ") == 0
    playout.add_audio(16_000)
    playout.add_audio(16_000)
    assert playout.begin_segment("🎉 ") == 1000
    assert playout.begin_segment("Three.") == 1000
    playout.add_audio(32_000)
    playout.end_segment()
    assert playout.generated_text == "One two. 🎉 Three."
    assert playout.heard_text(999) == "One two."
    assert playout.heard_text(1001) == "One two. 🎉 "
    assert playout.heard_text(2000) == playout.generated_text


def test_the_clients_word_beats_the_estimate() -> None:
    playout = Playout()
    assert playout.heard_ms(700, sent_ms=900, now_ms=1000) == 700
    playout.report(400, now_ms=1000)
    assert playout.heard_ms(700, sent_ms=900, now_ms=1000) == 400
    assert playout.heard_ms(700, sent_ms=900, now_ms=1150) == 550
    playout.report(300, now_ms=1160)
    assert playout.heard_ms(700, sent_ms=900, now_ms=1150) == 550
    playout.report(5000, now_ms=1200)
    assert playout.heard_ms(700, sent_ms=900, now_ms=1200) == 900


def test_time_in_which_nothing_sounded_was_not_heard() -> None:
    playout = Playout()
    playout.report(1300, now_ms=5000)
    assert playout.heard_ms(1340, sent_ms=1340, now_ms=5500) == 1340
    # A tool took half a minute; of what followed, the lead was sent at once.
    assert playout.heard_ms(1350, sent_ms=1580, now_ms=35_000) == 1350


segments = st.lists(
    st.tuples(
        st.one_of(st.text(max_size=40), st.sampled_from(["Hello, my friend. ", "你好，世界。"])),
        st.integers(0, 3000),
    ),
    max_size=8,
)


@given(segments, st.lists(st.integers(-10, 20_000), min_size=2, max_size=10), st.booleans())
def test_heard_text_is_a_growing_prefix_of_the_generated_text(
    parts: list[tuple[str, int]], times_ms: list[int], is_complete: bool
) -> None:
    playout = Playout()
    for text, audio_ms in parts:
        playout.begin_segment(text)
        playout.add_audio(audio_ms * 32)
    if is_complete:
        playout.end_segment()
    heard_before = ""
    for heard_ms in sorted(times_ms):
        heard = playout.heard_text(heard_ms)
        assert playout.generated_text.startswith(heard)
        assert heard.startswith(heard_before)
        heard_before = heard
