"""The fifteen built-in tools, as data in two languages.

Names, descriptions and schemas in Chinese are those of the published tools API. The first six are
the ones that its health check names.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from django.db import transaction
from django.utils.translation import get_language

from tooling.models import Category, Tool, ToolBackend
from tooling.vendors import OPEN_VENDORS, SERVICES

Language = Literal["zh", "en"]

SERVER_TIMEOUT_MS = 10_000
# A model translates a page in about this time.
MODEL_TIMEOUT_MS = 30_000
CLIENT_TIMEOUT_MS = 15_000
# A person reads or hears the options first.
CHOICE_TIMEOUT_MS = 60_000


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """The same text in both languages."""

    en: str
    zh: str

    def get(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


@dataclasses.dataclass(frozen=True, slots=True)
class BuiltinTool:
    """A tool that every installation has. `properties` may hold Text wherever JSON has a string."""

    id: str
    name: Text
    description: Text
    category: Category
    icon: str
    properties: dict[str, Any] = dataclasses.field(default_factory=dict)
    required: tuple[str, ...] = ()
    defaults: dict[str, Any] = dataclasses.field(default_factory=dict)
    wait_for_response: bool = False
    timeout_ms: int = SERVER_TIMEOUT_MS
    # What only models are told, behind the description.
    guidance: Text | None = None

    def told(self, language: Language) -> str:
        """The description as models read it."""
        description = self.description.get(language)
        if self.guidance is None:
            return description
        return f"{description}{'. ' if language == 'en' else '。'}{self.guidance.get(language)}"

    def parameters(self, language: Language) -> dict[str, Any]:
        """The JSON Schema of its arguments, with descriptions in the language."""
        return {
            "type": "object",
            "properties": _in_language(self.properties, language),
            "required": list(self.required),
        }


def _in_language(value: Any, language: Language) -> Any:
    if isinstance(value, Text):
        return value.get(language)
    if isinstance(value, dict):
        return {key: _in_language(item, language) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_language(item, language) for item in value]
    return value


def _string(en: str, zh: str) -> dict[str, Any]:
    return {"type": "string", "description": Text(en, zh)}


def _volume_step() -> dict[str, Any]:
    return {
        "step": {
            "type": "integer",
            "description": Text("How many steps", "调节的档数"),
            "default": 1,
            "minimum": 1,
            "maximum": 100,
        }
    }


def _choice(**more: Any) -> dict[str, Any]:
    option = {
        "type": "object",
        "properties": {
            "id": _string("Option id", "选项ID"),
            "label": _string("What is shown", "选项显示文本"),
            "value": _string("What is meant, where it differs", "选项对应的值"),
        },
        "required": ["id", "label"],
    }
    return {
        "question": _string("The question", "问题内容"),
        "options": {
            "type": "array",
            "description": Text("At least two options", "可选项，至少两个"),
            # A plain string stands for an option whose id is its position.
            "items": {"anyOf": [option, {"type": "string"}]},
            "minItems": 2,
        },
        **more,
    }


BUILTIN_TOOLS: dict[str, BuiltinTool] = {
    tool.id: tool
    for tool in (
        BuiltinTool(
            "search",
            Text("Web search", "网络搜索"),
            Text("Search the internet for current information", "搜索互联网获取最新信息"),
            Category.QUERY,
            "Search",
            {"query": _string("Search keywords", "搜索关键词")},
            ("query",),
        ),
        BuiltinTool(
            "calculator",
            Text("Calculator", "计算器"),
            Text("Do arithmetic", "执行数学计算"),
            Category.QUERY,
            "Terminal",
            {
                "expression": _string(
                    "A mathematical expression, such as 2 + 3 * 4", "数学表达式,如: 2 + 3 * 4"
                )
            },
            ("expression",),
        ),
        BuiltinTool(
            "weather",
            Text("Weather", "天气查询"),
            Text("Look up the weather of a city", "查询指定城市的天气"),
            Category.QUERY,
            "CloudSun",
            {"city": _string("Name of the city", "城市名称")},
            ("city",),
        ),
        BuiltinTool(
            "translate",
            Text("Translate", "翻译"),
            Text("Translate text into a language", "翻译文本到指定语言"),
            Category.QUERY,
            "Languages",
            {
                "text": _string("The text to translate", "要翻译的文本"),
                "target_lang": _string(
                    "The language to translate into, such as en, ja, ko", "目标语言,如: en, ja, ko"
                ),
            },
            ("text", "target_lang"),
            timeout_ms=MODEL_TIMEOUT_MS,
        ),
        BuiltinTool(
            "knowledge",
            Text("Knowledge search", "知识库查询"),
            Text("Find relevant passages in a knowledge base", "从知识库中检索相关信息"),
            Category.QUERY,
            "Book",
            {
                "query": _string("What to look for", "查询内容"),
                "kb_id": _string("Id of the knowledge base", "知识库ID"),
            },
            ("query",),
        ),
        BuiltinTool(
            "code_interpreter",
            Text("Code interpreter", "代码执行"),
            Text("Run Python code safely", "安全地执行Python代码"),
            Category.QUERY,
            "Code",
            {"code": _string("The Python code to run", "要执行的Python代码")},
            ("code",),
            guidance=Text(
                "Print the result, or leave it as the value of the last line; every call starts "
                "anew. There are no files, no network, no input, no packages such as numpy or "
                "pandas. The language lacks class inheritance, yield, del, decorators such as "
                "staticmethod and property, and the modules statistics, contextlib, enum, string, "
                "fractions and heapq. Available are math, decimal, random, re, json, csv, "
                "datetime, time, collections, itertools, functools, bisect, dataclasses, typing, "
                "copy, base64 and hashlib. Limits: 5 seconds, 32 MB, 20,000 characters of output.",
                "用print输出结果，或让最后一行的值作为结果；每次调用都重新开始，不保留变量。"
                "没有文件、网络、输入，也没有numpy、pandas等第三方包。"
                "语言不支持类继承、yield、del、staticmethod和property等装饰器，"
                "也没有statistics、contextlib、enum、string、fractions、heapq模块。"
                "可用模块：math、decimal、random、re、json、csv、datetime、time、collections、itertools、"
                "functools、bisect、dataclasses、typing、copy、base64、hashlib。"
                "限制：5秒、32MB内存、2万字符输出。",
            ),
        ),
        BuiltinTool(
            "current_time",
            Text("Current time", "当前时间"),
            Text("Tell the current local time", "获取当前本地时间"),
            Category.QUERY,
            "Clock",
            {
                "timezone": _string(
                    "An IANA time zone, such as Asia/Shanghai", "IANA时区名称，如: Asia/Shanghai"
                )
            },
        ),
        BuiltinTool(
            "turn_on_camera",
            Text("Turn on camera", "打开摄像头"),
            Text("Turn the camera on", "执行打开摄像头命令"),
            Category.SYSTEM,
            "Camera",
            timeout_ms=CLIENT_TIMEOUT_MS,
        ),
        BuiltinTool(
            "turn_off_camera",
            Text("Turn off camera", "关闭摄像头"),
            Text("Turn the camera off", "执行关闭摄像头命令"),
            Category.SYSTEM,
            "CameraOff",
            timeout_ms=CLIENT_TIMEOUT_MS,
        ),
        BuiltinTool(
            "increase_volume",
            Text("Turn volume up", "调高音量"),
            Text("Make the device louder", "提升设备音量"),
            Category.SYSTEM,
            "Volume2",
            _volume_step(),
            defaults={"step": 1},
            timeout_ms=CLIENT_TIMEOUT_MS,
        ),
        BuiltinTool(
            "decrease_volume",
            Text("Turn volume down", "调低音量"),
            Text("Make the device quieter", "降低设备音量"),
            Category.SYSTEM,
            "Volume1",
            _volume_step(),
            defaults={"step": 1},
            timeout_ms=CLIENT_TIMEOUT_MS,
        ),
        BuiltinTool(
            "voice_msg_prompt",
            Text("Spoken message", "语音消息提示"),
            Text("Speak a message to the user", "播报一条语音提示消息"),
            Category.SYSTEM,
            "Mic",
            {"msg": _string("The message", "提示消息内容")},
            ("msg",),
            timeout_ms=CLIENT_TIMEOUT_MS,
        ),
        BuiltinTool(
            "text_msg_prompt",
            Text("Written message", "文本消息提示"),
            Text("Show a message in a pop-up", "显示一条文本弹窗提示"),
            Category.SYSTEM,
            "MessageSquare",
            {"msg": _string("The message", "提示消息内容")},
            ("msg",),
            timeout_ms=CLIENT_TIMEOUT_MS,
        ),
        BuiltinTool(
            "voice_choice_prompt",
            Text("Spoken choice", "语音选项提示"),
            Text(
                "Speak a question, show options and wait for the user's choice",
                "播报问题并展示可选项,等待用户选择",
            ),
            Category.SYSTEM,
            "ListChecks",
            _choice(voice_text=_string("What is spoken, where it differs", "播报的文本")),
            ("question", "options"),
            wait_for_response=True,
            timeout_ms=CHOICE_TIMEOUT_MS,
        ),
        BuiltinTool(
            "text_choice_prompt",
            Text("Written choice", "文本选项提示"),
            Text(
                "Show options in a pop-up and wait for the user's choice",
                "显示文本选项弹窗并等待用户选择",
            ),
            Category.SYSTEM,
            "ListChecks",
            _choice(),
            ("question", "options"),
            wait_for_response=True,
            timeout_ms=CHOICE_TIMEOUT_MS,
        ),
    )
}

# Names under which earlier clients know a tool.
LEGACY_IDS = {"voice_message_prompt": "voice_msg_prompt"}


def normalise_tool_id(tool_id: str) -> str:
    """Today's id of a tool, also when an earlier one is given."""
    return LEGACY_IDS.get(tool_id, tool_id)


def is_builtin(tool: Tool) -> bool:
    """Whether the row is one of the fifteen, which only `enabled` can be changed of."""
    return tool.is_system and tool.pk in BUILTIN_TOOLS


def name_to_read(tool: Tool) -> str:
    """A tool's name in the reader's language, where the tool has one in it."""
    builtin = BUILTIN_TOOLS.get(tool.pk)
    return builtin.name.get(_readers_language()) if builtin else tool.name


def description_to_read(tool: Tool) -> str:
    """A tool's description in the reader's language, where the tool has one in it."""
    builtin = BUILTIN_TOOLS.get(tool.pk)
    return builtin.description.get(_readers_language()) if builtin else tool.description


def _readers_language() -> Language:
    return "zh" if (get_language() or "").startswith("zh") else "en"


@transaction.atomic
def sync_builtin_tools() -> None:
    """Writes the system rows of the built-in tools and the services that need no key.

    What an operator changed of a service, or disabled, stays as it is; a deleted one comes back.
    """
    for tool in BUILTIN_TOOLS.values():
        Tool.objects.update_or_create(
            pk=tool.id,
            defaults={
                "owner": None,
                "name": tool.name.en,
                "description": tool.description.en,
                "category": tool.category,
                "icon": tool.icon,
                "parameter_schema": tool.parameters("en"),
                "parameter_defaults": tool.defaults,
                "wait_for_response": tool.wait_for_response,
            },
        )
    for vendor in OPEN_VENDORS:
        service = SERVICES[vendor]
        ToolBackend.objects.get_or_create(
            tool_id=service.tool_id, defaults={"vendor": vendor, "base_url": service.usual_url}
        )
