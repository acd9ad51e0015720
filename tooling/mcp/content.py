"""The result of a tool as text that a model can read; no input or output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, assert_never

from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
)


def readable(result: CallToolResult) -> str:
    """All of a result, block by block. Of pictures, sound and files: that they are there."""
    blocks = [text for text in map(_block, result.content) if text]
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    structured = result.structured_content
    if structured is not None and not _is_said(structured, texts):
        blocks.append(json.dumps(structured, ensure_ascii=False))
    return "\n\n".join(blocks)


def _is_said(structured: Any, texts: Sequence[str]) -> bool:
    """Whether the texts hold the structured result already: servers should send it as both."""
    values = [_value(text) for text in texts]
    if structured in values:
        return True
    if not isinstance(structured, dict) or list(structured) != ["result"]:
        return False
    # SDKs wrap what is no object; a list becomes a block per item.
    wrapped = structured["result"]
    return wrapped in (*texts, *values) or wrapped in (list(texts), values)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _block(block: ContentBlock) -> str:
    match block:
        case TextContent():
            return block.text
        case ImageContent():
            return f"[image, {block.mime_type}, {_size(block.data)}]"
        case AudioContent():
            return f"[audio, {block.mime_type}, {_size(block.data)}]"
        case ResourceLink():
            about = " ".join(filter(None, [block.title or block.name, block.description]))
            return f"[link: {about} <{block.uri}>]"
        case EmbeddedResource():
            return _resource(block)
        case _:
            assert_never(block)


def _resource(block: EmbeddedResource) -> str:
    resource = block.resource
    if isinstance(resource, BlobResourceContents):
        kind = resource.mime_type or "application/octet-stream"
        return f"[file, {kind}, {_size(resource.blob)} <{resource.uri}>]"
    return f"[text of <{resource.uri}>]\n{resource.text}"


def _size(base64_text: str) -> str:
    """How much there is, from the length of its base64."""
    size = len(base64_text.rstrip("=")) * 3 // 4
    return f"{size} bytes" if size < 1024 else f"{size / 1024:.0f} kB"
