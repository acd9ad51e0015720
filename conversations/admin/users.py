"""Accounts with what their users said, have and left: the page of accounts, gone on with.

Accounts know nothing of conversations; what leads from the one to the other stands here.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.admin import UserAdmin
from accounts.models import User
from conversations.files.folder import UserFolder
from conversations.models import (
    Conversation,
    Feedback,
    Memory,
    Personalization,
    Prompt,
    Run,
    RunKind,
)
from core.errors import AppError

admin.site.unregister(User)

MODELS: tuple[tuple[str, Any, str, Any], ...] = (
    ("conversation", Conversation, "forum", gettext_lazy("Conversations")),
    ("run", Run, "task", gettext_lazy("Tasks")),
    ("memory", Memory, "bookmark", gettext_lazy("Memories")),
    ("feedback", Feedback, "thumbs_up_down", gettext_lazy("Feedback")),
    ("prompt", Prompt, "edit_note", gettext_lazy("Prompts")),
    ("personalization", Personalization, "tune", gettext_lazy("Personalizations")),
)


@admin.register(User)
class UserPage(UserAdmin):
    """Accounts, each with the ways to everything that is its user's."""

    change_form_outer_before_template = "conversations/user_strip.html"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {})}
        user = self.get_object(request, unquote(object_id))
        if user is not None:
            context |= {"belongings": belongings_of(user), "files": files_of(user)}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response


def belongings_of(user: User) -> list[dict[str, Any]]:
    """What of the user has pages of its own: how many there are, and where."""
    shown = []
    for name, model, icon, title in MODELS:
        query: dict[str, Any] = {"owner__id__exact": user.pk}
        rows = model._default_manager.filter(owner=user)
        if model is Run:
            rows = rows.filter(kind=RunKind.TASK)
            query["kind__exact"] = RunKind.TASK.value
        url = f"{reverse(f'admin:conversations_{name}_changelist')}?{urlencode(query)}"
        shown.append({"icon": icon, "title": title, "count": rows.count(), "url": url})
    return shown


def files_of(user: User) -> dict[str, Any]:
    """How much of their room the user's files take."""
    most = settings.USER_FILES_QUOTA_MB * 2**20
    try:
        usage = UserFolder.of(user.pk).usage()
    except AppError as error:
        return {"error": error.message}
    return {
        "text": _("%(size)s of %(most)s")
        % {"size": filesizeformat(usage.size), "most": filesizeformat(most)},
        "entries": usage.entries,
        "percent": min(100, round(100 * usage.size / most)) if most else 100,
    }
