"""What vendors that think look at in a request, and what they refuse."""

from __future__ import annotations

import hashlib
from typing import Any

MIN_BUDGET_TOKENS = 1_024


def told_to_think(body: dict[str, Any]) -> bool | None:
    """Whether the request says so in any of the ways that vendors know; None where it does not."""
    template = body.get("chat_template_kwargs") or {}
    for switch in (body.get("enable_thinking"), template.get("enable_thinking")):
        if isinstance(switch, bool):
            return switch
    if isinstance(body.get("thinking"), dict):
        return bool(body["thinking"].get("type") not in ("disabled", "between_tools"))
    if "reasoning_effort" in body:
        return bool(body["reasoning_effort"] != "none")
    return None


def signature(thought: str) -> str:
    """By which the fake knows its own thoughts again."""
    return hashlib.sha256(thought.encode()).hexdigest()


def refusal(body: dict[str, Any]) -> str:
    """Why Anthropic refuses the request, or ""."""
    messages = body.get("messages", [])
    blocks = [block for message in messages for block in _blocks(message)]
    thoughts = [block for block in blocks if block.get("type") == "thinking"]
    if any(block.get("signature") != signature(block["thinking"]) for block in thoughts):
        return "Invalid `signature` in `thinking` block"
    thinking = body.get("thinking") or {}
    if thinking.get("type") != "enabled":
        return ""
    budget = thinking.get("budget_tokens", 0)
    if budget < MIN_BUDGET_TOKENS:
        return "`thinking.budget_tokens` must be at least 1024"
    if budget >= body.get("max_tokens", 0):
        return "`max_tokens` must be greater than `thinking.budget_tokens`"
    if body.get("temperature", 1) != 1:
        return "`temperature` may only be set to 1 when thinking is enabled"
    answered = [message for message in messages if message.get("role") == "assistant"]
    is_in_turn = any(block.get("type") == "tool_result" for block in _blocks(messages[-1]))
    if is_in_turn and _blocks(answered[-1])[0].get("type") != "thinking":
        return "Expected `thinking` or `redacted_thinking`, but found `tool_use`"
    return ""


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return content if isinstance(content, list) else [{"type": "text", "text": content}]
