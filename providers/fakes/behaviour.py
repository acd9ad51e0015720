"""What a fake vendor answers, how late, and what it counts."""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

Kind = Literal[
    "chat",
    "messages",
    "transcriptions",
    "speech",
    "embeddings",
    "rerank",
    "models",
    "dify",
    "dify_stop",
    "dify_upload",
    "fastgpt",
]
KINDS: tuple[Kind, ...] = (
    "chat",
    "messages",
    "transcriptions",
    "speech",
    "embeddings",
    "rerank",
    "models",
    "dify",
    "dify_stop",
    "dify_upload",
    "fastgpt",
)


@dataclasses.dataclass(slots=True)
class Behaviour:
    """Answers and delays where no script says otherwise. Times count from the whole request."""

    # `{text}` is replaced by what the user said last.
    reply: str = "This is a short answer. And here is a second sentence."
    # JSON {"name": …, "arguments": …}: what is called, where it is offered and a user spoke last.
    tool_call: str = ""
    # What a chat model thinks before that, where it is told to or its vendor does so by itself.
    thinking: str = ""
    # Which request to a chat model, counted from 1, is cut off in mid-answer; 0: none.
    break_request: int = 0
    transcript: str = "hello there"
    asr_ms: float = 0
    llm_first_ms: float = 0
    llm_token_ms: float = 0
    tts_first_ms: float = 0
    # How much faster than real time speech is sent; 0 sends all at once.
    tts_speed: float = 0
    tts_ms_per_char: float = 60
    dimensions: int = 8
    # How many bytes of a body are sent at once; 0: as many as there are to send.
    piece_bytes: int = 0
    # Anything else is refused with 401; "" accepts every key and none.
    key: str = ""
    # Names that are not listed are refused with 404; () accepts every model.
    models: tuple[str, ...] = ()


@dataclasses.dataclass(slots=True)
class Step:
    """One scripted answer. Unset fields follow the Behaviour.

    text, thinking, tool_calls [{"name", "arguments", "id"?}]   what a model says
    transcript                                                  what a recogniser hears
    status, body, headers, content_type                         a whole answer, usually a refusal
    error                                                       an error object inside the stream
    replacement                                       what Dify puts in the place of the answer
    raw                                       another body: one character a byte (Latin-1)
    break_after                                                 cut the connection after n pieces
    finish_reason, usage                                        as the protocol spells them
    wait_ms                                                     silence before anything is sent
    hang_after                                                  say nothing more after n pieces
    """

    text: str | None = None
    thinking: str = ""
    tool_calls: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    transcript: str | None = None
    status: int = 200
    body: Any = None
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    content_type: str = ""
    error: dict[str, Any] | None = None
    replacement: str | None = None
    raw: str | None = None
    break_after: int | None = None
    hang_after: int | None = None
    finish_reason: str = ""
    usage: dict[str, Any] | None = None
    wait_ms: float = 0


@dataclasses.dataclass(slots=True)
class Counter:
    """What became of the requests of one kind. `cancelled`: the client left before the end."""

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    broken: int = 0


class Stats:
    """Counters and the last requests; safe to read from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counters: dict[str, Counter] = {kind: Counter() for kind in KINDS}
        self._last: collections.deque[dict[str, Any]] = collections.deque(maxlen=100)
        # How many connections were made; fewer than requests where they are kept alive.
        self.connections = 0

    def count(
        self, kind: Kind, event: Literal["requests", "finished", "cancelled", "broken"]
    ) -> None:
        with self._changed:
            counter = self._counters[kind]
            setattr(counter, event, getattr(counter, event) + 1)
            self._changed.notify_all()

    def remember(self, request: dict[str, Any]) -> None:
        with self._changed:
            self._last.append(request)

    def of(self, kind: Kind) -> Counter:
        """A copy of one kind's counters."""
        with self._changed:
            return dataclasses.replace(self._counters[kind])

    def last(self, kind: Kind | None = None) -> list[dict[str, Any]]:
        """The last requests, oldest first: kind, headers and body (audio by its length)."""
        with self._changed:
            return [each for each in self._last if kind in (None, each["kind"])]

    def wait_until(self, is_so: Callable[[Stats], bool], *, timeout_s: float = 5.0) -> bool:
        """Blocks until the counters satisfy the condition; False when they don't in time."""
        deadline = time.monotonic() + timeout_s
        while not is_so(self):
            with self._changed:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                # Short, as the condition may have come true between the check and the lock.
                self._changed.wait(min(left, 0.05))
        return True

    def as_dict(self) -> dict[str, Any]:
        with self._changed:
            return {kind: dataclasses.asdict(each) for kind, each in self._counters.items()}

    def reset(self) -> None:
        with self._changed:
            self._counters = {kind: Counter() for kind in KINDS}
            self._last.clear()
            self.connections = 0
