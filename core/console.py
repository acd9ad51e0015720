"""What every page of the operators' console shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib import admin
from django.db import models, transaction
from django.forms.widgets import CheckboxInput
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from core.cascade import Cascade
from core.crypto import EncryptedTextField, mask
from core.errors import AppError

if TYPE_CHECKING:
    TypedModelForm = forms.ModelForm[models.Model]
else:
    TypedModelForm = forms.ModelForm

F = TypeVar("F", bound=forms.BaseForm)

_KEEP = object()


class SecretWidget(UnfoldAdminTextInputWidget):  # type: ignore[misc]  # unfold ships no types
    """Shows that a secret is stored, never the secret; an empty box keeps it."""

    template_name = "console/secret_widget.html"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, None, attrs)
        context["widget"]["mask"] = mask(value) if isinstance(value, str) else ""
        context["widget"]["remove_name"] = f"{name}-remove"
        context["widget"]["attrs"]["autocomplete"] = "off"
        return context

    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        if CheckboxInput().value_from_datadict(data, files, f"{name}-remove"):
            return ""
        return data.get(name) or _KEEP

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return False


class SecretFormField(forms.Field):
    """A stored secret on a form: a new value, nothing (keep), or the tick that removes it."""

    widget = SecretWidget

    def has_changed(self, initial: Any, data: Any) -> bool:
        return data is not _KEEP and data != (initial or "")


class ConsoleForm(TypedModelForm):
    """A form that keeps the secrets it was not asked to change."""

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean() or self.cleaned_data
        for name, value in cleaned.items():
            if value is _KEEP:
                cleaned[name] = getattr(self.instance, name)
        return cleaned


def rehearse(form: F, store: Callable[[F], object]) -> None:
    """Tells at the fields of a form what saving it would refuse; nothing is kept of the trial."""
    if form.errors:
        return
    try:
        with transaction.atomic():
            store(form)
            transaction.set_rollback(True)
    except AppError as error:
        param = getattr(error, "param", None)
        form.add_error(param if param in form.fields else None, error.message)


class OperatorPermissions:
    """Every operator (staff) sees and changes everything; there are no finer grades."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_active and request.user.is_staff

    def has_view_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_module_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return self.has_module_permission(request)


class Named:
    """Rows under the names that people know them by."""

    def name_of(self, row: Any) -> str:
        """The name, also of a row that has none of its own."""
        return str(row)


class ConsoleAdmin(Named, OperatorPermissions, ModelAdmin):  # type: ignore[misc]  # unfold ships no types
    """The base of every model page.

    `empty_text` is what a list without rows says: what will stand here, and how it comes to be
    (templates/unfold/helpers/empty_results.html).
    """

    empty_text: Any = ""
    form = ConsoleForm
    compressed_fields = True
    warn_unsaved_form = True
    list_filter_submit = True
    list_per_page = 50

    def formfield_for_dbfield(
        self, db_field: models.Field[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> forms.Field | None:
        if isinstance(db_field, EncryptedTextField):
            return SecretFormField(
                label=db_field.verbose_name,
                required=False,
                help_text=db_field.help_text or _("Stored encrypted. Leave empty to keep it."),
            )
        field: forms.Field | None = super().formfield_for_dbfield(db_field, request, **kwargs)
        return field

    @display(description=_("owner"), ordering="owner")
    def show_owner(self, row: Any) -> Any:
        """Whose row it is, for lists of what users and the system have."""
        return row.owner or _("System")


class ReadOnlyAdmin(ConsoleAdmin):
    """Rows that the product writes and people only read or delete."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: models.Model | None = None) -> bool:
        return False

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        # What nobody changes has no history.
        context = {"show_history": False, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)


# --- Deleting ----------------------------------------------------------------------------------


class CountedDeletion(Named):
    """Says what goes with the rows by numbers; Django would load and name each row of it.

    Counted is what has a page of its own in the console: a document stands for its chunks.
    """

    admin_site: admin.AdminSite

    def get_deleted_objects(
        self, objs: Iterable[models.Model], request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        rows = list(objs)
        if not rows:
            return [], {}, set(), []
        cascade = Cascade(rows)
        figures: dict[str, int] = {}
        forbidden: set[str] = set()
        for model in filter(self.admin_site.is_registered, cascade.models):
            count = cascade.rows(model).count()
            if count:
                figures[str(model._meta.verbose_name_plural)] = count
            if count and not self._may_delete(model, request):
                forbidden.add(str(model._meta.verbose_name))
        in_the_way = [f"{row._meta.verbose_name}: {row}" for row in cascade.in_the_way()]
        return [self.name_of(row) for row in rows], figures, forbidden, in_the_way

    def _may_delete(self, model: type[models.Model], request: HttpRequest) -> bool:
        return self.admin_site.get_model_admin(model).has_delete_permission(request)
