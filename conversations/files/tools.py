"""The tools of a task's agent: the files of its user, and its own list of what is to be done."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from django.utils import translation
from django.utils.translation import gettext as _

from conversations.background.todo import store_todo
from conversations.events import ToolCalled
from conversations.files import images, reading, texts
from conversations.files.catalogue import agent_specs
from conversations.files.folder import Entry, Saved, UserFolder
from conversations.files.searching import MAX_FILE_BYTES, Search
from conversations.runs.types import NewEvent
from conversations.types import TodoRow
from core.db import in_db
from core.errors import AppError, InvalidRequest
from knowledge.parse.charsets import decode
from knowledge.parse.draft import Refused
from tooling.catalogue import Language
from tooling.runner import MAX_RESULT_BYTES
from tooling.types import ToolResult, ToolSpec

# What the model's results may have, less what is said around a page.
_PAGE_BYTES = MAX_RESULT_BYTES - 600
_MAX_SHOWN = 200
# These are read by the knowledge's readers; whatever else is text is read as it stands.
_DOCUMENTS = frozenset({"pdf", "docx", "xlsx", "pptx"})
_ACTING = frozenset({"write_file", "append_file"})
_MARKS = {"pending": "[ ]", "in_progress": "[~]", "done": "[x]"}

Note = Callable[[NewEvent], None]


@dataclasses.dataclass(frozen=True, slots=True)
class _Read:
    """The text of a file as it was when it was read."""

    entry: Entry
    text: str


class AgentTools:
    """Own tools of one run. Files are touched in threads; what changed is told through `note`.

    `note` is called on the event loop, before the result is there.
    """

    def __init__(
        self,
        folder: UserFolder,
        conversation_id: str,
        note: Note,
        *,
        language: Language = "en",
        without: frozenset[str] = frozenset(),
    ) -> None:
        self._folder, self._conversation_id, self._note = folder, conversation_id, note
        self._locale = "zh-hans" if language == "zh" else "en"
        self._specs = agent_specs(language, without=without)
        # Pages of one file are mostly asked for one after the other.
        self._last: _Read | None = None
        self._tools: dict[str, Callable[[ToolCalled, dict[str, Any]], Awaitable[str]]] = {
            "list_files": self._list,
            "read_file": self._read,
            "write_file": self._write,
            "append_file": self._append,
            "search_files": self._search,
            "update_todo": self._update_todo,
        }

    @property
    def specs(self) -> Sequence[ToolSpec]:
        return self._specs

    @staticmethod
    def has_side_effects(name: str) -> bool:
        """Whether a run that has called it must not be done a second time."""
        return name in _ACTING

    async def run(self, called: ToolCalled, arguments: dict[str, Any]) -> ToolResult:
        """The result, in words for the model. Raises AppError for what went wrong."""
        with translation.override(self._locale):
            return ToolResult(await self._tools[called.name](called, arguments))

    # --- Looking -------------------------------------------------------------------------------

    async def _list(self, called: ToolCalled, arguments: dict[str, Any]) -> str:
        entries = await asyncio.to_thread(self._folder.list, arguments.get("path", ""))
        if not entries:
            return _("The folder is empty.")
        lines = [f"{e.path}/" if e.is_dir else f"{e.path} ({e.size})" for e in entries]
        return _joined(lines)

    async def _read(self, called: ToolCalled, arguments: dict[str, Any]) -> str:
        read = await self._text_of(arguments["path"])
        page = texts.page_of(
            read.text,
            first_line=arguments["first_line"],
            first_character=arguments["first_character"],
            max_lines=arguments["max_lines"],
            max_bytes=_PAGE_BYTES,
        )
        if page.first_line > page.total_lines:
            text = _("The file has %(total)d lines.") % {"total": page.total_lines}
            raise InvalidRequest(text, param="first_line")
        return f"{page.text}\n{_position(read.entry.path, page)}"

    async def _text_of(self, path: str) -> _Read:
        entry = await asyncio.to_thread(self._folder.entry, path)
        if entry.is_dir:
            raise InvalidRequest(_("This is a folder; list_files shows what is in it."))
        if self._last is None or self._last.entry != entry:
            ending = entry.name.rpartition(".")[2].lower()
            if ending in _DOCUMENTS:
                text = await reading.off_the_loop(
                    lambda check: self._document(entry.path, ending, check)
                )
            else:
                text = await asyncio.to_thread(_plain_text, self._folder, entry.path)
            self._last = _Read(entry, text)
        return self._last

    def _document(self, path: str, file_type: str, check: Callable[[], None]) -> str:
        with self._folder.copy(path) as copy:
            return reading.text_of(copy, file_type, check)

    async def _search(self, called: ToolCalled, arguments: dict[str, Any]) -> str:
        query, path = arguments["query"], arguments.get("path", "")
        found = await asyncio.to_thread(self._folder.search, query, path)
        return _found_lines(found)

    # --- Changing ------------------------------------------------------------------------------

    async def _write(self, called: ToolCalled, arguments: dict[str, Any]) -> str:
        data = _encoded(arguments["content"])
        return await self._changed(
            "modify_payload",
            called,
            arguments,
            lambda: self._folder.save(arguments["path"], [data]),
        )

    async def _append(self, called: ToolCalled, arguments: dict[str, Any]) -> str:
        data = _encoded(arguments["content"])
        return await self._changed(
            "append_payload",
            called,
            arguments,
            lambda: self._folder.append(arguments["path"], data),
        )

    async def _changed(
        self,
        event: str,
        called: ToolCalled,
        arguments: dict[str, Any],
        change: Callable[[], Saved],
    ) -> str:
        """Makes the change and tells of it. Of one that is refused, its result tells."""
        content: str = arguments["content"]
        saved = await asyncio.to_thread(change)
        payload = {
            "path": saved.path,
            "forced": False,
            "lines": len(content.splitlines()),
            "bytes": len(_encoded(content)),
            "tool_call_id": called.call_id,
            "success": True,
        }
        self._note(NewEvent(event, payload))
        # The folder may be gone again by now; the file was written all the same.
        with contextlib.suppress(AppError):
            self._note(await asyncio.to_thread(self._tree_around, saved.path))
        written = {"path": saved.path, "size": saved.size}
        return _("%(path)s has %(size)d bytes now.") % written

    def _tree_around(self, path: str) -> NewEvent:
        """What the folder of a file holds now."""
        base = path.rpartition("/")[0]
        entries = self._folder.list(base)
        items = [dataclasses.asdict(entry) for entry in entries[:_MAX_SHOWN]]
        return NewEvent("file_tree_update", {"base": base, "items": items, "total": len(entries)})

    async def _update_todo(self, called: ToolCalled, arguments: dict[str, Any]) -> str:
        rows = [TodoRow(text=row["text"], status=row["status"]) for row in arguments["items"]]
        await in_db(store_todo, self._conversation_id, rows)
        self._note(NewEvent("todo_updated", {"todo_list": rows}))
        return "\n".join(f"{_MARKS[row['status']]} {row['text']}" for row in rows) or "[]"


def _encoded(content: str) -> bytes:
    # Models write halves of surrogate pairs, which no file can hold.
    return content.encode(errors="replace")


def _plain_text(folder: UserFolder, path: str) -> str:
    """The text of a file. Raises InvalidRequest for what is none, or too much."""
    with folder.open_read(path).file as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        limit = {"limit": MAX_FILE_BYTES // 2**20}
        raise InvalidRequest(_("The file is larger than %(limit)d MB; search in it.") % limit)
    if images.media_type_of(data):
        raise InvalidRequest(_("The file is an image; it has no text to be read."))
    try:
        text = decode(data)
    except Refused:
        raise InvalidRequest(_("The file is no text.")) from None
    return text.replace("\r\n", "\n").replace("\0", "")


def _position(path: str, page: texts.Page) -> str:
    """Which part this was, and how to get the next."""
    numbers = {
        "path": path,
        "first": page.first_line,
        "last": page.last_line,
        "total": page.total_lines,
    }
    here = _("[%(path)s: lines %(first)d to %(last)d of %(total)d]") % numbers
    if page.next_line is None:
        return here
    following = f"first_line={page.next_line}"
    if page.next_character > 1:
        following += f", first_character={page.next_character}"
    # Not inside of the other text: gettext would not find it there.
    more = _("[go on with %(where)s]") % {"where": following}
    return f"{here} {more}"


def _found_lines(found: Search) -> str:
    if not found.matches:
        return _("Nothing found in %(count)d files.") % {"count": found.files}
    lines = [
        f"{match.path}:{match.line}: {match.text}" if match.line else match.path
        for match in found.matches
    ]
    return _joined(lines, is_complete=found.is_complete)


def _joined(lines: Sequence[str], *, is_complete: bool = True) -> str:
    """As many lines as a result holds, and whether there are more."""
    kept: list[str] = []
    room = _PAGE_BYTES
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            is_complete = False
            break
        kept.append(line)
    if not is_complete:
        kept.append(_("[there is more; look in one folder, or for a longer text]"))
    return "\n".join(kept)
