"""The built-in demo model: no intelligence, no network, the same answer every time.

In English and Chinese it greets, answers arithmetic and the time by calling the tools named
`calculator` and `current_time` where the request offers them, works the volume and the camera by
their tools, quotes the knowledge it was given (`providers.passages`) with its source, calls a tool
whose name it is told (`providers.builtin.naming`), searches for knowledge where it is offered a
tool for that, and otherwise says that it is an offline demo and what it understood. Of a system
prompt it honours the name it is given. It streams word by word, as a real model does.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from providers.builtin.naming import named_call, time_zone_in
from providers.builtin.numerals import MAX_CHARS, find_expression
from providers.builtin.quoting import best_quote
from providers.builtin.spoken import Language, spoken_sum, spoken_time
from providers.passages import Passage, find_passages
from providers.results import unframed
from providers.tokens import CJK, estimate_tokens
from providers.types import (
    AssistantMessage,
    ChatEnd,
    ChatMessage,
    ChatPart,
    ChatRequest,
    FinishReason,
    LlmSpec,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolCallPart,
    ToolMessage,
    Usage,
    UserMessage,
)
from providers.wording import terms_of

_PIECE = re.compile(rf"{CJK.pattern}{{1,2}}|[^\s\u4e00-\u9fff]+\s*|\s+")
_PERSONA = re.compile(
    r"(?i:\byou are|\byour name is|\bcalled|\bnamed)\s+(?P<en>[A-Z][\w'-]*)"
    r"|(?:你叫|你的名字是|名叫|名字叫|你是)\s*[“\"「]?(?P<zh>[\w·]{1,8}?)(?=[”\"」，。,.！!；;\s]|$)"
)
# "You are Friendly" names nobody; "你是一个助手" neither.
_NO_NAME = re.compile(r"^(?:一[个名位款]|[Aa]n?$|[Tt]he$|[Aa]ssistant$)")
_USERS_NAME = re.compile(
    r"(?i:\bmy name is)\s+(?P<en>[A-Z][\w'-]*)"
    r"|我(?:叫|的名字[叫是])\s*[“\"「]?(?!什么|谁|啥)(?P<zh>[\w·]{1,8}?)(?=[”\"」，。,.！!；;\s]|$)"
)
_ASKS_USERS_NAME = re.compile(
    r"(?i:\bwhat(?:'s| is) my name\b|\bwho am i\b)|我(?:的名字)?[叫是](?:什么|谁|啥)"
)
_QUOTE_CHARS = 240
_ECHO_CHARS = 120

TEXTS: dict[str, dict[Language, str]] = {
    "greeting": {
        "en": "Hello! {name}How can I help you?",
        "zh": "你好！{name}有什么可以帮你的吗？",
    },
    "identity": {
        "en": "{name}I am an offline demo model. I can do sums and tell the time with my tools, "
        "and quote the knowledge I am given.",
        "zh": "{name}我是一个离线演示模型。我可以用工具做算术、报时间，也可以引用给我的知识。",
    },
    "name": {"en": "I am {0}. ", "zh": "我是{0}。"},
    "users_name": {"en": "Your name is {0}.", "zh": "你叫{0}。"},
    "thanks": {"en": "You are welcome.", "zh": "不客气。"},
    "goodbye": {"en": "Goodbye!", "zh": "再见！"},
    "result": {"en": "{0} is {1}.", "zh": "{0} 等于 {1}。"},
    "time": {"en": "It is {1}.", "zh": "现在是{1}。"},
    "done": {"en": "Done.", "zh": "好的，已完成。"},
    "tool_text": {"en": "The tool {0} says: {1}", "zh": "工具 {0} 的结果是：{1}"},
    "tool_failed": {"en": "The tool {0} failed: {1}", "zh": "工具 {0} 执行失败：{1}"},
    "quote": {"en": "According to “{0}”: {1} [{2}]", "zh": "根据“{0}”：{1}[{2}]"},
    "not_found": {
        "en": "I found nothing about that in the documents. I understood: “{0}”.",
        "zh": "资料中没有找到相关内容。我听到的是：“{0}”。",
    },
    "fallback": {
        "en": "I am an offline demo model and cannot answer that. I understood: “{0}”.",
        "zh": "我是离线演示模型，无法回答这个问题。我听到的是：“{0}”。",
    },
    "no_tool": {
        "en": "I am an offline demo model and have no tool for that. I understood: “{0}”.",
        "zh": "我是离线演示模型，没有可用的工具来处理。我听到的是：“{0}”。",
    },
}


@dataclasses.dataclass(frozen=True, slots=True)
class Intent:
    """Something that the demo model understands; `text` is said where no `tool` can answer."""

    pattern: re.Pattern[str]
    text: str = "no_tool"
    tool: str = ""


def _intent(english: str, chinese: str, *, text: str = "no_tool", tool: str = "") -> Intent:
    return Intent(re.compile(rf"(?:{english})|(?:{chinese})", re.IGNORECASE), text, tool)


# In order: the first that fits is answered.
INTENTS: tuple[Intent, ...] = (
    _intent(
        r"\bwhat(?:'s| is)? (?:the )?(?:current )?time\b(?! (?:do|does|did|are|will|can|is (?!it)))"
        r"|\btell me the time\b"
        r"|\bwhat(?:'s| is)? (?:the date|today'?s date|day is it)\b|\bwhat day is (?:it|today)\b",
        r"几点[了钟]|(?:现在|是)几点|^\W*几点\W*$|现在.*时间|报时|今天.*(?:星期几|周几|几号|日期)|几月几号",
        tool="current_time",
    ),
    _intent(
        r"\b(?:turn|switch) on the camera\b|\bturn the camera on\b",
        r"打开(?:摄像头|相机)",
        tool="turn_on_camera",
    ),
    _intent(
        r"\b(?:turn|switch) off the camera\b|\bturn the camera off\b",
        r"关闭(?:摄像头|相机)|关掉(?:摄像头|相机)",
        tool="turn_off_camera",
    ),
    _intent(
        r"\b(?:louder|volume up|(?:increase|turn up|raise) the volume)\b",
        r"(?:调高|增大|提高).*音量|大声一?点|音量.*(?:大|高)",
        tool="increase_volume",
    ),
    _intent(
        r"\b(?:quieter|volume down|(?:decrease|turn down|lower) the volume)\b",
        r"(?:调低|减小|降低).*音量|小声一?点|音量.*(?:小|低)",
        tool="decrease_volume",
    ),
    _intent(
        r"\bwho are you\b|\bwhat(?:'s| is) your name\b|\bwhat can you do\b|\bintroduce yourself\b",
        r"你是谁|你叫什么|你的名字|你能做什么|你会什么|自我介绍",
        text="identity",
    ),
    _intent(r"^\W*(?:thanks|thank you)\b", r"^\W*(?:谢谢|多谢|感谢)", text="thanks"),
    _intent(r"^\W*(?:good ?bye|bye|see you)\b", r"^\W*(?:再见|拜拜)", text="goodbye"),
    _intent(
        r"^\W*(?:hello|hi|hey|good (?:morning|afternoon|evening))\b(?:\W+\w+){0,3}\W*$",
        r"^\W*(?:你好|您好|嗨|哈[喽啰]|早上好|下午好|晚上好|喂)(?:\W*\w{1,3})?\W*$",
        text="greeting",
    ),
)
_TOOL_TEXTS = {
    "current_time": "time",
    "turn_on_camera": "done",
    "turn_off_camera": "done",
    "increase_volume": "done",
    "decrease_volume": "done",
}

Answer = str | ToolCall


class DemoModel:
    """ChatModel with fixed answers."""

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[ChatPart]]:
        """The answer word by word; the last part counts the estimated tokens."""
        async with aclosing(self._parts(request)) as parts:
            yield parts

    async def _parts(self, request: ChatRequest) -> AsyncGenerator[ChatPart, None]:
        answer = answer_to(request)
        asked = sum(estimate_tokens(_text_of(message)) for message in request.messages)
        if isinstance(answer, ToolCall):
            yield ToolCallPart(answer)
            made = estimate_tokens(answer.name + answer.arguments)
            yield ChatEnd("tool_calls", Usage(asked, made))
            return
        made = 0
        reason: FinishReason = "stop"
        for piece in _PIECE.findall(answer):
            cost = estimate_tokens(piece)
            if request.max_tokens is not None and made + cost > request.max_tokens:
                reason = "length"
                break
            made += cost
            await asyncio.sleep(0)
            yield TextPart(piece)
        yield ChatEnd(reason, Usage(asked, made))


def answer_to(request: ChatRequest) -> Answer:
    """What the demo model says, or the tool that it calls first. Pure."""
    said = _last_user_text(request)
    system = "\n".join(m.text for m in request.messages if isinstance(m, SystemMessage))
    language = _language(said, system)
    results = _results_to_phrase(request)
    if results:
        return " ".join(_phrases(request, results, said, language))
    name = _persona(system, language)
    if not said:
        return _say("greeting", language, name=name)
    expression = find_expression(said)
    if expression is not None:
        return _use_tool(request, "calculator", {"expression": expression}) or _say(
            "no_tool", language, _echo(said)
        )
    if _ASKS_USERS_NAME.search(said) and (users_name := _users_name(request)):
        return _say("users_name", language, users_name)
    intent = next((each for each in INTENTS if each.pattern.search(said)), None)
    if intent is not None and intent.tool:
        call = _use_tool(request, intent.tool, _arguments_of(intent, request, said))
        return call or _say(intent.text, language, _echo(said), name=name)
    if quote := _quote(said, find_passages(system), language):
        return quote
    if intent is not None:
        return _say(intent.text, language, _echo(said), name=name)
    return (
        _use_named_tool(request, said)
        or _search(request, said)
        or _say("fallback", language, _echo(said))
    )


def _say(key: str, language: Language, *values: str, name: str = "") -> str:
    return TEXTS[key][language].format(*values, name=name)


def _last_user_text(request: ChatRequest) -> str:
    """What was said last, in one line and no longer than anybody speaks: patterns search it."""
    texts = [message.text for message in request.messages if isinstance(message, UserMessage)]
    said = " ".join(texts[-1].split()) if texts else ""
    if len(said) <= MAX_CHARS:
        return said
    # Half a number would be another number.
    return said[:MAX_CHARS].rpartition(" ")[0] or said[:MAX_CHARS]


def _language(said: str, system: str) -> Language:
    """The user's language; the prompt's where the user wrote no letters."""
    for text in (said, system):
        if CJK.search(text):
            return "zh"
        if re.search(r"[A-Za-z]", text):
            return "en"
    return "en"


def _persona(system: str, language: Language) -> str:
    for found in _PERSONA.finditer(system):
        name = found["en"] or found["zh"]
        if not _NO_NAME.match(name):
            return TEXTS["name"][language].format(name)
    return ""


def _users_name(request: ChatRequest) -> str | None:
    """What the user said last that they are called."""
    for message in reversed(request.messages):
        if not isinstance(message, UserMessage):
            continue
        if found := _USERS_NAME.search(message.text[:MAX_CHARS]):
            return found["en"] or found["zh"]
    return None


def _use_tool(request: ChatRequest, name: str, arguments: dict[str, Any]) -> ToolCall | None:
    if request.tool_choice == "none" or all(tool.name != name for tool in request.tools):
        return None
    # Unlike every earlier call of the conversation, and the same in every run.
    return ToolCall(f"call_{len(request.messages)}", name, json.dumps(arguments))


def _use_named_tool(request: ChatRequest, said: str) -> ToolCall | None:
    """A call of the tool whose name was said; searching knowledge has words of its own."""
    named = named_call(said, [tool for tool in request.tools if not _is_search(tool.name)])
    return None if named is None else _use_tool(request, *named)


def _arguments_of(intent: Intent, request: ChatRequest, said: str) -> dict[str, Any]:
    """The time zone of a place that was named, where the tool that tells the time takes one."""
    takes_zone = any(
        tool.name == intent.tool and "timezone" in (tool.parameters.get("properties") or {})
        for tool in request.tools
    )
    zone = time_zone_in(said) if takes_zone else ""
    return {"timezone": zone} if zone else {}


def _search(request: ChatRequest, said: str) -> ToolCall | None:
    """A call of the tool that searches knowledge, where there is one and something to look for."""
    if not terms_of(said):
        return None
    names = (tool.name for tool in request.tools if _is_search(tool.name))
    return _use_tool(request, next(names, ""), {"query": said})


def _is_search(tool_name: str) -> bool:
    return "knowledge" in tool_name


def _results_to_phrase(request: ChatRequest) -> list[ToolMessage]:
    """The results at the end of the history, which this answer is about."""
    results: list[ToolMessage] = []
    for message in reversed(request.messages):
        if not isinstance(message, ToolMessage):
            break
        results.insert(0, message)
    return results


def _calls_by_id(request: ChatRequest) -> dict[str, ToolCall]:
    return {
        call.id: call
        for message in request.messages
        if isinstance(message, AssistantMessage)
        for call in message.tool_calls
    }


def _phrases(
    request: ChatRequest, results: Sequence[ToolMessage], said: str, language: Language
) -> list[str]:
    """What to say of each result; of all that was found, the one sentence that answers."""
    calls = _calls_by_id(request)
    finds = [each for each in results if _is_search(each.name) and not each.is_error]
    phrases = [
        _phrase(result, calls.get(result.call_id), language)
        for result in results
        if result not in finds
    ]
    if finds:
        passages = [passage for each in finds for passage in find_passages(each.text)]
        quote = _quote(said, passages, language)
        phrases.append(quote or _say("not_found", language, _echo(said)))
    return phrases


def _phrase(result: ToolMessage, call: ToolCall | None, language: Language) -> str:
    if result.is_error:
        return _say("tool_failed", language, result.name, _echo(unframed(result.text)))
    value = _value(unframed(result.text))
    if result.name == "calculator" and call is not None:
        expression = _json_object(call.arguments).get("expression", "")
        return _say("result", language, spoken_sum(str(expression), language), value)
    if result.name == "current_time":
        value = spoken_time(value, language)
    return _say(_TOOL_TEXTS.get(result.name, "tool_text"), language, result.name, value)


def _value(text: str) -> str:
    """What to say of a result: the telling field of a JSON object, or the text as it is."""
    fields = _json_object(text)
    for key in ("result", "value", "text", "local_time", "time", "current_time", "datetime"):
        if fields.get(key) not in (None, ""):
            return str(fields[key])
    return text.strip()[:_QUOTE_CHARS]


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _quote(said: str, passages: Sequence[Passage], language: Language) -> str | None:
    """The sentence that answers best, with its source and number; None where none fits."""
    quote = best_quote(said, passages)
    if quote is None:
        return None
    source, sentence = quote.passage.source, quote.sentence[:_QUOTE_CHARS]
    return _say("quote", language, source, sentence, str(quote.passage.index))


def _echo(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _ECHO_CHARS else flat[:_ECHO_CHARS] + "…"


def _text_of(message: ChatMessage) -> str:
    if isinstance(message, AssistantMessage):
        return message.text + "".join(call.name + call.arguments for call in message.tool_calls)
    return message.text


def from_spec(_spec: LlmSpec) -> DemoModel:
    """The one demo model; its row has nothing to set."""
    return DemoModel()
