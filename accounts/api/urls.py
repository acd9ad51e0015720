from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path
from rest_framework.routers import SimpleRouter

from accounts.api import agentchat, platform

router = SimpleRouter(trailing_slash=False)
router.register("api-keys", platform.ApiKeyViewSet, basename="api-key")

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include(router.urls)),
    path("user/register", agentchat.RegisterView.as_view(), name="user-register"),
    path("user/login", agentchat.LoginView.as_view(), name="user-login"),
    path("user/refresh", agentchat.RefreshView.as_view(), name="user-refresh"),
    path("user/logout", agentchat.LogoutView.as_view(), name="user-logout"),
    path("user/info", agentchat.InfoView.as_view(), name="user-info"),
    path("user/update", agentchat.UpdateView.as_view(), name="user-update"),
    path("user/icons", agentchat.IconsView.as_view(), name="user-icons"),
    path("user/list", agentchat.ListView.as_view(), name="user-list"),
    path("user/status", agentchat.StatusView.as_view(), name="user-status"),
]
