"""The tools with which an assistant addresses its user through the device. Pure."""

from __future__ import annotations

from conversations.events import ToolCalled

# Which of the arguments is said; of several, the first that has words.
_SAID: dict[str, tuple[str, ...]] = {
    "voice_msg_prompt": ("msg",),
    "voice_choice_prompt": ("voice_text", "question"),
}


def spoken_text(called: ToolCalled) -> str:
    """What is to be heard of a prompt; empty for tools that say nothing."""
    if called.executor != "client":
        return ""
    texts = [called.arguments.get(name) for name in _SAID.get(called.name, ())]
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")
