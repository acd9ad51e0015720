"""Events and requests of any kind, for properties that hold for all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from gateway import neutral

texts = st.text(max_size=12)
usages = st.builds(neutral.Usage, *[st.integers(0, 50)] * 2)
_reasons: st.SearchStrategy[neutral.Reason] = st.sampled_from(
    ["end", "length", "stop_sequence", "tool_calls", "refusal", "paused", "context_window"]
)
_numbers = st.integers(0, 3)


def events() -> st.SearchStrategy[list[neutral.Event]]:
    """Events in any order whatever, as no upstream should send them."""
    one: st.SearchStrategy[Any] = st.one_of(
        st.builds(neutral.Started, st.none() | usages),
        st.builds(neutral.TextDelta, texts),
        st.builds(neutral.ThinkingDelta, texts),
        st.builds(neutral.ThoughtSigned, texts),
        st.builds(neutral.ThoughtHidden, texts),
        st.builds(neutral.RefusalDelta, texts),
        st.builds(neutral.CallStarted, _numbers, st.sampled_from(["", "call_1"]), st.just("look")),
        st.builds(neutral.CallArguments, _numbers, texts),
        st.builds(neutral.Finished, _reasons, st.none() | usages),
        st.builds(neutral.Failed, st.just("upstream_error"), texts),
    )
    return st.lists(one, max_size=12)


@st.composite
def answers(draw: st.DrawFn) -> list[neutral.Event]:
    """Events as a model tells them that calls tools side by side, up to its end."""
    told: list[neutral.Event] = [neutral.Started()]
    told += [neutral.TextDelta(text) for text in draw(st.lists(st.text("ab早", min_size=1)))]
    count = draw(st.integers(0, 3))
    told += [neutral.CallStarted(each, f"call_{each}", f"tool_{each}") for each in range(count)]
    if count:
        pieces = st.tuples(st.integers(0, count - 1), st.text('{}"a:1', min_size=1))
        told += [neutral.CallArguments(call, text) for call, text in draw(st.lists(pieces))]
    reason: neutral.Reason = "tool_calls" if count else draw(st.sampled_from(["end", "length"]))
    return [*told, neutral.Finished(reason, draw(usages))]
