"""The voice page and tickets (HTTP) and the voice sockets (WebSocket)."""

from __future__ import annotations

from typing import Any, cast

from django.urls import URLPattern, URLResolver, path, re_path

from realtime import pages, widget
from realtime.consumer import no_such_socket, voice
from realtime.views import TicketsView

urlpatterns: list[URLPattern | URLResolver] = [
    path("talk/<str:assistant_id>", pages.talk, name="talk"),
    path("widget/<str:assistant_id>", widget.example, name="widget"),
    path("api/v1/voice/tickets", TicketsView.as_view(), name="voice-tickets"),
]
websocket_urlpatterns: list[URLPattern] = [
    # Django's types know no views but those of HTTP.
    re_path(r"^ws/?$", cast("Any", voice)),
    re_path(r"", cast("Any", no_such_socket)),
]
