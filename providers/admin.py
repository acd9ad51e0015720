"""The model catalogue in the console."""

from __future__ import annotations

from copy import copy
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from core.console import ConsoleAdmin, ConsoleForm
from core.errors import Conflict, InvalidRequest
from core.http import parse_rule
from providers.actions import Saved, check_changes, check_model, name_kept_free
from providers.models import (
    Asr,
    Embedder,
    Llm,
    LlmType,
    ModelRow,
    OutboundRule,
    Provider,
    Reranker,
    Voice,
)
from providers.profiles import PROFILES, VENDOR_CHOICES, Kind, VendorProfile
from providers.validation import checked_url, require_endpoint, vendor_named

MAX_TESTED = 10
# Of the fields of a form, those that say where something goes, and how a model is chosen.
_CHECKED = frozenset({"vendor", "base_url", "api_key", "provider", "owner", "name", "is_enabled"})
CONNECTION = (
    _("Connection"),
    {
        "fields": ["provider", "vendor", "base_url", "api_key"],
        "description": _("What is empty here comes from the provider, then from the vendor."),
    },
)
LAST_TEST = (
    _("Last test"),
    {"fields": ["check_state", "last_checked_at", "last_check_message"]},
)


class AddressForm(ConsoleForm):
    """An address that can be one, and to which may be sent what is sent there."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        try:
            cleaned["base_url"] = checked_url(cleaned.get("base_url") or "", param="base_url")
        except InvalidRequest as error:
            self.add_error(error.param, error.message)
        return cleaned

    def check_changes(self, cleaned: dict[str, Any], **more: Any) -> None:
        """Checks what the API checks of a change: where requests and a kept key would go."""
        if self.errors:
            return
        row: Any = copy(self.instance)
        before = Saved.of(row)
        for field, value in (cleaned | more).items():
            if field in _CHECKED or field in more:
                setattr(row, field, value)
        try:
            check_changes(row, before, is_key_sent="api_key" in self.changed_data)
            with name_kept_free(row, before):
                pass
        except (InvalidRequest, Conflict) as error:
            self.add_error(error.param, error.message)


class ProviderForm(AddressForm):
    """What the vendor needs is checked on the models."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        self.check_changes(cleaned)
        return cleaned


class ModelRowForm(AddressForm):
    """A model's vendor comes from its provider, or is chosen here with what it needs."""

    kind: Kind

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        vendor = self.fields["vendor"]
        vendor.required = False
        capable = [(slug, label) for slug, label in VENDOR_CHOICES if self._is_offered(slug)]
        assert isinstance(vendor, forms.ChoiceField)
        vendor.choices = [("", _("As the provider")), *capable]
        if self.instance._state.adding:
            real = next(slug for slug, _label in capable if slug != "builtin")
            vendor.initial = self.initial["vendor"] = real

    def _is_offered(self, slug: str) -> bool:
        """Whether the vendor has models of this kind. A row keeps what it has."""
        own = getattr(self.instance, "vendor", "")
        return self.kind in PROFILES[slug].kinds or slug == own

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        provider = cleaned.get("provider")
        name = provider.vendor if provider else cleaned.get("vendor")
        if not name:
            self.add_error("vendor", _("Choose a provider or a vendor."))
            return cleaned
        try:
            self._check(vendor_named(name, self.kind), cleaned)
        except InvalidRequest as error:
            self.add_error(error.param, error.message)
        more = {"type": LlmType(self.kind)} if isinstance(self.instance, Llm) else {}
        self.check_changes(cleaned, vendor=name, **more)
        return {**cleaned, "vendor": name}

    def _check(self, profile: VendorProfile, cleaned: dict[str, Any]) -> None:
        if cleaned.get("provider") is None:
            require_endpoint(
                profile, base_url=cleaned.get("base_url", ""), api_key=cleaned.get("api_key", "")
            )


class LlmForm(ModelRowForm):
    kind = "text"


class EmbedderForm(ModelRowForm):
    kind = "embedding"


class RerankerForm(ModelRowForm):
    kind = "rerank"


class AsrForm(ModelRowForm):
    kind = "asr"


class VoiceForm(ModelRowForm):
    kind = "voice"


@admin.register(Provider)
class ProviderAdmin(ConsoleAdmin):
    """Accounts at vendors, shared by several models."""

    empty_text = _(
        "An account at a vendor, with its key, that several models share. Add one, then models "
        "that name it."
    )
    form = ProviderForm
    list_display = ["name", "vendor", "base_url", "owner", "is_enabled"]
    list_filter = ["vendor", "is_enabled"]
    list_select_related = ["owner"]
    search_fields = ["name", "base_url"]
    autocomplete_fields = ["owner"]
    fieldsets = [
        (None, {"fields": ["name", "vendor", "base_url", "api_key", "is_enabled", "owner"]}),
    ]


class ModelRowAdmin(ConsoleAdmin):
    """What the pages of all models share: the state of the last test, and the test itself."""

    list_select_related = ["owner", "provider"]
    list_filter = ["vendor", "is_enabled", "last_check_ok"]
    search_fields = ["name", "base_url"]
    autocomplete_fields = ["owner", "provider"]
    readonly_fields = ["check_state", "last_checked_at", "last_check_message"]
    actions = ["test_selected"]
    actions_submit_line = ["save_and_test"]

    @display(
        description=_("last test"),
        label={"passed": "success", "failed": "danger", "never": "info"},
    )
    def show_check(self, row: ModelRow) -> tuple[str, Any]:
        if row.last_check_ok is None:
            return "never", _("Not tested")
        return ("passed", _("Passed")) if row.last_check_ok else ("failed", _("Failed"))

    @display(description=_("last test"))
    def check_state(self, row: ModelRow) -> Any:
        """For forms, where unfold would show the pair that colours a list's cell."""
        return self.show_check(row)[1]

    @action(description=_("Save and test"), icon="network_check")
    def save_and_test(self, request: HttpRequest, obj: ModelRow) -> None:
        self._test(request, obj)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not change:
            # A new model may at once serve every assistant that has chosen none.
            self._test(request, obj)

    def response_change(self, request: HttpRequest, obj: ModelRow) -> HttpResponse:
        if any(name.endswith("_save_and_test") for name in request.POST):
            return HttpResponseRedirect(request.path)
        response: HttpResponse = super().response_change(request, obj)
        return response

    @admin.action(description=_("Test the selected models"))
    def test_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        # One after another, while the operator waits.
        for row in queryset[:MAX_TESTED]:
            self._test(request, row)

    def _test(self, request: HttpRequest, row: ModelRow) -> None:
        result = check_model(row)
        level = messages.SUCCESS if result.is_ok else messages.ERROR
        text = _("%(model)s: %(result)s (%(ms)d ms)")
        values = {"model": row, "result": result.message, "ms": result.latency_ms}
        self.message_user(request, text % values, level)


class TypedLlmAdmin(ModelRowAdmin):
    """Language models of one type; the form sets the type."""

    type: LlmType

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).filter(type=self.type)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        obj.type = self.type
        super().save_model(request, obj, form, change)


@admin.register(Llm)
class LlmAdmin(TypedLlmAdmin):
    empty_text = _(
        "Assistants think with a language model. Add one of a vendor, or of a server of your own."
    )
    form = LlmForm
    type = LlmType.TEXT
    list_display = [
        "name",
        "vendor",
        "model_name",
        "show_owner",
        "show_check",
        "is_enabled",
    ]
    fieldsets = [
        (None, {"fields": ["name", "model_name", "is_enabled", "owner"]}),
        (None, {"fields": ["description", "aliases"]}),
        CONNECTION,
        (
            _("Answers"),
            {
                "fields": [
                    "temperature",
                    "context_length",
                    "max_output_tokens",
                    "supports_thinking",
                    "accepts_images",
                ]
            },
        ),
        LAST_TEST,
    ]


@admin.register(Embedder)
class EmbedderAdmin(TypedLlmAdmin):
    empty_text = _(
        "Embedding models find what documents mean. Add one, and choose it on the page of a "
        "knowledge base."
    )
    form = EmbedderForm
    type = LlmType.EMBEDDING
    list_display = LlmAdmin.list_display
    fieldsets = [
        (None, {"fields": ["name", "model_name", "dimensions", "is_enabled", "owner"]}),
        CONNECTION,
        LAST_TEST,
    ]


@admin.register(Reranker)
class RerankerAdmin(TypedLlmAdmin):
    empty_text = _(
        "Rerank models put what a search found into a better order. Add one, and choose it on an "
        "assistant's page."
    )
    form = RerankerForm
    type = LlmType.RERANK
    list_display = LlmAdmin.list_display
    fieldsets = [
        (None, {"fields": ["name", "model_name", "is_enabled", "owner"]}),
        CONNECTION,
        LAST_TEST,
    ]


@admin.register(Asr)
class AsrAdmin(ModelRowAdmin):
    empty_text = _(
        "Recognisers write down what is said in calls. Add one of a vendor, or of a server of "
        "your own."
    )
    form = AsrForm
    list_display = [
        "name",
        "vendor",
        "language",
        "show_owner",
        "show_check",
        "is_enabled",
    ]
    list_filter = ["language", *ModelRowAdmin.list_filter]
    fieldsets = [
        (None, {"fields": ["name", "model_name", "language", "is_enabled", "owner"]}),
        CONNECTION,
        (
            _("Recognition"),
            {"fields": ["hotwords", "enable_punctuation", "enable_normalization"]},
        ),
        LAST_TEST,
    ]


@admin.register(Voice)
class VoiceAdmin(ModelRowAdmin):
    empty_text = _(
        "Assistants speak with a voice. Add one of a vendor, or of a server of your own."
    )
    form = VoiceForm
    list_display = [
        "name",
        "vendor",
        "language",
        "gender",
        "show_owner",
        "show_check",
        "is_enabled",
    ]
    list_filter = ["language", "gender", *ModelRowAdmin.list_filter]
    fieldsets = [
        (None, {"fields": ["name", "model", "voice_key", "language", "gender", "description"]}),
        (None, {"fields": ["is_enabled", "owner"]}),
        CONNECTION,
        (_("Sound"), {"fields": ["speed", "gain", "pitch"]}),
        LAST_TEST,
    ]


class OutboundRuleForm(ConsoleForm):
    """Takes an address with its port in one box, as addresses are written and copied."""

    network = forms.CharField(
        label=_("network"),
        max_length=80,
        widget=UnfoldAdminTextInputWidget,
        help_text=_(
            "An address or CIDR, with a port or without: 127.0.0.1:11434, 192.168.1.20, "
            "10.0.0.0/8:8080, [fd00::5]:8000."
        ),
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        try:
            rule = parse_rule(cleaned.get("network", ""))
        except ValueError:
            # The model's own check says what is expected.
            return cleaned
        if rule.port is None:
            return cleaned
        if cleaned.get("port") not in (None, rule.port):
            self.add_error("port", _("The address names another port."))
        is_single = rule.network.num_addresses == 1
        network = rule.network.network_address if is_single else rule.network
        return {**cleaned, "network": str(network), "port": rule.port}


@admin.register(OutboundRule)
class OutboundRuleAdmin(ConsoleAdmin):
    """Private addresses that models and tools may be reached at."""

    empty_text = _(
        "Models and tools reach no private address unless it stands here. Add the narrowest "
        "entry that will do."
    )
    form = OutboundRuleForm
    list_display = ["network", "port", "note", "created_at"]
    search_fields = ["network", "note"]
