"""From events to what an API sends, and to the plain reply: the stream, collected."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterable, Iterable
from typing import Protocol, TypeVar, assert_never

from conversations.events import (
    Citation,
    Cited,
    Linked,
    ModelAnswered,
    ModelAsked,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from providers.tokens import estimate_tokens
from providers.types import Usage

Out_co = TypeVar("Out_co", covariant=True)


class Encoder(Protocol[Out_co]):
    """One dialect: what is sent for an event. May remember earlier events; does no I/O."""

    def encode(self, event: TurnEvent) -> Iterable[Out_co]:
        """The pieces to send for this event, in order; often one, sometimes none."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """What the model said between two rounds of tools, and the round that followed."""

    text: str = ""
    calls: tuple[ToolCalled, ...] = ()
    results: tuple[ToolReturned, ...] = ()
    refusals: tuple[ToolReturned, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """A turn as far as it came. `reason` is None where it failed; `error` says how."""

    turn: int
    steps: tuple[Step, ...]
    thinking: str
    citations: tuple[Citation, ...]
    knowledge_note: str
    model_name: str
    remote_id: str
    usage: Usage
    reason: StopReason | None
    error: TurnFailed | None

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(step.text for step in self.steps)

    @property
    def tool_calls(self) -> tuple[ToolCalled, ...]:
        return tuple(call for step in self.steps for call in step.calls)

    @property
    def tool_results(self) -> tuple[ToolReturned, ...]:
        return tuple(result for step in self.steps for result in step.results)

    @property
    def refusals(self) -> tuple[ToolReturned, ...]:
        """The outcomes of calls that were refused and never ran."""
        return tuple(refusal for step in self.steps for refusal in step.refusals)


class Collector:
    """Collects events as they pass by. `turn` can be read at any time."""

    def __init__(self) -> None:
        self._number = 0
        self._steps: list[Step] = [Step()]
        self._thinking: list[str] = []
        self._text: list[str] = []
        self._citations: list[Citation] = []
        self._knowledge_notes: list[str] = []
        self._model_name = self._remote_id = ""
        # Where the answer that is being made began.
        self._steps_before, self._text_before, self._thinking_before = 1, 0, 0
        self._usage = Usage()
        # The call that nobody has ended, and what such calls took before it.
        self._open: ModelAsked | None = None
        self._broken_off = Usage()
        self._end: TurnFinished | TurnFailed | None = None

    def push(self, event: TurnEvent) -> None:
        match event:
            case TurnStarted():
                self._number = event.turn
            case TextDelta():
                if self._steps[-1].calls or self._steps[-1].refusals:
                    self._end_step()
                self._text.append(event.text)
            case ThinkingDelta():
                self._thinking.append(event.text)
            case ToolCalled():
                if self._steps[-1].results:
                    self._end_step()
                step = self._steps[-1]
                self._steps[-1] = dataclasses.replace(step, calls=(*step.calls, event))
            case ToolReturned():
                self._add_result(event)
            case Cited():
                self._citations.extend(event.citations)
                self._knowledge_notes += [event.note] if event.note else []
            case ModelAsked():
                self._ask(event)
            case ModelAnswered():
                self._open = None
                self._model_name = event.model_name
                self._usage += event.usage
            case Linked():
                self._remote_id = event.remote_id
            case TurnFinished() | TurnFailed():
                self._end = event
            case _:
                assert_never(event)

    @property
    def turn(self) -> Turn:
        """What was collected. A turn without an end counts as interrupted."""
        end = self._end
        *earlier, last = self._steps
        return Turn(
            turn=self._number,
            steps=(*earlier, dataclasses.replace(last, text="".join(self._text))),
            thinking="".join(self._thinking),
            citations=tuple(self._citations),
            knowledge_note=" ".join(dict.fromkeys(self._knowledge_notes)),
            model_name=self._model_name,
            remote_id=self._remote_id,
            # A turn that breaks off has taken what its calls of the model took until then.
            usage=(end.usage if end else self._usage)
            + self._broken_off
            + self._spent(has_failed=end is not None),
            reason=None if isinstance(end, TurnFailed) else end.reason if end else "interrupted",
            error=end if isinstance(end, TurnFailed) else None,
        )

    def _ask(self, asked: ModelAsked) -> None:
        self._broken_off += self._spent(has_failed=True)
        if asked.attempt > 1:
            self._forget_attempt()
        self._open = asked
        self._model_name = asked.model_name or self._model_name
        self._steps_before = len(self._steps)
        self._text_before, self._thinking_before = len(self._text), len(self._thinking)

    def _add_result(self, result: ToolReturned) -> None:
        step = self._steps[-1]
        if result.refused_arguments is None:
            self._steps[-1] = dataclasses.replace(step, results=(*step.results, result))
        else:
            self._steps[-1] = dataclasses.replace(step, refusals=(*step.refusals, result))

    def _spent(self, *, has_failed: bool) -> Usage:
        """What a call took that has not ended, as far as can be told; nothing without one.

        One that failed before it brought anything took nothing; one that was left did read. Of
        another service's models nothing is known.
        """
        if self._open is None or not self._open.prompt_tokens:
            return Usage()
        has_own_step = len(self._steps) > self._steps_before
        text = self._text if has_own_step else self._text[self._text_before :]
        made = "".join((*text, *self._thinking[self._thinking_before :]))
        if has_failed and not made:
            return Usage()
        return Usage(self._open.prompt_tokens, estimate_tokens(made))

    def _forget_attempt(self) -> None:
        """What the broken attempt brought never was; the steps before it are as they were."""
        if len(self._steps) > self._steps_before:
            # Its first text had ended a step, whose text was put away then.
            del self._steps[self._steps_before :]
            self._text = [self._steps[-1].text]
            self._text_before = 1
        del self._text[self._text_before :]
        del self._thinking[self._thinking_before :]

    def _end_step(self) -> None:
        self._steps[-1] = dataclasses.replace(self._steps[-1], text="".join(self._text))
        self._text = []
        self._steps.append(Step())


async def collect(events: AsyncIterable[TurnEvent]) -> Turn:
    """The plain reply: everything that the stream brought."""
    collector = Collector()
    async for event in events:
        collector.push(event)
    return collector.turn
