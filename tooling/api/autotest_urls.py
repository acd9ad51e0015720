"""Routes of autotests."""

from __future__ import annotations

from typing import Any

from django.urls import URLPattern, URLResolver, path

from tooling.api.autotest import (
    AutotestRunViewSet,
    AutotestView,
    FullAutotestView,
    TestMessageView,
)
from tooling.api.scenarios import ScenarioViewSet

_LIST: dict[str, Any] = {"get": "list", "post": "create"}
_DETAIL: dict[str, Any] = {
    "get": "retrieve",
    "put": "update",
    "patch": "partial_update",
    "delete": "destroy",
}

urlpatterns: list[URLPattern | URLResolver] = [
    path("tools/autotest", FullAutotestView.as_view()),
    # Before the kinds of things that can be tested.
    path("tools/autotest/runs", AutotestRunViewSet.as_view({"get": "list"})),
    path("tools/autotest/runs/<str:pk>", AutotestRunViewSet.as_view({"get": "retrieve"})),
    path("tools/autotest/scenarios", ScenarioViewSet.as_view(_LIST)),
    path("tools/autotest/scenarios/<str:pk>", ScenarioViewSet.as_view(_DETAIL)),
    path("tools/autotest/<str:kind>/<str:subject_id>", AutotestView.as_view()),
    path("tools/test-message", TestMessageView.as_view()),
]
