"""The ASGI entry point: `/v1` to the gateway, other HTTP to Django, WebSockets to the consumers.

Plain polls of tasks are answered before Django sees them.

Who may open a socket is decided by the consumers: an origin check here would shut out programs, and
browsers cannot read why a handshake failed.
"""

from __future__ import annotations

import os

import django
from channels.routing import ProtocolTypeRouter, URLRouter

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup(set_prefix=False)

# These need the loaded app registry.
from config.lifespan import lifespan  # noqa: E402
from conversations.api import tasks_polls  # noqa: E402
from core.asgi import limit_body, with_told_addresses  # noqa: E402
from core.handler import Handler  # noqa: E402
from gateway import router  # noqa: E402
from realtime.urls import websocket_urlpatterns  # noqa: E402

# The gateway asks nobody for addresses, and goes before what works them out.
application = router.before(
    with_told_addresses(
        tasks_polls.before(
            ProtocolTypeRouter(
                {
                    "http": limit_body(Handler()),
                    "websocket": URLRouter(websocket_urlpatterns),
                    "lifespan": lifespan,
                }
            )
        )
    )
)
