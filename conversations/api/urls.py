from __future__ import annotations

from rest_framework.routers import SimpleRouter

from conversations.api.platform import CallViewSet

router = SimpleRouter(trailing_slash=False)
router.trailing_slash = "/?"  # none in our own links, an optional one accepted
router.register("history", CallViewSet, basename="history")

urlpatterns = router.urls
