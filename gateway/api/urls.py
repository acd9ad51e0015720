from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from rest_framework.routers import SimpleRouter

from gateway.api import platform

router = SimpleRouter(trailing_slash=False)
router.register("gateway/keys", platform.GatewayKeyViewSet, basename="gateway-key")
router.register("gateway/models", platform.PublicModelViewSet, basename="gateway-model")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include(router.urls)),
    path("gateway/usage", platform.UsageView.as_view(), name="gateway-usage"),
    path(
        "gateway/requests",
        platform.RecordViewSet.as_view({"get": "list"}),
        name="gateway-requests",
    ),
    path(
        "gateway/requests/<str:pk>",
        platform.RecordViewSet.as_view({"get": "retrieve"}),
        name="gateway-request",
    ),
]
