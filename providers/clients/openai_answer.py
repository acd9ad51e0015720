"""What the chunks of a streamed chat completion say. Pure: chunks in, parts of the answer out.

pydantic-ai's own reading makes a model of each chunk and passes four generators with it, which took
most of the processor time of a chat. What it knows of vendors is kept: where they put thoughts, how
they cut calls, which white space and marks are no text. Shapes that nobody could mean raise
TypeError, AttributeError or ValueError.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, Literal

# Not public, as the marks that it takes out again are not; pydantic-ai is pinned.
from pydantic_ai._special_tokens import _StreamedTextRestorer, restore_special_tokens_in_parts
from pydantic_ai.messages import ToolCallPart as AiToolCallPart
from pydantic_ai.profiles import DEFAULT_THINKING_TAGS, ModelProfile

from core.ids import prefixed_id
from providers.types import FinishReason, TextPart, ThinkingPart, Thought, ToolCall

_THOUGHT_FIELDS = ("reasoning", "reasoning_content")
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# Characters that a model may write for the one which breaks its marks.
_JOINERS = frozenset("\u200b\u200c\u200d\u2060\ufeff")

_Open = Literal["nothing", "text", "thought"]


@dataclasses.dataclass(slots=True)
class _Call:
    """A call, as far as it has come. One without a name is none."""

    id: str = ""
    name: str | None = None
    arguments: list[str] = dataclasses.field(default_factory=list)
    # Of vendors that send them as an object.
    fields: dict[str, Any] | None = None

    def take(self, name: str | None, arguments: object) -> None:
        if name is not None:
            self.name = (self.name or "") + name
        if isinstance(arguments, dict):
            self.fields = {**(self.fields or {}), **arguments}
        elif isinstance(arguments, str):
            self.arguments.append(arguments)
        if self.arguments and self.fields is not None:
            raise ValueError("the arguments of a call are both text and an object")

    def text(self) -> str:
        """The arguments as the model wrote them."""
        return "".join(self.arguments) if self.arguments else json.dumps(self.fields or {})


class Answer:
    """One answer, from its first chunk to its last. The profile is that of its model."""

    def __init__(self, profile: ModelProfile) -> None:
        self._tags = profile.get("thinking_tags", DEFAULT_THINKING_TAGS)
        field = profile.get("openai_chat_thinking_field")
        self._thought_fields: tuple[str, ...] = _THOUGHT_FIELDS
        if isinstance(field, str) and field:
            self._thought_fields = tuple(dict.fromkeys((field, *_THOUGHT_FIELDS)))
        self._ignores_leading_space = profile.get("ignore_streamed_leading_whitespace", False)
        breaks_marks = profile.get("may_tokenize_special_tokens_in_content", False)
        self._marks = _Marks() if breaks_marks else None
        self._open: _Open = "nothing"
        # White space that may turn out to stand between two texts with a thought between.
        self._held_space, self._follows_thought = "", False
        # Thoughts by where they stood, and a number that text and calls count up.
        self._thoughts: dict[tuple[str, int], list[str]] = {}
        self._thought_number = 0
        self._calls: dict[Hashable, _Call] = {}
        self._last_key: Hashable = None
        self._is_refused = False
        self.reason: FinishReason = "stop"
        self.argument_chars = 0
        # Some vendors count again in each chunk what was made so far: the last count holds.
        self._usage: dict[str, Any] = {}

    def take(self, chunk: dict[str, Any]) -> list[TextPart | ThinkingPart]:
        """What the chunk adds for the reader, mostly one part."""
        if isinstance(usage := chunk.get("usage"), dict):
            self._usage = usage
        if not (choices := chunk.get("choices")):
            return []
        choice = choices[0]
        if not (delta := choice.get("delta")):
            self._end(choice)
            return []
        if delta.get("refusal"):
            self._is_refused, self.reason = True, "content_filter"
            return []
        self._end(choice)
        found: list[TextPart | ThinkingPart] = []
        for field in self._thought_fields:
            thought = delta.get(field)
            if thought and isinstance(thought, str):
                found += self._think(field, thought)
                break
        if content := delta.get("content"):
            text = content if isinstance(content, str) else _text_in(content)
            found += self._say(text) if text else ()
        for call in delta.get("tool_calls") or ():
            found += self._call(call)
        return found

    @property
    def counts(self) -> tuple[object, object]:
        """What the vendor counted: tokens read and written."""
        return self._usage.get("prompt_tokens"), self._usage.get("completion_tokens")

    def rest(self) -> list[TextPart]:
        """What was held back, once there is no more."""
        text = self._marks.rest() if self._marks is not None else ""
        return [TextPart(text)] if text else []

    def thoughts(self) -> Iterator[Thought]:
        """What the vendor can recognise as its own again."""
        for (field, _number), texts in self._thoughts.items():
            yield Thought("".join(texts), field)

    def calls(self, *, limit: int) -> list[ToolCall]:
        """The first calls of tools, as far as they came."""
        named = [call for call in self._calls.values() if call.name is not None][:limit]
        return [
            ToolCall(call.id or prefixed_id("call"), call.name or "", self._restored(call.text()))
            for call in named
        ]

    def _end(self, choice: dict[str, Any]) -> None:
        if (reason := choice.get("finish_reason")) and not self._is_refused:
            self.reason = _REASONS.get(reason, "stop")

    def _think(self, field: str, text: str) -> list[TextPart | ThinkingPart]:
        key = field, self._thought_number
        if texts := self._thoughts.get(key):
            texts.append(text)
            return [ThinkingPart(text)]
        self._thoughts[key] = [text]
        if self._open != "text":
            return [ThinkingPart(text)]
        self._open, self._follows_thought = "nothing", True
        return [*self.rest(), ThinkingPart(text)]

    def _say(self, text: str) -> Sequence[TextPart | ThinkingPart]:
        """The text; marks around thoughts come as chunks of their own."""
        if self._open == "thought":
            if text != self._tags[1]:
                return [ThinkingPart(text)]
            self._open = "nothing"
            return []
        if text == self._tags[0]:
            self._begin("thought")
            return self.rest()
        if self._open == "nothing":
            if self._ignores_leading_space and text.isspace():
                self._held_space += text if self._follows_thought else ""
                return []
            text, self._held_space = self._held_space + text, ""
            self._begin("text")
        if self._marks is not None and not (text := self._marks.restored(text)):
            return []
        return [TextPart(text)]

    def _begin(self, what: _Open) -> None:
        self._open, self._follows_thought = what, False
        self._thought_number += 1

    def _call(self, said: dict[str, Any]) -> list[TextPart]:
        function = said.get("function") or {}
        name, arguments = function.get("name"), function.get("arguments")
        key = said.get("index")
        if key is None:
            # Without a number, more of the latest call; a name begins another.
            key = self._last_key if name is None and self._calls else f"call {len(self._calls)}"
        self._last_key = key
        call = self._calls.setdefault(key, _Call())
        is_new = call.name is None and name is not None
        call.take(name, arguments)
        call.id = said.get("id") or call.id
        self.argument_chars += len(arguments) if isinstance(arguments, str) else 0
        if not is_new:
            return []
        was_text = self._open == "text"
        self._begin("nothing" if was_text else self._open)
        return self.rest() if was_text else []

    def _restored(self, arguments: str) -> str:
        if self._marks is None:
            return arguments
        (part,) = restore_special_tokens_in_parts([AiToolCallPart("", arguments)])
        return str(part.args)


class _Marks:
    """Takes out again of a text what pydantic-ai put into marks that steer models.

    Only what may be such a mark is held back, until it is whole or turns out to be none.
    """

    def __init__(self) -> None:
        self._restorer = _StreamedTextRestorer()

    def restored(self, text: str) -> str:
        """As much of the text as is certain."""
        if not self._restorer.held and _JOINERS.isdisjoint(text):
            self._restorer.previous = text[-1]
            return text
        return self._restorer.feed(text)

    def rest(self) -> str:
        """What is still held back, as a text ends; another begins."""
        held = self._restorer.flush()
        self._restorer = _StreamedTextRestorer()
        return held


def _text_in(parts: object) -> str:
    """The text of a content that came as a list of parts; other parts are passed over."""
    if not isinstance(parts, list):
        return ""
    return "".join(
        part if isinstance(part, str) else part["text"]
        for part in parts
        if isinstance(part, str)
        or (isinstance(part, dict) and part.get("type") == "text" and isinstance(part["text"], str))
    )
