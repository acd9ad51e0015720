"""The ASGI entry point: HTTP to Django, WebSockets to the voice consumers."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_asgi_application()

from realtime.urls import websocket_urlpatterns  # noqa: E402 - needs the loaded app registry

application = ProtocolTypeRouter(
    {"http": _django, "websocket": URLRouter(websocket_urlpatterns)}
)
