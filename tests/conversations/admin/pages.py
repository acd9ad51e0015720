"""What the tests of the console read of its pages."""

from __future__ import annotations

import html
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

# What nobody's text may become on any page.
ATTACK = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def text_of(response: Any) -> str:
    """The page with its characters as they are read."""
    assert response.status_code == 200, response
    return html.unescape(response.content.decode())


def raw(response: Any) -> str:
    assert response.status_code == 200, response
    page: str = response.content.decode()
    return page


def queries_of(client: Client, url: str) -> int:
    """How often the page asks the database."""
    client.get(url)
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return len(captured)


def assert_harmless(response: Any) -> None:
    """The attack is shown, and is text."""
    page = raw(response)
    assert "<script>alert('x')" not in page
    assert "<img src=x" not in page
    assert ATTACK in html.unescape(page)
