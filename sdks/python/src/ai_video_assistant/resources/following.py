"""Following a task's log: where to go on, and for how long to try. No input or output."""

from __future__ import annotations

import time

from pydantic import ValidationError

from ai_video_assistant._operation import Operation, segment
from ai_video_assistant._retries import backoff
from ai_video_assistant._sse import ServerSentEvent
from ai_video_assistant.errors import APIConnectionError, APIError, UnexpectedAnswerError
from ai_video_assistant.models import TaskEvent

# How long a server may be away from those who follow: a restart of the product takes less.
AWAY_S = 60.0
# What is said by and for a server that starts, or is busy.
_PASSING = {429, 502, 503, 504}
_LAST = {"task_complete", "task_stopped", "error"}


class Following:
    """The place of a reader in a log that may have to be opened several times."""

    def __init__(self, task_id: str, offset: int, max_retries: int) -> None:
        self._path = f"/api/v1/tasks/{segment(task_id)}/events"
        self._max_retries = max_retries
        self._failed = 0
        self._was_open = False
        # When the connection was lost, and for how long it was away before, since the last event.
        self._lost_at: float | None = None
        self._away_s = 0.0
        self.offset = offset
        self.is_over = False

    def operation(self) -> Operation[None]:
        """The request of what comes next."""
        return Operation(
            "GET",
            self._path,
            None,
            family="tasks",
            query={"from": self.offset},
            is_repeatable=True,
        )

    def note_open(self) -> None:
        """The server answers."""
        self._was_open = True
        if self._lost_at is not None:
            self._away_s += time.monotonic() - self._lost_at
            self._lost_at = None

    def take(self, sent: ServerSentEvent) -> TaskEvent | None:
        """The event, once. Raises UnexpectedAnswerError."""
        try:
            event = TaskEvent.model_validate_json(sent.data)
        except ValidationError as error:
            raise UnexpectedAnswerError(f"no event of a task: {error}", status=200) from None
        if event.idx < self.offset:
            return None
        self.offset = event.idx + 1
        self._failed, self._away_s = 0, 0.0
        self.is_over = event.type in _LAST
        return event

    def after_failure(self, error: APIConnectionError | APIError) -> float:
        """Seconds until the next attempt. Raises the error when there were enough without news.

        One who never got through has as many attempts as any request.
        """
        if isinstance(error, APIError) and error.status not in _PASSING:
            raise error
        self._failed += 1
        now = time.monotonic()
        self._lost_at = now if self._lost_at is None else self._lost_at
        asked_s = error.retry_after if isinstance(error, APIError) else None
        pause_s = max(backoff(self._failed), asked_s or 0.0)
        away_s = self._away_s + now - self._lost_at
        is_enough = not self._was_open and self._failed > self._max_retries
        if is_enough or not self._max_retries or away_s + pause_s > AWAY_S:
            raise error
        return pause_s

    def after_end(self) -> float:
        """The same where the stream ended in order, as that of a server that restarts does."""
        return self.after_failure(APIConnectionError("the stream ended before the task did"))
