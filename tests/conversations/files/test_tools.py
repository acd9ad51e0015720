"""The file tools of a task's agent: what the model gets, what is told, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.models import User
from conversations.events import ToolCalled
from conversations.files.catalogue import AGENT_TOOLS
from conversations.files.folder import Saved, UserFolder
from conversations.files.paths import MAX_PATH_CHARS
from conversations.files.texts import page_of
from conversations.files.tools import AgentTools
from conversations.models import Channel, Conversation
from conversations.runs.types import NewEvent
from conversations.tool_calls import parsed
from conversations.toolbox import OwnTools
from core.db import in_db
from core.errors import AppError, InvalidRequest, NotFound, PayloadTooLarge
from tests.knowledge.parse.made import lines, pdf
from tooling.runner import MAX_RESULT_BYTES, capped
from tooling.schema import argument_problems

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


class Agent:
    """Calls tools as a turn does, and keeps what they tell."""

    def __init__(self, folder: UserFolder, conversation_id: str = "", **more: Any) -> None:
        self.events: list[NewEvent] = []
        self.tools = AgentTools(folder, conversation_id, self.events.append, **more)
        self.specs = {spec.id: spec for spec in self.tools.specs}

    async def call(self, name: str, **sent: Any) -> str:
        spec = self.specs[name]
        arguments = {**spec.defaults, **sent}
        assert argument_problems(spec.parameters, arguments) is None
        called = ToolCalled("call_1", name, arguments, "server", True, spec.timeout_ms)
        result = await self.tools.run(called, arguments)
        assert result.code == 200
        assert capped(result.output) == result.output
        return result.output


@pytest.fixture
def agent(folder: UserFolder) -> Agent:
    return Agent(folder)


# --- What models are told ----------------------------------------------------------------------


def test_they_are_tools_that_a_surface_brings_along(agent: Agent) -> None:
    own: OwnTools = agent.tools
    assert [spec.id for spec in own.specs] == [
        "list_files",
        "read_file",
        "write_file",
        "append_file",
        "search_files",
        "update_todo",
    ]
    assert all(spec.executor == "server" and spec.target is None for spec in own.specs)


def test_they_are_described_in_the_language_of_the_run(folder: UserFolder) -> None:
    english, chinese = (Agent(folder, language=language).specs for language in ("en", "zh"))
    for name in AGENT_TOOLS:
        for specs, is_chinese in ((english, False), (chinese, True)):
            spec = specs[name]
            texts = [spec.name, spec.description, json.dumps(spec.parameters, ensure_ascii=False)]
            assert all(any("\u4e00" <= c <= "\u9fff" for c in t) is is_chinese for t in texts)


def test_some_can_stay_away(folder: UserFolder) -> None:
    agent = Agent(folder, without=frozenset({"write_file", "append_file", "update_todo"}))
    assert list(agent.specs) == ["list_files", "read_file", "search_files"]


def test_only_writing_must_not_be_repeated() -> None:
    acting = {name for name in AGENT_TOOLS if AgentTools.has_side_effects(name)}
    assert acting == {"write_file", "append_file"}


# --- Looking -----------------------------------------------------------------------------------


async def test_it_lists(agent: Agent, folder: UserFolder) -> None:
    assert await agent.call("list_files") == "The folder is empty."
    folder.save("docs/a.txt", [b"A"])
    folder.save("b.txt", [b"BB"])
    assert await agent.call("list_files") == "docs/\nb.txt (2)"
    assert await agent.call("list_files", path="docs") == "docs/a.txt (1)"


async def test_it_says_that_a_list_goes_on(agent: Agent, folder: UserFolder) -> None:
    for number in range(120):
        folder.save(f"{'案' * 30}{number:04}.txt", [b""])
    listed = await agent.call("list_files")
    assert "0000.txt (0)" in listed
    assert listed.endswith("[there is more; look in one folder, or for a longer text]")


async def test_it_reads(agent: Agent, folder: UserFolder) -> None:
    folder.save("报告.md", ["# 报告\r\n\r\n第一行\r\n".encode("gb18030")])
    assert await agent.call("read_file", path="报告.md") == (
        "# 报告\n\n第一行\n[报告.md: lines 1 to 3 of 3]"
    )


async def test_it_reads_on_where_it_is_told(agent: Agent, folder: UserFolder) -> None:
    written = [f"line {number} {'x' * 40}" for number in range(1, 501)]
    folder.save("long.txt", ["\n".join(written).encode()])
    read, sent = [], {"path": "long.txt"}
    while True:
        page, _break, position = (await agent.call("read_file", **sent)).rpartition("\n")
        read += page.split("\n")
        if "go on" not in position:
            break
        sent = {"path": "long.txt", "first_line": _number(position, "first_line=")}
    assert read == written
    short = await agent.call("read_file", path="long.txt", first_line=7, max_lines=2)
    assert short.startswith("line 7 ")
    assert short.endswith("[long.txt: lines 7 to 8 of 500] [go on with first_line=9]")
    with pytest.raises(InvalidRequest, match="500 lines"):
        await agent.call("read_file", path="long.txt", first_line=501)


def _number(text: str, before: str) -> Any:
    return int("".join(c for c in text.partition(before)[2].partition(",")[0] if c.isdigit()))


async def test_it_reads_a_line_that_is_longer_than_a_page(agent: Agent, folder: UserFolder) -> None:
    line = "案" * 5000
    folder.save("data.json", [f"{line}\nend".encode()])
    first = await agent.call("read_file", path="data.json")
    assert len(first.encode()) <= MAX_RESULT_BYTES
    following = _number(first, "first_character=")
    rest = await agent.call("read_file", path="data.json", first_character=following)
    whole = first.split("\n")[0] + rest.split("\n")[0]
    while "first_character" in rest:
        rest = await agent.call(
            "read_file", path="data.json", first_character=_number(rest, "first_character=")
        )
        whole += rest.split("\n")[0]
    assert whole == line
    assert rest.split("\n")[1] == "end"


def test_pages_join_to_the_text() -> None:
    text = "one\n\n" + "é" * 50 + "\nfour\n"
    taken, line, character = [], 1, 1
    while True:
        page = page_of(text, first_line=line, first_character=character, max_lines=2, max_bytes=21)
        taken.append(page.text + ("" if page.next_character > 1 else "\n"))
        if page.next_line is None:
            break
        line, character = page.next_line, page.next_character
    assert "".join(taken) == text


async def test_it_sees_a_file_that_changed(agent: Agent, folder: UserFolder) -> None:
    folder.save("a.txt", [b"before"])
    assert (await agent.call("read_file", path="a.txt")).startswith("before\n")
    folder.save("a.txt", [b"after!"])
    assert (await agent.call("read_file", path="a.txt")).startswith("after!\n")


async def test_it_reads_a_document_by_the_readers_of_knowledge(
    agent: Agent, folder: UserFolder
) -> None:
    folder.save("manual.pdf", [pdf(lambda canvas: lines(canvas, ["Press the red button."]))])
    read = await agent.call("read_file", path="manual.pdf")
    assert read.startswith("Press the red button.")
    folder.save("broken.pdf", [b"%PDF-1.4 and nothing more"])
    with pytest.raises(InvalidRequest, match="damaged"):
        await agent.call("read_file", path="broken.pdf")


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("a.bin", bytes(range(256)) * 10, "no text"),
        ("a.png", PNG, "image"),
        ("a.txt", PNG, "image"),
    ],
)
async def test_it_says_what_cannot_be_read(
    agent: Agent, folder: UserFolder, name: str, content: bytes, error: str
) -> None:
    folder.save(name, [content])
    with pytest.raises(InvalidRequest, match=error):
        await agent.call("read_file", path=name)
    folder.save(name, [b"Words."])
    assert (await agent.call("read_file", path=name)).startswith("Words.")


async def test_it_says_what_is_not_there(agent: Agent, folder: UserFolder) -> None:
    folder.save("docs/a.txt", [b"A"])
    with pytest.raises(NotFound):
        await agent.call("read_file", path="b.txt")
    with pytest.raises(InvalidRequest, match="list_files"):
        await agent.call("read_file", path="docs")
    with pytest.raises(InvalidRequest, match="Invalid path"):
        await agent.call("read_file", path="../8/a.txt")


async def test_it_searches(agent: Agent, folder: UserFolder) -> None:
    folder.save("docs/a.txt", [b"one\nThe Red Button\n"])
    assert await agent.call("search_files", query="red button") == "docs/a.txt:2: The Red Button"
    assert await agent.call("search_files", query="blue") == "Nothing found in 1 files."
    folder.save("b.txt", [b"red\n" * 1000])
    assert (await agent.call("search_files", query="red")).endswith("for a longer text]")


# --- Changing ----------------------------------------------------------------------------------


async def test_it_writes_and_tells_of_it(agent: Agent, folder: UserFolder) -> None:
    content = "# 报告\n第一行\n"
    said = await agent.call("write_file", path="work/报告.md", content=content)
    assert said == "work/报告.md has 19 bytes now."
    with folder.open_read("work/报告.md").file as file:
        assert file.read().decode() == content
    changed, tree = agent.events
    assert (changed.type, changed.data) == (
        "modify_payload",
        {
            "path": "work/报告.md",
            "forced": False,
            "lines": 2,
            "bytes": 19,
            "tool_call_id": "call_1",
            "success": True,
        },
    )
    assert tree.type == "file_tree_update"
    assert (tree.data["base"], tree.data["total"]) == ("work", 1)
    assert tree.data["items"][0]["path"] == "work/报告.md"
    json.dumps([event.data for event in agent.events])


async def test_what_a_tool_takes_fits_into_a_call(agent: Agent, folder: UserFolder) -> None:
    longest = agent.specs["write_file"].parameters["properties"]["content"]["maxLength"]
    content = ("words of a line of a text\n" * longest)[:longest]
    written = json.dumps({"path": "p" * MAX_PATH_CHARS, "content": content})
    assert parsed(written)["content"] == content
    await agent.call("write_file", path="a.txt", content=content)
    assert folder.entry("a.txt").size == longest


async def test_a_folder_that_is_gone_again_fails_no_write(
    agent: Agent, folder: UserFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = folder.save

    def save(path: str, chunks: Any) -> Saved:
        saved = written(path, chunks)
        folder.delete("work")
        return saved

    monkeypatch.setattr(folder, "save", save)
    assert "has 1 bytes" in await agent.call("write_file", path="work/a.txt", content="A")
    assert [(each.type, each.data["success"]) for each in agent.events] == [
        ("modify_payload", True)
    ]


async def test_it_appends_and_tells_of_it(agent: Agent, folder: UserFolder) -> None:
    for line in ("one\n", "two\n"):
        await agent.call("append_file", path="log.txt", content=line)
    assert (await agent.call("read_file", path="log.txt")).startswith("one\ntwo\n[")
    assert [event.type for event in agent.events] == ["append_payload", "file_tree_update"] * 2
    assert agent.events[2].data["bytes"] == 4


async def test_it_tells_of_no_change_where_none_was_made(
    agent: Agent, folder: UserFolder, settings: Any
) -> None:
    settings.USER_FILES_QUOTA_MB = 0
    with pytest.raises(PayloadTooLarge):
        await agent.call("write_file", path="a.txt", content="A")
    for path in ("../8/a.txt", "/etc/cron.d/a", "CON", ""):
        with pytest.raises(InvalidRequest):
            await agent.call("append_file", path=path, content="A")
    assert agent.events == []
    assert folder.list() == ()
    settings.USER_FILES_QUOTA_MB = 1
    await agent.call("write_file", path="a.txt", content="A")
    assert [event.type for event in agent.events] == ["modify_payload", "file_tree_update"]


async def test_it_writes_what_no_file_could_hold(agent: Agent, folder: UserFolder) -> None:
    await agent.call("write_file", path="a.txt", content="half \ud83d a pair")
    assert (await agent.call("read_file", path="a.txt")).startswith("half ? a pair")


async def test_it_speaks_the_language_of_the_run(folder: UserFolder) -> None:
    errors = []
    for language in ("en", "zh"):
        try:
            await Agent(folder, language=language).call("read_file", path="..")
        except AppError as error:
            errors.append(error.message)
    assert errors[0] == "Invalid path."
    assert len(errors) == 2


# --- The list of what is to be done ------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
async def test_it_keeps_a_list(folder: UserFolder, alice: User) -> None:
    conversation = await in_db(
        Conversation.objects.create, owner=alice, channel=Channel.TASK, assistant_key="a"
    )
    agent = Agent(folder, conversation.pk)
    rows = [
        {"text": "读文件", "status": "done"},
        {"text": "Write", "status": "in_progress"},
        {"text": "Check", "status": "pending"},
    ]
    assert await agent.call("update_todo", items=rows) == "[x] 读文件\n[~] Write\n[ ] Check"
    await in_db(conversation.refresh_from_db)
    assert conversation.todo == rows
    assert [(event.type, event.data) for event in agent.events] == [
        ("todo_updated", {"todo_list": rows})
    ]
    await agent.call("update_todo", items=[])
    await in_db(conversation.refresh_from_db)
    assert conversation.todo == []
