"""Which reply answers which text: the protocol numbers turns, not messages.

A text begins a turn with a number above all before it, or is the choice that the live reply waits
for. Each turn that a text begins has one reply, and each reply one end.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from ai_video_assistant.errors import ConversationError, ReplyInterruptedError
from ai_video_assistant.voice.events import (
    Event,
    Problem,
    ResponseDelta,
    ResponseFinal,
    ResponseInterrupted,
    ToolCall,
    ToolResult,
    TranscriptFinal,
)
from ai_video_assistant.voice.protocol import problem_error

# Answers to a text that was not taken at all; they name no turn.
_REFUSALS = ("protocol.", "rate_limit.turns")


@dataclasses.dataclass(slots=True, eq=False)
class Expected:
    """The reply to one text. `turn` once it is known, at least `floor`."""

    floor: int
    future: asyncio.Future[str]
    turn: int | None = None
    # Whether the text certainly did not leave.
    is_unsent: bool = False


class Replies:
    """The texts without a reply yet, in their order, and what is known of the turns."""

    def __init__(self) -> None:
        self._expected: list[Expected] = []
        self._newest_turn = 0
        self._spoken: set[int] = set()
        # Choices that the user may make by text, and the turns that ask for them.
        self._choices: dict[str, int] = {}

    def expect(self) -> Expected:
        """Before a text is sent."""
        floor = min(self._choices.values(), default=self._newest_turn + 1)
        expected = Expected(floor, asyncio.get_running_loop().create_future())
        self._expected.append(expected)
        return expected

    @contextmanager
    def expecting(self) -> Iterator[Expected]:
        """The same, for as long as somebody waits for it.

        A text that was sent keeps its place even then: its turn is no other text's.
        """
        expected = self.expect()
        try:
            yield expected
        finally:
            if expected.is_unsent and expected in self._expected:
                self._expected.remove(expected)
            if not expected.future.cancel() and not expected.future.cancelled():
                expected.future.exception()  # seen, also where something else was raised

    def take(self, event: Event) -> None:
        """Looks what an event says of the replies."""
        match event:
            case TranscriptFinal(turn=int(turn)):
                self._spoken.add(turn)
                self._newest_turn = max(self._newest_turn, turn)
            case ResponseDelta(turn=int(turn)):
                self._claim(turn)
            case ResponseFinal(turn=int(turn), text=text):
                self._settle_turn(turn, text)
            case ResponseInterrupted(turn=int(turn), generated_text=text, heard_text=heard):
                self._settle_turn(
                    turn, ReplyInterruptedError(event.reason, text=text, heard_text=heard)
                )
            case ToolCall(turn=int(turn)):
                self._claim(turn)
                if event.name.endswith("_choice_prompt") and event.executor == "client":
                    self._choices[event.id] = turn
            case ToolResult(tool_call_id=call_id) if call_id in self._choices:
                self._end_choice(self._choices.pop(call_id), is_made=event.code < 400)
            case Problem():
                self._fail(event)

    def fail(self, error: ConversationError) -> None:
        """None of them will come."""
        for expected in [*self._expected]:
            self._settle(expected, error)

    def _claim(self, turn: int) -> None:
        """Gives the turn to the oldest text without one that it may answer."""
        self._newest_turn = max(self._newest_turn, turn)
        if turn in self._spoken or any(expected.turn == turn for expected in self._expected):
            return
        for expected in self._expected:
            if expected.turn is None and expected.floor <= turn:
                expected.turn = turn
                return

    def _end_choice(self, turn: int, *, is_made: bool) -> None:
        """Texts on their way made the choice, and share its reply; or they begin turns after it."""
        for expected in self._expected:
            if expected.turn is None and expected.floor <= turn:
                if is_made:
                    expected.turn = turn
                else:
                    expected.floor = turn + 1

    def _fail(self, problem: Problem) -> None:
        if problem.turn is not None and problem.stage == "llm":
            self._settle_turn(problem.turn, problem_error(problem))
        elif problem.turn is None and problem.code.startswith(_REFUSALS):
            refused = next((each for each in self._expected if each.turn is None), None)
            if refused is not None:
                self._settle(refused, problem_error(problem))

    def _settle_turn(self, turn: int, outcome: str | ConversationError) -> None:
        if turn not in self._choices.values():
            self._claim(turn)
        for expected in [*self._expected]:
            if expected.turn == turn:
                self._settle(expected, outcome)

    def _settle(self, expected: Expected, outcome: str | ConversationError) -> None:
        self._expected.remove(expected)
        if expected.future.done():
            return
        if isinstance(outcome, str):
            expected.future.set_result(outcome)
        else:
            expected.future.set_exception(outcome)
