"""Every URL of the product. The API has no trailing slash; an optional one is accepted."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.permissions import AllowAny

from config.health import health, parts_health
from conversations.admin.usage import usage_page
from gateway.admin.usage import usage_page as gateway_usage_page
from gateway.api import metrics
from knowledge.api.downloads import download

# What the API looks like is no secret, and reading it counts against no limit.
OPEN: dict[str, Any] = {
    "authentication_classes": [],
    "permission_classes": [AllowAny],
    "throttle_classes": [],
}

urlpatterns = [
    # Patterns are tried one after another: first what is asked several times a second.
    path("api/v1/", include("conversations.api.tasks_urls")),
    path("", RedirectView.as_view(url="/admin/")),
    path("favicon.ico", RedirectView.as_view(url="/static/favicon.svg")),
    path("health", health),
    path("metrics", metrics.show),
    path("api/v1/health", parts_health),
    path("api/schema", SpectacularAPIView.as_view(**OPEN), name="schema"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="schema", **OPEN), name="docs"),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/usage/", admin.site.admin_view(usage_page), name="usage"),
    path(
        "admin/gateway/usage/", admin.site.admin_view(gateway_usage_page), name="gateway-usage-page"
    ),
    path("admin/", admin.site.urls),
    path("api/v1/", include("accounts.api.urls")),
    path("api/v1/", include("providers.api.urls")),
    path("api/v1/", include("knowledge.api.urls")),
    path("api/v1/", include("tooling.api.urls")),
    path("api/v1/", include("tooling.api.mcp_urls")),
    path("api/v1/", include("assistants.api.urls")),
    path("api/v1/", include("conversations.api.urls")),
    path("api/v1/", include("gateway.api.urls")),
    path("files/<path:name>", download),
    path("", include("realtime.urls")),
]
