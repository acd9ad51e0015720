"""Every URL of the product. The API has no trailing slash; an optional one is accepted."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from config.health import health, parts_health

urlpatterns = [
    path("health", health),
    path("api/v1/health", parts_health),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
    path("api/v1/", include("accounts.api.urls")),
    path("api/v1/", include("providers.api.urls")),
    path("api/v1/", include("tooling.api.urls")),
    path("api/v1/", include("assistants.api.urls")),
    path("api/v1/", include("conversations.api.urls")),
    path("", include("realtime.urls")),
]
