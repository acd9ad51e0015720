"""Every text that people see has its Chinese translation."""

from __future__ import annotations

import ast
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import unfold
from django.apps import apps
from django.utils.translation import gettext, ngettext, override
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
CATALOGUES = ROOT / "locale" / "zh_Hans" / "LC_MESSAGES"
PO = CATALOGUES / "django.po"
MARKERS = {"_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy"}
# A marked text in what Django makes of a template for gettext: lines that look like Python.
IN_TEMPLATE = re.compile(r"""\b(?:_|n?gettext)\((u?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))""")
PLACEHOLDER = re.compile(r"%\(\w+\)[.0-9]*[a-z]|%[sd]|(?<!{){\w*}(?!})|{{\w+}}")
FIELD = re.compile(r'^(?:(msg\S+) )?(".*")$', re.MULTILINE)


def sources(folder: Path) -> list[Path]:
    return [*folder.rglob("*.html"), *folder.rglob("*.py")]


def marked(files: Iterable[Path]) -> Iterator[str]:
    """The texts that templates and Python files mark for translation."""
    for path in files:
        source = path.read_text(encoding="utf-8")
        if path.suffix == ".html":
            for match in IN_TEMPLATE.finditer(templatize(source)):
                yield ast.literal_eval(match.group(1))
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                text = getattr(node.args[0], "value", None)
                if name in MARKERS and isinstance(text, str):
                    yield text


def ours() -> set[str]:
    folders = [Path(app.path) for app in apps.get_app_configs()]
    folders = [ROOT / "templates", *(path for path in folders if path.parent == ROOT)]
    return {text for folder in folders for text in marked(sources(folder))}


def unfolds() -> set[str]:
    """What the installed parts of unfold mark; it ships no catalogue."""
    root = Path(unfold.__file__).parent
    parts = [Path(app.path) for app in apps.get_app_configs() if app.name.startswith("unfold.")]
    return set(
        marked(
            path
            for path in sources(root)
            if not path.is_relative_to(root / "contrib")
            or any(path.is_relative_to(part) for part in parts)
        )
    )


def written(path: Path) -> dict[str, str]:
    """The entries of the .po. A plural's id is made of both its forms, as in the .mo."""
    entries = {}
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        field = ""
        for keyword, quoted in FIELD.findall(block):
            field = keyword or field
            fields[field] = fields.get(field, "") + ast.literal_eval(quoted)
        message_id = "\0".join(text for name, text in fields.items() if name.startswith("msgid"))
        entries[message_id] = "\0".join(
            text for name, text in fields.items() if name.startswith("msgstr")
        )
    return entries


def compiled(path: Path) -> dict[str, str]:
    """The entries of the .mo: five numbers lead to two tables of lengths and places."""
    data = path.read_bytes()
    _magic, _revision, count, ids, texts = struct.unpack_from("<5I", data)

    def text(table: int, index: int) -> str:
        length, place = struct.unpack_from("<2I", data, table + 8 * index)
        return data[place : place + length].decode()

    return {text(ids, index): text(texts, index) for index in range(count)}


def in_chinese(text: str) -> str:
    with override("zh-hans"):
        one = gettext(text)
        return one if one != text else ngettext(text, text, 2)


def test_it_translates_every_text_of_ours() -> None:
    known = {one for entry in written(PO) for one in entry.split("\0")}
    missing = sorted(ours() - known)
    assert not missing, "\n".join(["run scripts/messages.sh and translate:", *missing])


def test_it_translates_what_unfold_leaves_in_english() -> None:
    missing = sorted(text for text in unfolds() if in_chinese(text) == text)
    assert not missing, "\n".join(["add to config/unfold_texts.py and translate:", *missing])


@pytest.mark.parametrize("path", sorted(CATALOGUES.glob("*.po")), ids=lambda path: path.name)
def test_it_has_no_empty_and_no_doubtful_entry(path: Path) -> None:
    assert "fuzzy" not in path.read_text(encoding="utf-8")
    assert [entry for entry, text in written(path).items() if not text] == []


@pytest.mark.parametrize("path", sorted(CATALOGUES.glob("*.po")), ids=lambda path: path.name)
def test_it_keeps_every_placeholder(path: Path) -> None:
    for entry, text in written(path).items():
        expected = {place for one in entry.split("\0") for place in PLACEHOLDER.findall(one)}
        assert set(PLACEHOLDER.findall(text)) == expected, entry


@pytest.mark.parametrize("path", sorted(CATALOGUES.glob("*.po")), ids=lambda path: path.name)
def test_it_is_compiled_as_it_is_written(path: Path) -> None:
    assert compiled(path.with_suffix(".mo")) == written(path)


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        ("The user name or the password is wrong.", "账号或密码错误"),
        ("This user name is taken.", "用户名重复"),
        ("A user name has at most %d characters.", "用户名长度不应该超过%d"),
        ("This account is disabled; ask an operator.", "该账号已被禁用，请联系管理员"),
        ("You may not do this.", "暂无操作权限"),
        ("System assistants can be changed by operators only.", "没有权限访问"),
        ("Not found.", "资源不存在"),
        ("Dialog not found.", "对话不存在"),
        ("The conversation is being answered.", "会话正在生成中"),
        (
            "There is an application of this name already; choose another one.",
            "应用名称重复，请更换一个",
        ),
        ("Running a tool: %(tool)s", "执行可用工具: %(tool)s"),
        ("Calling the tool %(tool)s…", "正在调用插件工具 %(tool)s..."),
        (
            "Sub-Agent - %(server)s runs a tool: %(tool)s",
            "Sub-Agent - %(server)s执行可用工具: %(tool)s",
        ),
        ("Search the knowledge bases", "检索知识库"),
        ("The model's call failed", "模型调用失败"),
        ("The request body must be a JSON object.", "请求体必须是 JSON"),
        ("The message must not be empty.", "消息不能为空"),
        ("run_mode supports fast, thinking and deep only.", "run_mode 只支持 fast/thinking/deep"),
        ("The conversation could not be loaded.", "对话加载失败"),
        ("Conversation not found.", "对话不存在"),
        ("The conversation was deleted.", "对话已删除"),
        ("Task not found.", "任务不存在"),
        ("A task is already running. Please try again later.", "已有运行中的任务，请稍后再试。"),
        ("There is no such prompt.", "prompt 不存在"),
        ("There is no such personalization.", "personalization 不存在"),
        ("name must not be empty.", "name 不能为空"),
        ("content must be a JSON object.", "content 必须是 JSON object"),
        ("No file was sent.", "未找到文件"),
        ("Invalid path.", "非法路径"),
        ("There is no such path.", "路径不存在"),
        ("There is no such file.", "文件不存在"),
        ("This is not a folder.", "不是目录"),
        ("The parameter “path” is missing.", "缺少 path"),
        ("Preparing to call %(name)s…", "准备调用 %(name)s..."),
    ],
)
def test_it_says_what_clients_of_the_chinese_api_expect(text: str, chinese: str) -> None:
    assert in_chinese(text) == chinese
