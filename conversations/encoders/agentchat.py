"""The stream of the agentchat family: two types of events, in the words of its clients.

    event            a tool: START, then END or ERROR under the same title
    response_chunk   more of the answer, and all of it so far

Beyond what its clients know, `data` of an event has the call's `id`, the `tool`, and the `sources`
that a search put before the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, assert_never

from django.utils.translation import gettext as _

from conversations.events import (
    Citation,
    Cited,
    Linked,
    ModelAnswered,
    ModelAsked,
    TextDelta,
    ThinkingDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
    TurnStarted,
)
from core.lines import one_line
from tooling.types import McpTarget, ToolSpec

Status = Literal["START", "END", "ERROR"]

# As its clients know the search in the knowledge, spelling included.
KNOWLEDGE_TOOL = "retrival_knowledge"

_CHUNK = (
    b'data: {"type":"response_chunk","timestamp":%.3f,"data":{"chunk":"%b","accumulated":"%b"}}\n\n'
)


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """How a tool is shown: by the name that people read, under a title that joins its events."""

    name: str
    title: str


def shown(spec: ToolSpec) -> Shown:
    """How a tool of an assistant is shown; one of an MCP server counts as a sub-agent."""
    if isinstance(spec.target, McpTarget):
        tool, server = spec.target.tool_name, spec.target.endpoint.name
        title = _("Sub-Agent - %(server)s runs a tool: %(tool)s")
        return Shown(tool, title % {"server": server, "tool": tool})
    return _by_name(spec.id)


def shown_search() -> Shown:
    """How the search in the knowledge is shown."""
    return Shown(KNOWLEDGE_TOOL, _("Search the knowledge bases"))


def _by_name(name: str) -> Shown:
    return Shown(name, _("Running a tool: %(tool)s") % {"tool": name})


def apology_for(failed: TurnFailed) -> str:
    """What is said in place of the rest of an answer that failed."""
    if failed.is_retryable:
        return _("Sorry, I cannot answer right now. Please try again later.")
    return _("Sorry, I cannot answer this.")


class AgentChatEncoder:
    """Encodes one turn of an assistant with these tools; one may be the search in the knowledge.

    `clock` gives seconds since 1970. The text so far is kept as it is sent, so that a chunk costs
    no more than its bytes.
    """

    def __init__(
        self,
        tools: Iterable[ToolSpec],
        *,
        search_id: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._shown = {spec.id: shown(spec) for spec in tools}
        self._search = shown_search()
        if search_id:
            self._shown[search_id] = self._search
        self._last_search = ""
        self._accumulated = bytearray()
        self._attempt_from = 0

    def encode(self, event: TurnEvent) -> Iterator[bytes]:
        match event:
            case TextDelta():
                yield self._chunk(event.text)
            case ToolCalled():
                yield self._started(event)
            case ToolReturned():
                yield self._returned(event)
            case Cited():
                yield from self._cited(event)
            case ModelAsked():
                if event.attempt > 1:
                    del self._accumulated[self._attempt_from :]
                self._attempt_from = len(self._accumulated)
            case TurnFailed():
                yield from self._failed(event)
            case TurnStarted() | ModelAnswered() | Linked() | ThinkingDelta() | TurnFinished():
                pass
            case _:
                assert_never(event)

    def _chunk(self, text: str) -> bytes:
        escaped = one_line(text)[1:-1].encode(errors="replace")
        self._accumulated += escaped
        return _CHUNK % (self._clock(), escaped, self._accumulated)

    def _started(self, called: ToolCalled) -> bytes:
        tool = self._of(called.name)
        message = _("Calling the tool %(tool)s…") % {"tool": tool.name}
        if tool is self._search:
            query = called.arguments.get("query", "")
            message = _("Searching the knowledge bases: %(query)s") % {"query": query}
        return self._event("START", tool, message, id=called.call_id)

    def _returned(self, returned: ToolReturned) -> bytes:
        tool = self._of(returned.name)
        if tool is self._search:
            self._last_search = returned.call_id
        if returned.code >= 400:
            return self._event("ERROR", tool, returned.message, id=returned.call_id)
        message = returned.output or returned.message
        return self._event("END", tool, message, id=returned.call_id)

    def _cited(self, cited: Cited) -> Iterator[bytes]:
        """A search before the answer is a call of its own; one by the model has been shown."""
        call_id, self._last_search = self._last_search, ""
        if not call_id:
            yield self._event("START", self._search, _("Searching the knowledge bases…"))
        found = "\n".join(citation.text for citation in cited.citations)
        sources = [_source(citation) for citation in cited.citations]
        message = found or _("No passage fits.")
        yield self._event("END", self._search, message, id=call_id, sources=sources)

    def _failed(self, failed: TurnFailed) -> Iterator[bytes]:
        """The error first, so that nobody takes the apology for an answer."""
        model = Shown("", _("The model's call failed"))
        yield self._event("ERROR", model, failed.message)
        apology = apology_for(failed)
        yield self._chunk(f"\n\n{apology}" if self._accumulated else apology)

    def _of(self, name: str) -> Shown:
        return self._shown.get(name) or _by_name(name)

    def _event(
        self, status: Status, tool: Shown, message: str, *, id: str = "", **more: Any
    ) -> bytes:
        data: dict[str, Any] = {"status": status, "title": tool.title, "message": message}
        if id:
            data["id"] = id
        if tool.name:
            data["tool"] = tool.name
        event = {"type": "event", "timestamp": round(self._clock(), 3), "data": data | more}
        return f"data: {one_line(event)}\n\n".encode(errors="replace")


def _source(citation: Citation) -> dict[str, Any]:
    return {
        "index": citation.index,
        "document": citation.document,
        "page": citation.page,
        "text": citation.text,
        "score": citation.score,
        "knowledge_id": citation.knowledge_base_id,
        "file_id": citation.document_id,
        "chunk_id": citation.chunk_id,
    }
