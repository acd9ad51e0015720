"""What templates of the console ask for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django import template
from django.conf import settings

register = template.Library()


@register.filter
def as_in_sidebar(parts: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The way to a page, with the sidebar's group of its list in the place of the app's name.

    Unfold begins it with the app, whose name the operator has never seen. A group that is called
    as the list itself is left out.
    """
    way = list(parts)
    if len(way) < 2:
        return way
    app, listed, *rest = way
    group = _group_of(str(listed.get("link", "")))
    if group is None:
        return [app, listed, *rest]
    if str(group).casefold() == str(listed["title"]).casefold():
        return [listed, *rest]
    return [{"title": group}, listed, *rest]


def _group_of(url: str) -> Any:
    """The title of the group in which the sidebar has the address; None where it has it nowhere."""
    for group in settings.UNFOLD["SIDEBAR"]["navigation"]:
        if any(str(item["link"]) == url for item in group["items"]):
            return group.get("title")
    return None
