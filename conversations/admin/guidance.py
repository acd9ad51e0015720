"""Prompts and personalizations of users in the console."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from conversations.background.guidance import (
    MAX_CONSIDERATION_CHARS,
    MAX_CONSIDERATIONS,
    MAX_INTERVAL,
    MAX_MODEL_CHARS,
    MAX_WORD_CHARS,
    MIN_INTERVAL,
    RUN_MODES,
    TONES,
    TOOL_CATEGORIES,
    sanitised,
)
from conversations.models import Personalization, Prompt, RunMode
from conversations.types import PersonalizationRow
from core.console import ConsoleAdmin, ConsoleForm
from tooling.admin.links import link_to

MAX_NOTE = 160
CATEGORY_NAMES = {
    "query": gettext_lazy("Looks things up"),
    "system": gettext_lazy("Acts on the user's device"),
    "network": gettext_lazy("Reaches the network"),
    "code": gettext_lazy("Runs code"),
    "knowledge": gettext_lazy("Searches the knowledge"),
    "mcp": gettext_lazy("Comes from an MCP server"),
    "files": gettext_lazy("Reads and writes the user's files"),
    "file_edit": gettext_lazy("Changes the user's files"),
    "todo": gettext_lazy("Keeps the to-do list"),
}


class GuidanceAdmin(ConsoleAdmin):
    """What users keep under names of their own."""

    list_display: ClassVar = ["show_name", "owner", "show_content", "updated_at"]
    list_display_links = None
    list_filter: ClassVar = [("owner", AutocompleteSelectFilter)]
    list_select_related: ClassVar = ["owner"]
    search_fields: ClassVar = ["name", "owner__username", "content"]
    search_help_text = gettext_lazy("Name, user or a part of the content")
    autocomplete_fields: ClassVar = ["owner"]
    ordering: ClassVar = ["-updated_at"]
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        # It would follow another user's tasks from then on.
        return ["owner", "created_at", "updated_at"] if obj else []

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"owner": request.user.pk, **super().get_changeform_initial_data(request)}

    @display(description=gettext_lazy("name"), ordering="name")
    def show_name(self, row: Any) -> str:
        page = f"conversations_{row._meta.model_name}_change"
        url = link_to(page, str(row.pk))
        return format_html('<a class="document-name" href="{}">{}</a>', url, row.name)


@admin.register(Prompt)
class PromptAdmin(GuidanceAdmin):
    """Instructions that users put before their tasks."""

    empty_text = gettext_lazy(
        "Instructions that users keep under a name, for their tasks. They come over the API; add "
        "one for somebody here."
    )
    fieldsets: ClassVar = [
        (
            None,
            {
                "fields": [("name", "owner"), "content"],
                "description": gettext_lazy(
                    "Goes behind the assistant's own prompt, word for word, in the tasks that "
                    "name it."
                ),
            },
        ),
    ]

    @display(description=gettext_lazy("content"))
    def show_content(self, row: Prompt) -> str:
        text = Truncator(row.content).chars(MAX_NOTE)
        return format_html('<span class="cell-text">{}</span>', text)


class PersonalizationForm(ConsoleForm):
    """The content as fields, checked as the API keeps it: nothing is shortened in silence."""

    instance: Any
    enabled = forms.BooleanField(
        label=gettext_lazy("In force"),
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
    )
    self_identify = forms.CharField(
        label=gettext_lazy("What the agent calls itself"),
        required=False,
        max_length=MAX_WORD_CHARS,
        widget=UnfoldAdminTextInputWidget,
    )
    user_name = forms.CharField(
        label=gettext_lazy("What the user is called"),
        required=False,
        max_length=MAX_WORD_CHARS,
        widget=UnfoldAdminTextInputWidget,
    )
    profession = forms.CharField(
        label=gettext_lazy("The user's profession"),
        required=False,
        max_length=MAX_WORD_CHARS,
        widget=UnfoldAdminTextInputWidget,
    )
    tone = forms.CharField(
        label=gettext_lazy("Tone"),
        required=False,
        max_length=MAX_WORD_CHARS,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Clients offer: %(tones)s; any other short text is one too."),
    )
    considerations = forms.CharField(
        label=gettext_lazy("Always mind"),
        required=False,
        widget=UnfoldAdminTextareaWidget({"rows": 5}),
        help_text=gettext_lazy("One on each line."),
    )
    default_run_mode = forms.ChoiceField(
        label=gettext_lazy("Mode"),
        required=False,
        choices=[("", gettext_lazy("As the task says")), *RunMode.choices],
        widget=UnfoldAdminSelectWidget,
    )
    thinking_interval = forms.IntegerField(
        label=gettext_lazy("Thinks again after so many calls of the model"),
        required=False,
        min_value=MIN_INTERVAL,
        max_value=MAX_INTERVAL,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=gettext_lazy("In the mode “Thinking”. Empty: it thinks once."),
    )
    default_model = forms.CharField(
        label=gettext_lazy("Model"),
        required=False,
        max_length=MAX_MODEL_CHARS,
        widget=UnfoldAdminTextInputWidget,
        help_text=gettext_lazy("Id, name or alias. Empty: the assistant's."),
    )
    disabled_tool_categories = forms.MultipleChoiceField(
        label=gettext_lazy("Tools it must not use"),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    auto_generate_title = forms.BooleanField(
        label=gettext_lazy("Names conversations by itself"),
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
    )
    tool_intent_enabled = forms.BooleanField(
        label=gettext_lazy("Says what it is going to do with a tool"),
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
    )

    class Meta:
        model = Personalization
        fields = ("name", "owner")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row: Any = sanitised(self.instance.content or {})
        stored = row["disabled_tool_categories"]
        # What a newer or older client named is kept, and can be taken away.
        names = [*TOOL_CATEGORIES, *(name for name in stored if name not in TOOL_CATEGORIES)]
        field: Any = self.fields["disabled_tool_categories"]
        field.choices = [(name, CATEGORY_NAMES.get(name, name)) for name in names]
        tone = self.fields["tone"]
        tone.help_text = tone.help_text % {"tones": "、".join(TONES)}
        if not self.instance._state.adding:
            self.initial.update(row, considerations="\n".join(row["considerations"]))

    def clean_considerations(self) -> list[str]:
        text = self.cleaned_data["considerations"]
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if len(lines) > MAX_CONSIDERATIONS:
            message = _("At most %(n)d lines.") % {"n": MAX_CONSIDERATIONS}
            raise forms.ValidationError(message)
        if any(len(line) > MAX_CONSIDERATION_CHARS for line in lines):
            message = _("At most %(n)d characters on each line.") % {"n": MAX_CONSIDERATION_CHARS}
            raise forms.ValidationError(message)
        return lines

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        self.instance.content = sanitised(cleaned)
        return cleaned


def told(row: PersonalizationRow) -> list[str]:
    """What a personalization says, a line for each thing, named as on the form."""
    fields: Any = PersonalizationForm.base_fields
    return [
        f"{fields[name].label}: {_word(value)}"
        for name, value in row.items()
        if name in fields and value not in ("", None, [])
    ]


def _word(value: object) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@admin.register(Personalization)
class PersonalizationAdmin(GuidanceAdmin):
    """How users want the agent of their tasks to speak and to work."""

    empty_text = gettext_lazy(
        "How users want the agent of their tasks to speak and work. They come over the API; add "
        "one for somebody here."
    )
    form = PersonalizationForm
    fieldsets: ClassVar = [
        (None, {"fields": [("name", "owner"), "enabled"]}),
        (
            gettext_lazy("How it speaks"),
            {
                "fields": [
                    ("self_identify", "user_name"),
                    "profession",
                    "tone",
                    "considerations",
                ]
            },
        ),
        (
            gettext_lazy("How it works"),
            {
                "fields": [
                    "default_run_mode",
                    "thinking_interval",
                    "default_model",
                    "disabled_tool_categories",
                    ("auto_generate_title", "tool_intent_enabled"),
                ]
            },
        ),
    ]

    @display(description=gettext_lazy("content"))
    def show_content(self, row: Personalization) -> str:
        content: Any = sanitised(row.content or {})
        mode = content["default_run_mode"]
        words = [
            content["tone"],
            content["user_name"],
            str(RunMode(mode).label) if mode in RUN_MODES else "",
            *content["considerations"],
        ]
        told = " · ".join(word for word in words if word) or "-"
        if not content["enabled"]:
            told = " · ".join((_("Off"), told))
        return format_html('<span class="cell-text">{}</span>', Truncator(told).chars(MAX_NOTE))
