"""Assistants in the console."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from assistants.access import bases_for, mcp_servers_for, tools_for
from assistants.actions import (
    check_brain,
    check_brain_address,
    checked_origins,
    speak_opener_after_commit,
)
from assistants.models import Assistant, OpenerAudio
from core.console import ConsoleForm
from core.errors import InvalidRequest
from knowledge.fusion import FITTING_SHARE
from providers.models import LlmType
from providers.validation import checked_picture, checked_url
from tooling.admin.testing import Autotested
from tooling.catalogue import name_to_read
from tooling.models import Subject

_TYPE_OF_FIELD = {
    "llm": LlmType.TEXT,
    "embedder": LlmType.EMBEDDING,
    "reranker": LlmType.RERANK,
}
# What an assistant of an owner can be given, by the form's field.
_GIVEN_TO: dict[str, Callable[[Any], models.QuerySet[Any]]] = {
    "knowledge_bases": bases_for,
    "tools": tools_for,
    "mcp_servers": mcp_servers_for,
}


class AssistantForm(ConsoleForm):
    """Checks what the API checks."""

    instance: Assistant

    def clean_allowed_origins(self) -> list[str]:
        try:
            return checked_origins(self.cleaned_data["allowed_origins"] or [])
        except InvalidRequest as error:
            raise forms.ValidationError(error.message) from None

    def clean_api_url(self) -> str:
        try:
            return checked_url(self.cleaned_data["api_url"], param="api_url")
        except InvalidRequest as error:
            raise forms.ValidationError(error.message) from None

    def clean_logo_url(self) -> str:
        try:
            return checked_picture(self.cleaned_data["logo_url"], param="logo_url")
        except InvalidRequest as error:
            raise forms.ValidationError(error.message) from None

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        if {"config_mode", "api_url"} <= cleaned.keys():
            try:
                check_brain(cleaned["config_mode"], cleaned["api_url"])
                is_kept = "api_key" not in self.changed_data
                check_brain_address(self.instance, cleaned["api_url"], is_key_kept=is_kept)
            except InvalidRequest as error:
                self.add_error(error.param, error.message)
        for field, given_to in _GIVEN_TO.items():
            if {field, "owner"} <= cleaned.keys():
                visible = set(given_to(cleaned["owner"]).values_list("pk", flat=True))
                self._check_visible(field, cleaned[field], visible)
        return cleaned

    def _check_visible(self, field: str, chosen: Iterable[Any], visible: set[str]) -> None:
        hidden = [row.name for row in chosen if row.pk not in visible]
        if hidden:
            text = _("The assistant's owner may not see: %(names)s.")
            self.add_error(field, text % {"names": ", ".join(hidden)})


@admin.register(Assistant)
class AssistantAdmin(Autotested):
    """Who talks: prompt, models, voice, tools, and how turns are taken."""

    empty_text = _(
        "An assistant is who talks: its prompt, its models, its voice and its tools. Add the "
        "first one."
    )
    subject = Subject.ASSISTANT
    form = AssistantForm
    list_display = [
        "name",
        "language",
        "show_llm",
        "show_owner",
        "show_access",
        "call_count",
        "show_talk",
    ]
    list_filter = ["language", "is_public", "config_mode"]
    list_select_related = ["owner", "llm"]
    search_fields = ["name", "description", "prompt", "id"]
    autocomplete_fields = ["owner", "asr", "voice"]
    filter_horizontal = ["tools", "mcp_servers", "knowledge_bases"]
    readonly_fields = ["id", "call_count", "show_opener_audio", "created_at"]
    actions_detail = ["talk", "search_knowledge"]
    change_form_outer_after_template = "assistants/embedding.html"
    fieldsets = [
        (None, {"fields": ["name", "language", "description", "logo_url", "prompt", "owner"]}),
        (
            _("First turn"),
            {
                "classes": ["tab"],
                "fields": [
                    "first_turn_mode",
                    "opener",
                    "generated_opener_enabled",
                    "opener_audio_enabled",
                    "show_opener_audio",
                    "manual_opener_tool_calls",
                ],
            },
        ),
        (
            _("Models"),
            {"classes": ["tab"], "fields": ["llm", "asr", "voice", "speed", "hotwords"]},
        ),
        (
            _("Brain"),
            {
                "classes": ["tab"],
                "fields": ["config_mode", "api_url", "api_key"],
                "description": _(
                    "What thinks: a language model of this platform, or an application of Dify or "
                    "FastGPT at an address of its own, with its own key. Prompt, knowledge, tools "
                    "and memory are then those of the application, which keeps the conversation."
                ),
            },
        ),
        (
            _("Turn-taking"),
            {
                "classes": ["tab"],
                "fields": [
                    "voice_output_enabled",
                    "bot_cannot_be_interrupted",
                    "interruption_sensitivity_ms",
                    "end_of_turn_silence_ms",
                    "asr_interim_enabled",
                ],
            },
        ),
        (_("Tools"), {"classes": ["tab"], "fields": ["tools", "mcp_servers"]}),
        (
            _("Knowledge"),
            {
                "classes": ["tab"],
                "fields": [
                    "knowledge_bases",
                    "knowledge_mode",
                    "knowledge_limit",
                    "knowledge_min_score",
                    "reranker",
                ],
                "description": _(
                    "Documents that answers rest on. What was found is put before the model, and "
                    "shown with the answer as its sources."
                ),
            },
        ),
        (_("Memory"), {"classes": ["tab"], "fields": ["enable_memory"]}),
        (
            _("Access"),
            {
                "classes": ["tab"],
                "fields": ["is_public", "allowed_origins", "id", "call_count", "created_at"],
            },
        ),
    ]

    class Media:
        js = ["console/copy.js"]

    def formfield_for_foreignkey(
        self, db_field: models.ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name in _TYPE_OF_FIELD and db_field.related_model is not None:
            kwargs["queryset"] = db_field.related_model._default_manager.filter(
                type=_TYPE_OF_FIELD[db_field.name]
            )
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def formfield_for_manytomany(
        self, db_field: models.ManyToManyField[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if db_field.name == "tools":
            field.label_from_instance = name_to_read
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        speak_opener_after_commit(obj)

    @display(description=_("language model"))
    def show_llm(self, assistant: Assistant) -> Any:
        return assistant.llm or _("Default")

    @display(description=_("access"), label={"public": "warning", "private": "info"})
    def show_access(self, assistant: Assistant) -> tuple[str, Any]:
        return ("public", _("Public")) if assistant.is_public else ("private", _("Private"))

    @display(description="")
    def show_talk(self, assistant: Assistant) -> str:
        return format_html(
            '<a class="font-semibold text-primary-600" href="/talk/{}">{}</a>',
            assistant.pk,
            _("Talk"),
        )

    @display(description=_("opener's audio"))
    def show_opener_audio(self, assistant: Assistant) -> Any:
        audio = OpenerAudio.objects.filter(assistant=assistant).defer("pcm").first()
        if audio is None:
            return _("Not made yet")
        return audio.error or _("%(seconds).1f seconds") % {"seconds": audio.duration_ms / 1000}

    @action(description=_("Talk"), icon="mic", url_path="talk")
    def talk(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return redirect(f"/talk/{object_id}")

    @action(description=_("Search its knowledge"), icon="search", url_path="search")
    def search_knowledge(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """To the playground, filled in with what this assistant searches and keeps."""
        assistant = self.get_object(request, object_id)
        if assistant is None:
            raise Http404
        settings = {
            "bases": list(assistant.knowledge_bases.values_list("pk", flat=True)),
            "limit": assistant.knowledge_limit,
            "min_score": assistant.knowledge_min_score,
            "word_share": FITTING_SHARE,
            "reranker": assistant.reranker_id or "",
        }
        playground = reverse("admin:knowledge_searchrecord_changelist")
        return redirect(f"{playground}?{urlencode(settings, doseq=True)}")
