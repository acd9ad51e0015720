"""What the Python client keeps of what it said, until the server has it."""

from __future__ import annotations

from ai_video_assistant.voice.outbox import MAX_MESSAGES, Message, Outbox


def message(number: int) -> Message:
    return {"type": "input.text", "text": str(number)}


def outbox_with(count: int) -> Outbox:
    outbox = Outbox()
    for number in range(1, count + 1):
        outbox.add(message(number))
    return outbox


def test_it_repeats_what_was_not_received_in_order() -> None:
    outbox = outbox_with(4)
    assert outbox.to_repeat(1) == [message(2), message(3), message(4)]
    # Which the server counts from two on.
    outbox.add(message(5))
    assert outbox.to_repeat(3) == [message(4), message(5)]
    assert outbox.to_repeat(5) == []


def test_what_was_confirmed_is_not_kept_and_old_news_changes_nothing() -> None:
    outbox = outbox_with(4)
    outbox.note_received(3)
    outbox.note_received(1)
    assert outbox.to_repeat(3) == [message(4)]
    outbox.note_received(2)
    assert outbox.to_repeat(4) == []


def test_a_server_that_does_not_say_gets_nothing_twice() -> None:
    outbox = outbox_with(4)
    assert outbox.to_repeat(None) == []


def test_of_too_many_the_oldest_are_forgotten() -> None:
    outbox = outbox_with(MAX_MESSAGES + 10)
    kept = outbox.to_repeat(2)
    assert (len(kept), kept[0]) == (MAX_MESSAGES, message(11))
    # These are the third and following of those that the server has.
    assert outbox.to_repeat(4) == kept[2:]
