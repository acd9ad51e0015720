"""When audio goes out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from realtime.pacing import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, Frames, Pacer

Out = list[Frames | str]


def sound(ms: int, value: int = 1) -> bytes:
    return bytes([value]) * (ms * BYTES_PER_MS)


def audio_ms(out: Out) -> int:
    return sum(len(item.pcm) for item in out if isinstance(item, Frames)) // BYTES_PER_MS


def marks(out: Out) -> list[str]:
    return [item for item in out if isinstance(item, str)]


def speaking(ms: int) -> Pacer[str]:
    pacer: Pacer[str] = Pacer()
    pacer.push(sound(ms))
    pacer.finish()
    return pacer


def test_the_lead_goes_out_at_once_and_the_rest_at_the_pace_of_speech() -> None:
    pacer = speaking(1000)
    assert audio_ms(pacer.take(5000)) == 240
    assert pacer.take(5009) == []
    assert pacer.next_at_ms(5009) == 5010
    assert audio_ms(pacer.take(5010)) == 20
    assert audio_ms(pacer.take(5200)) == 180
    assert audio_ms(pacer.take(5430)) == 240
    assert audio_ms(pacer.take(5640)) == 200
    assert audio_ms(pacer.take(5850)) == 120
    assert pacer.is_drained


def test_a_late_process_does_not_shift_the_clock() -> None:
    pacer = speaking(2000)
    pacer.take(0)
    pacer.take(237)
    assert audio_ms(pacer.take(470)) == 240
    assert pacer.sent_ms == 720
    assert pacer.next_at_ms(470) == 490


def test_a_listener_who_ran_dry_gets_the_lead_again() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.push(sound(100))
    pacer.take(0)
    assert pacer.played_ms(1000) == 100
    pacer.push(sound(1000))
    assert audio_ms(pacer.take(1000)) == 240
    assert pacer.played_ms(1050) == 150


def test_only_the_end_is_filled_up() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.push(sound(30))
    assert audio_ms(pacer.take(0)) == 20
    assert pacer.next_at_ms(0) is None
    pacer.finish()
    (frames,) = pacer.take(1)
    assert isinstance(frames, Frames)
    assert frames.pcm == sound(10) + bytes(10 * BYTES_PER_MS)


def test_a_mark_goes_out_just_before_its_sound() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.mark("start")
    assert pacer.take(0) == []
    pacer.mark("one")
    pacer.push(sound(490, 1))
    pacer.mark("two")
    pacer.push(sound(490, 2))
    pacer.finish()
    pacer.mark("end")
    first = pacer.take(0)
    assert first[:2] == ["start", "one"]
    assert marks(first) == ["start", "one"]
    assert marks(pacer.take(230)) == []
    caption, frames = pacer.take(250)
    assert caption == "two"
    assert frames == Frames(sound(10, 1) + sound(10, 2))
    assert marks(pacer.take(490)) == []
    assert pacer.take(730)[-1] == "end"
    assert pacer.is_drained


def test_an_end_does_not_wait_for_what_follows() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.mark("one")
    pacer.push(sound(30))
    assert pacer.fill_up() == 10 * BYTES_PER_MS
    pacer.mark_end("end of one")
    pacer.mark("two")
    assert pacer.take(0) == ["one", Frames(sound(30) + bytes(10 * BYTES_PER_MS)), "end of one"]
    assert pacer.next_at_ms(0) is None
    pacer.push(sound(20))
    assert pacer.take(1000) == ["two", Frames(sound(20))]
    pacer.mark_end("end of two")
    assert pacer.next_at_ms(1000) == 1000
    assert pacer.take(1000) == ["end of two"]
    assert pacer.next_at_ms(1000) is None


def test_an_end_within_a_frame_comes_before_what_begins_there() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.push(sound(30, 1))
    pacer.mark_end("end")
    pacer.mark("begin")
    pacer.push(sound(10, 2))
    assert pacer.take(0) == [
        Frames(sound(20, 1)),
        "end",
        "begin",
        Frames(sound(10, 1) + sound(10, 2)),
    ]


def test_marks_without_sound_go_out_at_the_end() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.mark("start")
    pacer.finish()
    pacer.mark("end")
    assert pacer.next_at_ms(7) == 7
    assert pacer.take(7) == ["start", "end"]
    assert pacer.is_drained


def test_it_stops_wanting_more_when_enough_is_made() -> None:
    pacer: Pacer[str] = Pacer(ahead_ms=3000)
    assert pacer.wants_more(0)
    pacer.push(sound(2999))
    assert pacer.wants_more(0)
    pacer.push(sound(101))
    assert not pacer.wants_more(0)
    pacer.take(0)
    assert pacer.wants_more_at_ms(0) == 101
    assert not pacer.wants_more(100)
    assert pacer.wants_more(101)


def test_it_waits_for_the_response_before_to_be_heard() -> None:
    first = speaking(200)
    first.take(0)
    assert first.silent_at_ms == 200
    second: Pacer[str] = Pacer(plays_from_ms=first.silent_at_ms)
    second.push(sound(1000))
    assert audio_ms(second.take(50)) == 100
    assert second.played_ms(300) == 100


def test_several_frames_can_be_awaited_at_once() -> None:
    pacer = speaking(320)
    pacer.take(0)
    assert pacer.next_at_ms(0, frames=3) == 50
    assert audio_ms(pacer.take(50)) == 60
    assert pacer.next_at_ms(50, frames=3) == 70


def test_after_clear_nothing_goes_out() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.push(sound(1000))
    pacer.mark("later")
    pacer.take(0)
    pacer.clear()
    pacer.push(sound(1000))
    pacer.mark("late")
    assert pacer.take(10_000) == []
    assert pacer.next_at_ms(10_000) is None
    assert pacer.sent_ms == 240
    assert pacer.is_drained
    assert not pacer.wants_more(0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 3000).map(lambda samples: samples * 2)),
        st.tuples(st.just("mark"), st.integers(0, 99)),
        st.tuples(st.just("wait"), st.integers(0, 700)),
    ),
    max_size=60,
)


@given(steps, st.integers(20, 400), st.integers(0, 500))
def test_all_bytes_and_marks_come_out_in_order_and_never_too_early(
    steps: list[tuple[str, int]], lead_ms: int, plays_from_ms: int
) -> None:
    pacer: Pacer[str] = Pacer(lead_ms=lead_ms, plays_from_ms=plays_from_ms)
    now_ms = 0
    pushed = bytearray()
    marked: list[tuple[int, str]] = []
    got = bytearray()
    got_marks: list[tuple[int, str]] = []

    def take() -> None:
        for item in pacer.take(now_ms):
            if isinstance(item, Frames):
                assert item.pcm
                assert len(item.pcm) % FRAME_BYTES == 0
                got.extend(item.pcm)
            else:
                got_marks.append((len(got), item))
        assert len(got) == pacer.sent_ms * BYTES_PER_MS
        assert pacer.sent_ms - pacer.played_ms(now_ms) <= lead_ms + max(0, plays_from_ms - now_ms)
        assert pacer.silent_at_ms <= max(now_ms, plays_from_ms) + lead_ms

    for kind, number in steps:
        if kind == "push":
            pcm = bytes([len(pushed) % 251]) * number
            pacer.push(pcm)
            pushed += pcm
        elif kind == "mark":
            pacer.mark(str(number))
            marked.append((len(pushed), str(number)))
        else:
            now_ms += number
        take()
    pacer.finish()
    while not pacer.is_drained:
        at_ms = pacer.next_at_ms(now_ms)
        assert at_ms is not None
        now_ms = max(now_ms, int(at_ms))
        take()
    assert bytes(got[: len(pushed)]) == pushed
    assert not any(got[len(pushed) :])
    assert len(got) - len(pushed) < FRAME_BYTES
    assert [mark for _, mark in got_marks] == [mark for _, mark in marked]
    for (sent, _), (offset, _) in zip(got_marks, marked, strict=True):
        assert sent <= offset < sent + FRAME_BYTES or (sent == len(got) and offset == len(pushed))


@given(steps, st.integers(0, 59))
def test_nothing_comes_after_clear(steps: list[tuple[str, int]], at: int) -> None:
    pacer: Pacer[str] = Pacer()
    now_ms = 0
    for index, (kind, number) in enumerate(steps):
        if index == at:
            pacer.clear()
        if kind == "push":
            pacer.push(bytes(number))
        elif kind == "mark":
            pacer.mark(str(number))
        else:
            now_ms += number
        out = pacer.take(now_ms)
        assert index < at or out == []
        assert FRAME_MS * (pacer.sent_ms // FRAME_MS) == pacer.sent_ms


def test_a_cut_drops_what_lies_beyond_it() -> None:
    pacer: Pacer[str] = Pacer()
    pacer.mark("one")
    pacer.push(sound(600))
    pacer.mark_end("end of one")
    pacer.mark("two")
    pacer.push(sound(600))
    pacer.mark_end("end of two")
    pacer.take(0)
    pacer.cut(600)
    rest = pacer.take(200) + pacer.take(400)
    assert pacer.is_drained
    assert pacer.sent_ms == 600
    assert marks(rest) == ["end of one"]


def test_what_was_not_heard_goes_out_again_without_its_marks() -> None:
    pacer: Pacer[str] = Pacer(kept_ms=10_000)
    pacer.mark("one")
    pacer.push(sound(300, 1))
    pacer.mark("two")
    pacer.push(sound(300, 2))
    pacer.mark_end("end")
    pacer.finish()
    assert marks(pacer.take(0) + pacer.take(200)) == ["one", "two"]
    assert pacer.sent_ms == 440
    pacer.rewind(210, 5000)
    assert pacer.sent_ms == pacer.played_ms(5000) == pacer.played_ms(6000) == 200
    again = pacer.take(9000)
    assert audio_ms(again) == 240
    assert marks(again) == []
    again += pacer.take(9200)
    assert b"".join(i.pcm for i in again if isinstance(i, Frames)) == sound(100, 1) + sound(300, 2)
    assert marks(again) == ["end"]
    assert pacer.is_drained


def test_it_goes_back_no_further_than_it_keeps() -> None:
    pacer: Pacer[str] = Pacer(kept_ms=100)
    pacer.push(sound(1000))
    pacer.take(0)
    pacer.rewind(0, 300)
    assert pacer.sent_ms == 140
    pacer.rewind(0, 300)
    assert pacer.sent_ms == 140
    forgetful: Pacer[str] = Pacer()
    forgetful.push(sound(1000))
    forgetful.take(0)
    forgetful.rewind(0, 300)
    assert forgetful.sent_ms == 240
