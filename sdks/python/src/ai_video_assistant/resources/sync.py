"""The resources of the synchronous client."""

from __future__ import annotations

import builtins
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from ai_video_assistant._generated import sync as generated
from ai_video_assistant._operation import OMIT, File, Omit
from ai_video_assistant._transport.sync import Transport
from ai_video_assistant.errors import APIConnectionError
from ai_video_assistant.models import Document, TaskEvent
from ai_video_assistant.resources.chatting import Answer, ChatEvent, chat_event, question
from ai_video_assistant.resources.following import Following
from ai_video_assistant.resources.waiting import Waiting, are_ready


class Assistants(generated.AssistantsOperations):
    """What assistants are: prompt, models, voice, knowledge, tools."""


class Llm(generated.LlmOperations):
    """Language, embedding and rerank models."""


class Asr(generated.AsrOperations):
    """Speech recognisers."""


class Voices(generated.VoicesOperations):
    """Voices that assistants speak with."""


class Documents(generated.DocumentsOperations):
    """The documents of a knowledge base."""


class KnowledgeBases(generated.KnowledgeBasesOperations):
    """Knowledge bases, and what it takes to fill and search them."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.documents = Documents(transport)

    def upload(self, base_id: str, file: File, *, name: str | Omit = OMIT) -> Document:
        """Adds a file (a path, or a name with its bytes); the workers then read it."""
        return self.documents.upload(base_id, file=file, name=name)

    def wait_until_ready(
        self, base_id: str, document_id: str | None = None, *, timeout: float = 300.0
    ) -> builtins.list[Document]:
        """The documents of a base, or the one, as soon as all can be searched.

        Raises DocumentFailedError, which says what is wrong, and WaitTimeoutError.
        """
        waiting = Waiting(timeout)
        while True:
            documents = (
                builtins.list(self.documents.iterate(base_id))
                if document_id is None
                else [self.documents.get(base_id, document_id)]
            )
            if are_ready(documents):
                return documents
            time.sleep(waiting.next_look())


class History(generated.HistoryOperations):
    """Conversations of every channel, with what was said."""


class ToolResources(generated.ToolResourcesOperations):
    """Tools of your own."""


class AutotestRuns(generated.AutotestRunsOperations):
    """What tests found."""


class AutotestScenarios(generated.AutotestScenariosOperations):
    """Conversations that a test holds, and what it expects of them."""


class Tools(generated.ToolsOperations):
    """The built-in tools, and tests of what the product is connected to."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.resources = ToolResources(transport)
        self.runs = AutotestRuns(transport)
        self.scenarios = AutotestScenarios(transport)


class TaskConversations(generated.TaskConversationsOperations):
    """Conversations that tasks belong to."""


class Files(generated.FilesOperations):
    """The user's folder, which tasks read and write."""


class Prompts(generated.PromptsOperations):
    """Prompts that tasks name."""


class Personalizations(generated.PersonalizationsOperations):
    """How tasks address the user, and what they prefer."""


class Tasks(generated.TasksOperations):
    """Messages that are answered in the background."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.conversations = TaskConversations(transport)
        self.files = Files(transport)
        self.prompts = Prompts(transport)
        self.personalizations = Personalizations(transport)

    def follow(self, task_id: str, *, offset: int = 0) -> Generator[TaskEvent, None, None]:
        """The events of a task from `offset` on, as they happen, until it ends.

        A broken connection is opened again where it broke, each event comes once. Raises
        APIConnectionError when that fails too often in a row. Leaving the loop closes the
        connection; who keeps what this returns closes that.
        """
        following = Following(task_id, offset, self._transport.settings.max_retries)
        while not following.is_over:
            try:
                with self._transport.events(following.operation()) as events:
                    if events is None:
                        return
                    for sent in events:
                        if event := following.take(sent):
                            yield event
            except APIConnectionError as error:
                time.sleep(following.after_failure(error))
            else:
                if not following.is_over:
                    time.sleep(following.after_end())


class Agents(generated.AgentsOperations):
    """Assistants as the chat knows them."""


class Dialogs(generated.DialogsOperations):
    """Conversations with an agent in writing."""


class McpServers(generated.McpServersOperations):
    """Servers of tools, by the Model Context Protocol."""


class Memory(generated.MemoryOperations):
    """What assistants remember of the user."""


class Chat(generated.ChatOperations):
    """Chats in writing, answered piece by piece."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.agents = Agents(transport)
        self.dialogs = Dialogs(transport)
        self.mcp_servers = McpServers(transport)
        self.memory = Memory(transport)

    @contextmanager
    def stream(
        self, dialog_id: str, text: str, *, file_url: str | None = None
    ) -> Iterator[Iterator[ChatEvent]]:
        """The events of the answer, as they happen; leaving the block stops the answer.

            with client.chat.stream(dialog.dialog_id, "Hello") as events:
                for event in events: ...

        `file_url` is what `upload` returned.
        """
        with self._transport.events(question(dialog_id, text, file_url)) as events:
            yield (chat_event(sent) for sent in events or ())

    def complete(self, dialog_id: str, text: str, *, file_url: str | None = None) -> str:
        """The whole answer. Raises ChatFailedError when the model fails."""
        answer = Answer()
        with self.stream(dialog_id, text, file_url=file_url) as events:
            for event in events:
                answer.add(event)
        return answer.text


class ApiKeys(generated.ApiKeysOperations):
    """Keys of the user."""


class GatewayKeys(generated.GatewayKeysOperations):
    """Keys of the gateway, with their limits and budgets."""


class GatewayModels(generated.GatewayModelsOperations):
    """Models that the gateway offers, and where they lead."""


class GatewayRequests(generated.GatewayRequestsOperations):
    """What the gateway was asked."""


class Gateway(generated.GatewayOperations):
    """The gateway of models, for who runs it."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self.keys = GatewayKeys(transport)
        self.models = GatewayModels(transport)
        self.requests = GatewayRequests(transport)


class VoiceTickets(generated.VoiceTicketsOperations):
    """Tickets that let a browser talk to an assistant once, without a key."""
