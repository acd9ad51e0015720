"""Ways from one page to another; all names are shown as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from conversations.admin.names import name_of
from conversations.models import Conversation, Message
from tooling.admin.links import link_to

TURNS_PER_PAGE = 20


def conversation_url(conversation_id: str) -> str:
    return link_to("conversations_conversation_change", conversation_id)


def message_url(message: Message) -> str:
    """The transcript, on the page that has the message."""
    page = page_of(message.turn)
    return f"{conversation_url(message.conversation_id)}?turns={page}#message-{message.pk}"


def page_of(turn: int) -> int:
    """Which page of a transcript shows the turn; a call's turns begin with 0."""
    return turn // TURNS_PER_PAGE + 1


def to_conversation(row: Conversation | None, words: str | None = None) -> SafeString:
    """A conversation by its name, leading to it; `words` as `names.name_of` takes them."""
    if row is None:
        return SafeString("-")
    return text_link(conversation_url(row.pk), name_of(row, words))


def to_user(user: Any) -> SafeString:
    """A user by name, leading to the account; a caller without one is a dash."""
    if user is None:
        return SafeString("-")
    return text_link(link_to("accounts_user_change", str(user.pk)), user)


def text_link(url: str, text: Any) -> SafeString:
    return format_html('<a class="text-link" href="{}">{}</a>', url, text)


def text_links(links: Iterable[tuple[str, Any]]) -> SafeString:
    """Several ways beside each other: addresses and names."""
    joined = format_html_join("", '<a class="text-link" href="{}">{}</a>', links)
    return format_html('<span class="more-links">{}</span>', joined)
