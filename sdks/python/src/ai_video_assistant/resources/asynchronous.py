"""The resources of the asynchronous client."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from ai_video_assistant._generated import asynchronous as generated
from ai_video_assistant._operation import OMIT, File, Omit
from ai_video_assistant._sse import ServerSentEvent
from ai_video_assistant._transport.asynchronous import AsyncTransport
from ai_video_assistant.errors import APIConnectionError
from ai_video_assistant.models import Document, TaskEvent
from ai_video_assistant.resources.chatting import Answer, ChatEvent, chat_event, question
from ai_video_assistant.resources.following import Following
from ai_video_assistant.resources.waiting import Waiting, are_ready


class AsyncAssistants(generated.AsyncAssistantsOperations):
    """What assistants are: prompt, models, voice, knowledge, tools."""


class AsyncLlm(generated.AsyncLlmOperations):
    """Language, embedding and rerank models."""


class AsyncAsr(generated.AsyncAsrOperations):
    """Speech recognisers."""


class AsyncVoices(generated.AsyncVoicesOperations):
    """Voices that assistants speak with."""


class AsyncDocuments(generated.AsyncDocumentsOperations):
    """The documents of a knowledge base."""


class AsyncKnowledgeBases(generated.AsyncKnowledgeBasesOperations):
    """Knowledge bases, and what it takes to fill and search them."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport)
        self.documents = AsyncDocuments(transport)

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


class AsyncHistory(generated.AsyncHistoryOperations):
    """Conversations of every channel, with what was said."""


class AsyncToolResources(generated.AsyncToolResourcesOperations):
    """Tools of your own."""


class AsyncAutotestRuns(generated.AsyncAutotestRunsOperations):
    """What tests found."""


class AsyncAutotestScenarios(generated.AsyncAutotestScenariosOperations):
    """Conversations that a test holds, and what it expects of them."""


class AsyncTools(generated.AsyncToolsOperations):
    """The built-in tools, and tests of what the product is connected to."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport)
        self.resources = AsyncToolResources(transport)
        self.runs = AsyncAutotestRuns(transport)
        self.scenarios = AsyncAutotestScenarios(transport)


class AsyncTaskConversations(generated.AsyncTaskConversationsOperations):
    """Conversations that tasks belong to."""


class AsyncFiles(generated.AsyncFilesOperations):
    """The user's folder, which tasks read and write."""


class AsyncPrompts(generated.AsyncPromptsOperations):
    """Prompts that tasks name."""


class AsyncPersonalizations(generated.AsyncPersonalizationsOperations):
    """How tasks address the user, and what they prefer."""


class AsyncTasks(generated.AsyncTasksOperations):
    """Messages that are answered in the background."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport)
        self.conversations = AsyncTaskConversations(transport)
        self.files = AsyncFiles(transport)
        self.prompts = AsyncPrompts(transport)
        self.personalizations = AsyncPersonalizations(transport)

    async def follow(self, task_id: str, *, offset: int = 0) -> AsyncGenerator[TaskEvent, None]:
        """The events of a task from `offset` on, as they happen, until it ends.

        A broken connection is opened again where it broke, each event comes once. Raises
        APIConnectionError when that fails too often in a row. Leaving the loop closes the
        connection; who keeps what this returns closes that.
        """
        following = Following(task_id, offset, self._transport.settings.max_retries)
        while not following.is_over:
            try:
                async with self._transport.events(following.operation()) as events:
                    if events is None:
                        return
                    async for sent in events:
                        if event := following.take(sent):
                            yield event
            except APIConnectionError as error:
                await asyncio.sleep(following.after_failure(error))
            else:
                if not following.is_over:
                    await asyncio.sleep(following.after_end())


class AsyncAgents(generated.AsyncAgentsOperations):
    """Assistants as the chat knows them."""


class AsyncDialogs(generated.AsyncDialogsOperations):
    """Conversations with an agent in writing."""


class AsyncMcpServers(generated.AsyncMcpServersOperations):
    """Servers of tools, by the Model Context Protocol."""


class AsyncMemory(generated.AsyncMemoryOperations):
    """What assistants remember of the user."""


class AsyncChat(generated.AsyncChatOperations):
    """Chats in writing, answered piece by piece."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport)
        self.agents = AsyncAgents(transport)
        self.dialogs = AsyncDialogs(transport)
        self.mcp_servers = AsyncMcpServers(transport)
        self.memory = AsyncMemory(transport)

    @asynccontextmanager
    async def stream(
        self, dialog_id: str, text: str, *, file_url: str | None = None
    ) -> AsyncIterator[AsyncIterator[ChatEvent]]:
        """The events of the answer, as they happen; leaving the block stops the answer.

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
    if events is not None:
        async for sent in events:
            yield chat_event(sent)


class AsyncApiKeys(generated.AsyncApiKeysOperations):
    """Keys of the user."""


class AsyncGatewayKeys(generated.AsyncGatewayKeysOperations):
    """Keys of the gateway, with their limits and budgets."""


class AsyncGatewayModels(generated.AsyncGatewayModelsOperations):
    """Models that the gateway offers, and where they lead."""


class AsyncGatewayRequests(generated.AsyncGatewayRequestsOperations):
    """What the gateway was asked."""


class AsyncGateway(generated.AsyncGatewayOperations):
    """The gateway of models, for who runs it."""

    def __init__(self, transport: AsyncTransport) -> None:
        super().__init__(transport)
        self.keys = AsyncGatewayKeys(transport)
        self.models = AsyncGatewayModels(transport)
        self.requests = AsyncGatewayRequests(transport)


class AsyncVoiceTickets(generated.AsyncVoiceTicketsOperations):
    """Tickets that let a browser talk to an assistant once, without a key."""
