"""The tools of a task's agent besides its assistant's own: what models are told of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tooling.catalogue import BuiltinTool, Language, Text
from tooling.models import Category
from tooling.types import ToolSpec

MAX_LINES = 1000
DEFAULT_LINES = 200
MAX_QUERY_CHARS = 200
# With its escapes within what the arguments of a call may have (`tool_calls.MAX_ARGUMENT_CHARS`).
MAX_CONTENT_CHARS = 24_000
MAX_TODO, MAX_TODO_CHARS = 50, 200

_TIMEOUT_MS = 30_000
# Reading a document may wait for others first.
_READ_TIMEOUT_MS = 100_000


def _string(text: Text, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": text, **more}


def _count(text: Text, **more: Any) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "description": text, **more}


_PATH = _string(
    Text(
        "Path in the user's folder, relative, such as reports/2026.md",
        "用户文件夹中的相对路径，例如 reports/2026.md",
    )
)
_FOLDER = _string(
    Text(
        "Path of a folder in the user's folder; empty for the whole folder",
        "用户文件夹中的目录路径；留空表示整个文件夹",
    )
)
_STATUS = {
    "type": "string",
    "enum": ["pending", "in_progress", "done"],
    "description": Text("How far it is", "进展状态"),
}


def _content(text: Text) -> dict[str, Any]:
    return {"path": _PATH, "content": _string(text, maxLength=MAX_CONTENT_CHARS)}


AGENT_TOOLS: Mapping[str, BuiltinTool] = MappingProxyType(
    {
        tool.id: tool
        for tool in (
            BuiltinTool(
                "list_files",
                Text("List files", "列出文件"),
                Text(
                    "List the files and folders of the user's folder, with sizes in bytes. What "
                    "the user uploaded is there, and what you write",
                    "列出用户文件夹中的文件和目录及其大小（字节）。用户上传的文件和你写入的文件都在其中",
                ),
                Category.SYSTEM,
                "FolderOpen",
                {"path": _FOLDER},
                timeout_ms=_TIMEOUT_MS,
            ),
            BuiltinTool(
                "read_file",
                Text("Read a file", "读取文件"),
                Text(
                    "Read a file of the user's folder, a page of lines at a time: texts of any "
                    "kind as they are, PDF, Word, Excel and PowerPoint as their text. The result "
                    "says where to go on",
                    "分页读取用户文件夹中的文件：各类文本按原样返回，PDF、Word、Excel、PowerPoint "
                    "返回其中的文字。结果会说明从哪里继续",
                ),
                Category.SYSTEM,
                "FileText",
                {
                    "path": _PATH,
                    "first_line": _count(
                        Text("The line to begin with, from 1", "起始行号，从 1 开始"), default=1
                    ),
                    "max_lines": _count(
                        Text("How many lines at most", "最多读取的行数"),
                        default=DEFAULT_LINES,
                        maximum=MAX_LINES,
                    ),
                    "first_character": _count(
                        Text(
                            "The character of that line to begin with, for very long lines",
                            "起始行中的起始字符，用于很长的行",
                        ),
                        default=1,
                    ),
                },
                ("path",),
                {"first_line": 1, "max_lines": DEFAULT_LINES, "first_character": 1},
                timeout_ms=_READ_TIMEOUT_MS,
            ),
            BuiltinTool(
                "write_file",
                Text("Write a file", "写入文件"),
                Text(
                    "Write a text file into the user's folder, with the folders on the way to it. "
                    "A file of that path is replaced. What is too long for one call goes behind "
                    "it with append_file",
                    "把文本写入用户文件夹中的文件，自动创建所需目录。同一路径的文件会被替换。"
                    "一次写不下的内容用 append_file 继续追加",
                ),
                Category.SYSTEM,
                "FilePen",
                _content(Text("The whole content of the file", "文件的全部内容")),
                ("path", "content"),
                timeout_ms=_TIMEOUT_MS,
            ),
            BuiltinTool(
                "append_file",
                Text("Append to a file", "追加到文件"),
                Text(
                    "Put text behind a file of the user's folder, exactly as given: begin with a "
                    "line break where one is needed. A file that is not there is made",
                    "把文本原样追加到用户文件夹中某个文件的末尾，需要换行时请自行以换行开头。"
                    "文件不存在时会创建",
                ),
                Category.SYSTEM,
                "FilePlus",
                _content(Text("What to put behind it", "要追加的内容")),
                ("path", "content"),
                timeout_ms=_TIMEOUT_MS,
            ),
            BuiltinTool(
                "search_files",
                Text("Search files", "搜索文件"),
                Text(
                    "Find a text in the names and lines of the text files of the user's folder. "
                    "Upper and lower case are the same; it is no pattern",
                    "在用户文件夹中按文件名和文本内容查找一段文字，不区分大小写，不支持通配符",
                ),
                Category.SYSTEM,
                "FileSearch",
                {
                    "query": _string(
                        Text("The text to find", "要查找的文字"),
                        minLength=1,
                        maxLength=MAX_QUERY_CHARS,
                    ),
                    "path": _FOLDER,
                },
                ("query",),
                timeout_ms=_TIMEOUT_MS,
            ),
            BuiltinTool(
                "update_todo",
                Text("Update the to-do list", "更新待办列表"),
                Text(
                    "Keep the list of steps of a longer task, which the user sees. Send all of it "
                    "each time: when it is planned, and when a step begins or is done",
                    "维护较长任务的步骤列表，用户可以看到。每次都发送完整列表："
                    "制定计划时，以及每一步开始或完成时",
                ),
                Category.SYSTEM,
                "ListTodo",
                {
                    "items": {
                        "type": "array",
                        "description": Text("All steps, in order", "按顺序排列的全部步骤"),
                        "maxItems": MAX_TODO,
                        "items": {
                            "type": "object",
                            "properties": {
                                "text": _string(
                                    Text("The step", "步骤内容"),
                                    minLength=1,
                                    maxLength=MAX_TODO_CHARS,
                                ),
                                "status": _STATUS,
                            },
                            "required": ["text", "status"],
                        },
                    }
                },
                ("items",),
                timeout_ms=_TIMEOUT_MS,
            ),
        )
    }
)


def agent_specs(language: Language, *, without: frozenset[str] = frozenset()) -> list[ToolSpec]:
    """The tools as a turn takes them, but for those that stay away."""
    return [
        ToolSpec(
            id=tool.id,
            name=tool.name.get(language),
            description=tool.told(language),
            parameters=tool.parameters(language),
            defaults=tool.defaults,
            executor="server",
            wait_for_response=True,
            timeout_ms=tool.timeout_ms,
        )
        for tool in AGENT_TOOLS.values()
        if tool.id not in without
    ]
