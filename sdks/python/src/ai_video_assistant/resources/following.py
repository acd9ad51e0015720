"""Following a task's log: where to go on, and how often to try. Pure but for the dice."""

from __future__ import annotations

from pydantic import ValidationError

from ai_video_assistant._operation import Operation, segment
from ai_video_assistant._retries import backoff
from ai_video_assistant._sse import ServerSentEvent
from ai_video_assistant.errors import APIConnectionError, UnexpectedAnswerError
from ai_video_assistant.models import TaskEvent

_LAST = {"task_complete", "task_stopped", "error"}


class Following:
    """The place of a reader in a log that may have to be opened several times."""

    def __init__(self, task_id: str, offset: int, max_retries: int) -> None:
        self._path = f"/api/v1/tasks/{segment(task_id)}/events"
        self._max_retries = max_retries
        self._failed = 0
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

    def take(self, sent: ServerSentEvent) -> TaskEvent | None:
        """The event, once. Raises UnexpectedAnswerError."""
        try:
            event = TaskEvent.model_validate_json(sent.data)
        except ValidationError as error:
            raise UnexpectedAnswerError(f"no event of a task: {error}", status=200) from None
        if event.idx < self.offset:
            return None
        self.offset = event.idx + 1
        self._failed = 0
        self.is_over = event.type in _LAST
        return event

    def after_failure(self, error: APIConnectionError) -> float:
        """Seconds until the next attempt. Raises the error when there were enough without news."""
        self._failed += 1
        if self._failed > self._max_retries:
            raise error
        return backoff(self._failed)

    def after_end(self) -> float:
        """The same where the stream ended in order, as that of a server that restarts does."""
        return self.after_failure(APIConnectionError("the stream ended before the task did"))
