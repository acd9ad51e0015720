"""The voice page and tickets (HTTP) and the voice sockets (WebSocket)."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, path, re_path

from realtime import pages
from realtime.consumer import VoiceConsumer
from realtime.views import TicketsView

urlpatterns: list[URLPattern | URLResolver] = [
    path("talk/<str:assistant_id>", pages.talk, name="talk"),
    path("api/v1/voice/tickets", TicketsView.as_view(), name="voice-tickets"),
]
websocket_urlpatterns: list[URLPattern] = [
    re_path(r"^ws/?$", VoiceConsumer.as_asgi()),
]
