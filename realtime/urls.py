"""The voice page and tickets (HTTP) and the voice sockets (WebSocket)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path

from realtime import pages

urlpatterns: list[URLPattern | URLResolver] = [
    path("talk/<str:assistant_id>", pages.talk, name="talk"),
]
websocket_urlpatterns: list[URLPattern] = []
