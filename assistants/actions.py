"""What can be done with assistants."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from accounts.models import User
from assistants.models import Assistant, Language
from tooling.models import Tool

_DEMO_TOOLS = ("calculator", "current_time")

_DEMOS: dict[str, dict[str, Any]] = {
    "demo": {
        "name": "Demo",
        "language": Language.EN,
        "prompt": (
            "You are a friendly assistant in a spoken conversation. Answer in one or two short"
            " sentences, without lists or markup. Use your tools for arithmetic and for the time."
        ),
        "opener": "Hello! I am the demo assistant. Ask me the time, or give me a sum.",
    },
    "demo-zh": {
        "name": "Demo 中文",
        "language": Language.ZH,
        "prompt": (
            "你是一个友好的语音助手。请用一两句简短的口语回答，不要使用列表或标记。"
            "计算和时间问题请使用工具。"
        ),
        "opener": "你好！我是演示助手。你可以问我现在几点，或者让我算一道题。",
    },
}


@transaction.atomic
def create_demo_assistant(owner: User | None = None) -> list[Assistant]:
    """The example assistants, English and Chinese; without an owner every user sees them.

    Models and voices are left to the defaults, so that a real model is used once there is one. What
    exists already is returned as it is. The built-in tools must have been written before.
    """
    demos = []
    for pk, values in _DEMOS.items():
        key = pk if owner is None else f"{pk}-{owner.pk}"
        row, is_new = Assistant.objects.get_or_create(pk=key, defaults={**values, "owner": owner})
        if is_new:
            row.tools.set(Tool.objects.filter(pk__in=_DEMO_TOOLS, owner=None))
        demos.append(row)
    return demos
