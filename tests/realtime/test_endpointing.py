"""When somebody starts, pauses and finishes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.endpointing import (
    WINDOW_MS,
    WINDOW_SAMPLES,
    EndOfTurn,
    Endpointer,
    EndpointingConfig,
    SpeechEvent,
    SpeechOngoing,
    SpeechStarted,
    SpeechStopped,
)

SPEECH, SOFT, SILENCE = 0.9, 0.4, 0.05


def run(endpointer: Endpointer, *probabilities: float, start: int = 0) -> list[SpeechEvent]:
    return [
        event
        for index, probability in enumerate(probabilities, start=start + 1)
        for event in endpointer.push(probability, index * WINDOW_SAMPLES)
    ]


def changes(events: list[SpeechEvent]) -> list[tuple[str, int]]:
    """The events but SpeechOngoing, by name and by window count."""
    return [
        (type(event).__name__, event.at_sample // WINDOW_SAMPLES)
        for event in events
        if not isinstance(event, SpeechOngoing)
    ]


@pytest.mark.parametrize(
    ("silence_ms", "windows"), [(100, 3), (200, 6), (500, 16), (1000, 31), (3000, 94)]
)
def test_a_turn_ends_at_the_window_nearest_to_the_silence(silence_ms: int, windows: int) -> None:
    endpointer = Endpointer(EndpointingConfig(end_of_turn_silence_ms=silence_ms))
    run(endpointer, *[SPEECH] * 10)
    quiet = run(endpointer, *[SILENCE] * (windows - 1), start=10)
    assert "EndOfTurn" not in [name for name, _ in changes(quiet)]
    events = endpointer.push(SILENCE, (10 + windows) * WINDOW_SAMPLES)
    assert events[-1] == EndOfTurn(
        at_sample=10 * WINDOW_SAMPLES,
        started_at_sample=0,
        decided_at_sample=(10 + windows) * WINDOW_SAMPLES,
        voiced_ms=320,
    )
    assert abs(windows * WINDOW_MS - silence_ms) <= WINDOW_MS // 2


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        pytest.param([SILENCE] * 20, [], id="silence"),
        pytest.param([SPEECH] + [SILENCE] * 20, [], id="a click"),
        pytest.param([SOFT] * 20, [], id="soft noise"),
        pytest.param(
            [SPEECH, SPEECH] + [SILENCE] * 20,
            [("SpeechStarted", 0), ("SpeechStopped", 2), ("EndOfTurn", 2)],
            id="a short word",
        ),
        pytest.param(
            [SPEECH] * 3 + [SOFT] * 4 + [SILENCE] * 20,
            [("SpeechStarted", 0), ("SpeechStopped", 7), ("EndOfTurn", 7)],
            id="a soft ending counts as speech",
        ),
        pytest.param(
            [SPEECH] * 3 + [SILENCE] * 4 + [SPEECH] * 3 + [SILENCE] * 20,
            [("SpeechStarted", 0), ("SpeechStopped", 10), ("EndOfTurn", 10)],
            id="a short pause is no stop",
        ),
        pytest.param(
            [SPEECH] * 3 + [SILENCE] * 10 + [SPEECH] * 3 + [SILENCE] * 20,
            [
                ("SpeechStarted", 0),
                ("SpeechStopped", 3),
                ("SpeechStarted", 13),
                ("SpeechStopped", 16),
                ("EndOfTurn", 16),
            ],
            id="a long pause is a stop in one turn",
        ),
        pytest.param(
            [SPEECH] * 3 + [SILENCE] * 16 + [SPEECH] * 3 + [SILENCE] * 16,
            [
                ("SpeechStarted", 0),
                ("SpeechStopped", 3),
                ("EndOfTurn", 3),
                ("SpeechStarted", 19),
                ("SpeechStopped", 22),
                ("EndOfTurn", 22),
            ],
            id="two turns",
        ),
    ],
)
def test_it_tells_starts_stops_and_ends(
    probabilities: list[float], expected: list[tuple[str, int]]
) -> None:
    assert changes(run(Endpointer(EndpointingConfig()), *probabilities)) == expected


def test_the_length_of_an_interruption_is_what_was_voiced() -> None:
    endpointer = Endpointer(EndpointingConfig())
    events = run(endpointer, SPEECH, SPEECH, SPEECH, SILENCE, SILENCE, SPEECH)
    voiced = [event.voiced_ms for event in events if isinstance(event, SpeechOngoing)]
    assert voiced == [64, 96, 128]


def test_an_endless_utterance_is_ended_and_the_next_begins() -> None:
    endpointer = Endpointer(EndpointingConfig(max_utterance_ms=1000))
    events = run(endpointer, *[SPEECH] * 40)
    assert changes(events)[:4] == [
        ("SpeechStarted", 0),
        ("SpeechStopped", 32),
        ("EndOfTurn", 32),
        ("SpeechStarted", 32),
    ]
    (end,) = [event for event in events if isinstance(event, EndOfTurn)]
    assert end.is_forced


def test_a_turn_can_be_ended_by_hand_once() -> None:
    endpointer = Endpointer(EndpointingConfig())
    run(endpointer, *[SPEECH] * 5)
    assert changes(list(endpointer.commit())) == [("SpeechStopped", 5), ("EndOfTurn", 5)]
    assert endpointer.commit() == ()


def test_a_forgotten_utterance_has_no_end() -> None:
    endpointer = Endpointer(EndpointingConfig())
    run(endpointer, *[SPEECH] * 5)
    endpointer.reset()
    assert run(endpointer, *[SILENCE] * 40, start=5) == []


def test_lost_windows_count_as_silence() -> None:
    endpointer = Endpointer(EndpointingConfig())
    run(endpointer, *[SPEECH] * 5)
    events = endpointer.push(SILENCE, 40 * WINDOW_SAMPLES)
    assert changes(list(events)) == [("SpeechStopped", 5), ("EndOfTurn", 5)]


def test_windows_must_come_in_order() -> None:
    endpointer = Endpointer(EndpointingConfig())
    endpointer.push(SILENCE, WINDOW_SAMPLES)
    with pytest.raises(ValueError):
        endpointer.push(SILENCE, WINDOW_SAMPLES)


@pytest.mark.parametrize("silence_ms", [99, 3001])
def test_it_refuses_a_silence_out_of_range(silence_ms: int) -> None:
    with pytest.raises(ValueError):
        EndpointingConfig(end_of_turn_silence_ms=silence_ms)


@given(
    st.lists(
        st.tuples(st.sampled_from([SPEECH, SOFT, SILENCE, 0.5, 0.35, 0.0, 1.0]), st.integers(1, 20))
    ),
    st.integers(100, 3000),
    st.booleans(),
)
def test_starts_and_stops_alternate_and_time_never_goes_back(
    runs: list[tuple[float, int]], silence_ms: int, commits: bool
) -> None:
    config = EndpointingConfig(end_of_turn_silence_ms=silence_ms, max_utterance_ms=5000)
    endpointer = Endpointer(config)
    probabilities = [probability for probability, count in runs for _ in range(count)]
    events = run(endpointer, *probabilities) + (list(endpointer.commit()) if commits else [])
    is_speaking = is_in_turn = False
    at = 0
    for event in events:
        if not isinstance(event, SpeechOngoing):
            assert event.at_sample >= at
            at = event.at_sample
        if isinstance(event, SpeechStarted):
            assert not is_speaking
            is_speaking = is_in_turn = True
        elif isinstance(event, SpeechStopped):
            assert is_speaking
            is_speaking = False
        elif isinstance(event, EndOfTurn):
            assert is_in_turn
            assert not is_speaking
            assert event.started_at_sample < event.at_sample <= event.decided_at_sample
            is_in_turn = False
        else:
            assert is_speaking
    assert endpointer.is_speaking is is_speaking
    assert endpointer.is_in_turn is is_in_turn
