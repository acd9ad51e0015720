"""Images in a request, as each protocol wants them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from providers import registry
from providers.fakes import FakeUpstream
from providers.types import ChatRequest, ImagePart, UserMessage
from tests.upstream import llm_spec

PNG = ImagePart(b"\x89PNG\r\n\x1a\n of a cat", "image/png")
JPEG = ImagePart(b"\xff\xd8\xff of a dog", "image/jpeg")


def as_sent(vendor: str, image: ImagePart) -> dict[str, Any]:
    data = base64.b64encode(image.data).decode()
    if vendor == "anthropic":
        source = {"type": "base64", "media_type": image.media_type, "data": data}
        return {"type": "image", "source": source}
    return {"type": "image_url", "image_url": {"url": f"data:{image.media_type};base64,{data}"}}


@pytest.mark.parametrize(
    ("vendor", "kind"),
    [(name, "chat") for name in ("openai_compatible", "openai", "dashscope", "ollama", "deepseek")]
    + [("anthropic", "messages")],
)
@pytest.mark.parametrize("text", ["Which is the cat?", ""])
async def test_it_sends_images_with_the_users_words(
    upstream: FakeUpstream, vendor: str, kind: Any, text: str
) -> None:
    spec = llm_spec(upstream.root_url if kind == "messages" else upstream.base_url, vendor=vendor)
    request = ChatRequest((UserMessage(text, (PNG, JPEG)),))
    async with registry.chat_model(spec).stream(request) as parts:
        assert [part async for part in parts]
    (message,) = upstream.stats.last(kind)[-1]["body"]["messages"]
    said = [{"type": "text", "text": text}] if text else []
    assert message["content"] == [*said, as_sent(vendor, PNG), as_sent(vendor, JPEG)]
