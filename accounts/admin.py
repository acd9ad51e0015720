"""Accounts and API keys in the console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import (
    AdminPasswordChangeForm,
    AuthenticationForm,
    UserChangeForm,
    UserCreationForm,
)
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from accounts.actions import delete_user
from accounts.limits import address_of, limit_logins
from accounts.models import ApiKey, Scope, User
from accounts.tokens import end_all_logins
from core.console import ConsoleAdmin, ConsoleForm, CountedDeletion, OperatorPermissions
from core.errors import RateLimited

admin.site.unregister(Group)


class LoginForm(AuthenticationForm):  # type: ignore[misc]  # unfold ships no types
    """The console's door. Attempts count together with those at the API's login."""

    def clean(self) -> dict[str, Any]:
        user_name = self.cleaned_data.get("username")
        if user_name and self.cleaned_data.get("password"):
            try:
                limit_logins(address_of(self.request), user_name)
            except RateLimited as error:
                raise forms.ValidationError(error.message, code="rate_limited") from None
        cleaned: dict[str, Any] = super().clean()
        return cleaned


# Not named in the settings: the site would import this module while it is being made.
admin.site.login_form = LoginForm


if TYPE_CHECKING:
    TypedUserAdmin = DjangoUserAdmin[User]
else:
    TypedUserAdmin = DjangoUserAdmin


@admin.register(User)
class UserAdmin(CountedDeletion, OperatorPermissions, TypedUserAdmin, ModelAdmin):  # type: ignore[misc]  # two ModelAdmin bases, as unfold documents
    """People who may use the product. Staff are operators."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    compressed_fields = True
    list_display = ["username", "email", "show_role", "is_active", "last_login"]
    list_filter = ["is_staff", "is_active"]
    search_fields = ["username", "email"]
    readonly_fields = ["last_login", "date_joined"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["username", "password"]}),
        (_("Person"), {"fields": ["email", "avatar", "description"]}),
        (
            _("Rights"),
            {
                "fields": ["is_active", "is_staff", "is_superuser"],
                "description": _(
                    "Staff are operators: they use this console and see everything. "
                    "Only superusers may change who is staff."
                ),
            },
        ),
        (_("Dates"), {"fields": ["last_login", "date_joined"]}),
    ]
    add_fieldsets = [(None, {"fields": ["username", "usable_password", "password1", "password2"]})]

    @display(description=_("role"), label={"operator": "info", "user": "success"})
    def show_role(self, user: User) -> tuple[str, Any]:
        return ("operator", _("Operator")) if user.is_operator else ("user", _("User"))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[str]:
        rights = [] if request.user.is_superuser else ["is_staff", "is_superuser"]
        return [*self.readonly_fields, *rights]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not obj.is_active:
            end_all_logins(obj)

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        delete_user(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            delete_user(user)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # An operator who could set a superuser's password would be one.
        if obj is not None and obj.is_superuser and not request.user.is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and (obj.is_superuser and not request.user.is_superuser):
            return False
        return super().has_delete_permission(request, obj)


class ApiKeyForm(ConsoleForm):
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        choices=Scope.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_(
            "What the key may be used for. With “Manage resources” it may change all that its "
            "owner may, with “Model gateway” it may ask models for anything: tick these only where "
            "they are needed."
        ),
    )
    allowed_models = forms.CharField(
        label=_("Allowed models"),
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Names of models on the gateway, comma-separated. Empty: all."),
    )

    def clean_allowed_models(self) -> list[str]:
        names = self.cleaned_data["allowed_models"]
        return [name.strip() for name in names.split(",") if name.strip()]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            names = self.initial.get("allowed_models") or []
            self.initial["allowed_models"] = ", ".join(names)


def _may_touch(request: HttpRequest, key: ApiKey) -> bool:
    return request.user.is_superuser or not key.owner.is_superuser


@admin.register(ApiKey)
class ApiKeyAdmin(ConsoleAdmin):
    """Keys of the API. The key itself is shown once, right after it was made."""

    empty_text = _(
        "Programs sign in with API keys. Add one for each of them; it is shown once, when it is "
        "made."
    )
    form = ApiKeyForm
    list_display = [
        "show_name",
        "owner",
        "show_state",
        "scope_list",
        "last_used_at",
        "expires_at",
    ]
    list_filter = ["is_enabled"]
    list_select_related = ["owner"]
    search_fields = ["name", "prefix", "owner__username"]
    autocomplete_fields = ["owner"]
    readonly_fields = ["show_prefix", "last_used_at", "created_at"]
    actions = ["disable"]
    fieldsets = [
        (None, {"fields": ["name", "owner", "scopes", "is_enabled", "expires_at"]}),
        (
            _("Limits"),
            {
                "fields": [
                    "requests_per_minute",
                    "tokens_per_minute",
                    "allowed_models",
                    "monthly_token_budget",
                    "monthly_cost_budget",
                ]
            },
        ),
        (_("Use"), {"fields": ["show_prefix", "last_used_at", "created_at"]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        # A key that moved to somebody else would act with rights that nobody gave it.
        return [*self.readonly_fields, *(["owner"] if obj else [])]

    def formfield_for_foreignkey(
        self, db_field: models.ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> Any:
        if db_field.name == "owner" and not request.user.is_superuser:
            kwargs["queryset"] = User.objects.filter(is_superuser=False)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may_touch = obj is None or _may_touch(request, obj)
        return may_touch and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may_touch = obj is None or _may_touch(request, obj)
        return may_touch and super().has_delete_permission(request, obj)

    class Media:
        js = ["console/copy.js"]

    @display(description=_("name"), ordering="name")
    def show_name(self, key: ApiKey) -> str:
        note = format_html('<span class="row-note">{}</span>', self.show_prefix(key))
        return format_html('<div class="whitespace-nowrap">{}{}</div>', key.name, note)

    @display(description=_("key"))
    def show_prefix(self, key: ApiKey) -> str:
        return f"{key.prefix}…" if key.prefix else "-"

    @display(
        description=_("state"),
        label={"usable": "success", "expired": "warning", "disabled": "danger"},
    )
    def show_state(self, key: ApiKey) -> tuple[str, Any]:
        if not key.is_enabled:
            return "disabled", _("Disabled")
        return ("expired", _("Expired")) if key.is_expired else ("usable", _("Usable"))

    @display(description=_("scopes"))
    def scope_list(self, key: ApiKey) -> str:
        missing = [scope for scope in Scope if scope not in key.scopes]
        if not missing:
            return str(_("All"))
        if len(missing) == 1:
            return str(_("All but “%(scope)s”") % {"scope": missing[0].label})
        return ", ".join(str(scope.label) for scope in Scope if scope in key.scopes)

    @admin.action(description=_("Disable the selected keys"))
    def disable(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        if not request.user.is_superuser:
            queryset = queryset.filter(owner__is_superuser=False)
        count = queryset.update(is_enabled=False)
        self.message_user(request, _("%(count)d keys disabled.") % {"count": count})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        # A key that somebody loses changes nothing and buys nothing, unless it was made for that.
        scopes = [Scope.CHAT, Scope.TASKS, Scope.VOICE]
        usual = {"owner": request.user.pk, "scopes": scopes}
        return {**usual, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        key = ApiKey.generate()
        obj.set_key(key)
        super().save_model(request, obj, form, change)
        messages.warning(
            request,
            format_html(
                '{} <code class="new-key" id="new-key">{}</code> <button type="button" '
                'class="text-link" data-copy="new-key" data-copied="{}">{}</button>',
                _("Copy the key now, it is not shown again:"),
                key,
                _("Copied"),
                _("Copy"),
            ),
        )
