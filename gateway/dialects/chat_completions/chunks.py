"""Answers and chunks of answers, as OpenAI and the many who imitate it send them.

Typed as far as vendors agree; where they differ, the widest of what was seen.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from gateway.dialects.chat_completions import errors
from gateway.neutral import Failed, Usage, token_count

DONE = b"[DONE]"


class FunctionDelta(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class CallDelta(Struct):
    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None


class Delta(Struct):
    """What a chunk adds, or a whole message. Thoughts have two names among vendors."""

    content: str | list[Any] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: Any = None
    tool_calls: list[CallDelta] | None = None
    function_call: FunctionDelta | None = None


class PromptDetails(Struct):
    cached_tokens: int | None = None


class CompletionDetails(Struct):
    reasoning_tokens: int | None = None


class Counts(Struct):
    """Usage. Cached tokens are told in three ways: OpenAI's, DeepSeek's and Moonshot's."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None

    def usage(self) -> Usage:
        details, made = self.prompt_tokens_details, self.completion_tokens_details
        cached = (details and details.cached_tokens) or self.prompt_cache_hit_tokens
        read = token_count(self.prompt_tokens)
        return Usage(
            input_tokens=read,
            output_tokens=token_count(self.completion_tokens),
            # They are within what was read.
            cache_read_tokens=min(read, token_count(cached or self.cached_tokens)),
            reasoning_tokens=token_count(made.reasoning_tokens if made else None),
        )


class Choice(Struct):
    """`stop_reason` is vLLM's: the sequence that stopped the model. `usage` is Moonshot's place."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    usage: Counts | None = None


class Chunk(Struct):
    """A chunk of a stream, or a whole answer; or an error, in one of the ways they are told."""

    choices: list[Choice] | None = None
    usage: Counts | None = None
    error: Any = None
    object: Any = None
    code: Any = None
    message: Any = None
    type: Any = None
    model: Any = UNSET

    @property
    def has_model(self) -> bool:
        return self.model is not UNSET

    @property
    def choice(self) -> Choice | None:
        """The one answer that was asked for."""
        for choice in self.choices or ():
            if not choice.index:
                return choice
        return None

    def counted(self) -> Usage | None:
        """The usage that this chunk tells, so far."""
        counts = self.usage
        if counts is None and self.choices and (choice := self.choice):
            counts = choice.usage
        if counts is None or counts.prompt_tokens is counts.completion_tokens is None:
            return None
        return counts.usage()

    def failure(self) -> Failed | None:
        """The failure that this chunk tells of, instead of saying something."""
        if self.error:
            return errors.of_event(self.error)
        if self.object == "error" or (self.choices is None and self.code and self.message):
            said = {"code": self.code, "type": self.type, "message": self.message}
            return errors.of_event(said)
        return None


class Unreadable(Exception):
    """What came is no chunk of any kind."""


# Not strict: some write numbers as strings.
_DECODER = msgspec.json.Decoder(Chunk, strict=False)


def read_chunk(data: bytes) -> Chunk:
    """The chunk. Raises Unreadable."""
    try:
        return _DECODER.decode(data)
    except msgspec.ValidationError:
        raise Unreadable from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _read_leniently(data)


def _read_leniently(data: bytes) -> Chunk:
    """A chunk that is almost JSON: NaN among the logprobs, or halves of characters in a text."""
    try:
        value = json.loads(data, parse_constant=lambda _name: None)
        text = json.dumps(value, ensure_ascii=False).encode(errors="replace")
        return _DECODER.decode(text)
    except (ValueError, RecursionError, msgspec.DecodeError):
        raise Unreadable from None
