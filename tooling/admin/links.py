"""Addresses of rows' pages. The console escapes ids in its own way: `_22` would be read as `"`."""

from __future__ import annotations

from django.contrib.admin.utils import quote
from django.urls import reverse


def link_to(page: str, row_id: str) -> str:
    """The address of a page about one row, such as `tooling_tool_change`."""
    return reverse(f"admin:{page}", args=[quote(row_id)])
