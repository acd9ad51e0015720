"""What of the asynchronous client is more than one operation."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from ai_video_assistant._generated import asynchronous as generated
from ai_video_assistant._operation import OMIT, File, Omit
from ai_video_assistant._sse import ServerSentEvent
from ai_video_assistant.chat_events import ChatEvent
from ai_video_assistant.errors import APIConnectionError, APIError
from ai_video_assistant.models import Document, TaskEvent
from ai_video_assistant.resources.chatting import Answer, chat_event, question
from ai_video_assistant.resources.following import Following
from ai_video_assistant.resources.waiting import Waiting, are_ready


class AsyncKnowledgeBases(generated.AsyncKnowledgeBases):
    """Knowledge bases, and what it takes to fill and search them."""

    async def upload(self, base_id: str, file: File, *, name: str | Omit = OMIT) -> Document:
        """Adds a file (a path, or a name with its bytes); the workers then read it."""
        return await self.documents.upload(base_id, file=file, name=name)

    async def wait_until_ready(
        self, base_id: str, document_id: str | None = None, *, timeout: float = 300.0
    ) -> builtins.list[Document]:
        """The documents of a base, or the one, as soon as all can be searched.

        Raises DocumentFailedError, which says what is wrong, and WaitTimeoutError.
        """
        waiting = Waiting(timeout)
        while True:
            documents = (
                [document async for document in self.documents.iterate(base_id)]
                if document_id is None
                else [await self.documents.get(base_id, document_id)]
            )
            if are_ready(documents):
                return documents
            await asyncio.sleep(waiting.next_look())


class AsyncTasks(generated.AsyncTasks):
    """Messages that are answered in the background."""

    async def follow(self, task_id: str, *, offset: int = 0) -> AsyncGenerator[TaskEvent, None]:
        """The events of a task from `offset` on, as they happen, until it ends.

        A broken connection is opened again where it broke, each event comes once. Raises
        APIConnectionError, or how the server refuses, when that fails for about a minute, longer
        than a server takes to restart; with `max_retries=0`, at once. Leaving the loop closes the
        connection; who keeps what this returns closes that.
        """
        following = Following(task_id, offset, self._transport.settings.max_retries)
        transport = self._transport.without_retries()
        while not following.is_over:
            try:
                async with transport.events(following.operation()) as events:
                    if events is None:
                        return
                    following.note_open()
                    async for sent in events:
                        if event := following.take(sent):
                            yield event
            except (APIConnectionError, APIError) as error:
                await asyncio.sleep(following.after_failure(error))
            else:
                if not following.is_over:
                    await asyncio.sleep(following.after_end())


class AsyncChat(generated.AsyncChat):
    """Chats in writing, answered piece by piece."""

    @asynccontextmanager
    async def stream(
        self, dialog_id: str, text: str, *, file_url: str | None = None
    ) -> AsyncIterator[AsyncIterator[ChatEvent]]:
        """The events of the answer, as they happen; leaving the block stops the answer.

        When the model fails or the server is stopped one of them is a ChatFailure, and behind the
        last ChatFailedError is raised.

            async with client.chat.stream(dialog.dialog_id, "Hello") as events:
                async for event in events: ...

        `file_url` is what `upload` returned.
        """
        async with self._transport.events(question(dialog_id, text, file_url)) as events:
            yield _chat_events(events)

    async def complete(self, dialog_id: str, text: str, *, file_url: str | None = None) -> str:
        """The whole answer. Raises ChatFailedError when the model fails."""
        answer = Answer()
        async with self.stream(dialog_id, text, file_url=file_url) as events:
            async for event in events:
                answer.add(event)
        return answer.text


async def _chat_events(
    events: AsyncIterator[ServerSentEvent] | None,
) -> AsyncIterator[ChatEvent]:
    if events is None:
        return
    answer = Answer()
    async for sent in events:
        event = chat_event(sent)
        answer.add(event)
        yield event
    answer.check()
