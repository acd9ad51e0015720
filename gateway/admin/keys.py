"""API keys with what they took this month: the page of keys, gone on with.

Accounts know nothing of the gateway; what a key took there stands here.
"""

from __future__ import annotations

from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.decorators import display

from accounts.admin import ApiKeyAdmin, ApiKeyForm
from accounts.models import ApiKey
from conversations.admin.charts import short
from core.errors import InvalidRequest
from gateway.actions import check_allowed_models
from gateway.admin.money import money
from gateway.admin.records import requests_url
from gateway.standing import Month, months_of

admin.site.unregister(ApiKey)


class KeyForm(ApiKeyForm):
    """A key that is limited to models which its owner has."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        key = cast(ApiKey, self.instance)
        # The owner of a key that there is cannot be changed.
        owner = key.owner if key.pk else cleaned.get("owner")
        if owner is not None and "allowed_models" in cleaned:
            try:
                check_allowed_models(owner, cleaned["allowed_models"], known=key.allowed_models)
            except InvalidRequest as error:
                self.add_error("allowed_models", error.message)
        return cleaned


class KeyList(ChangeList):
    """A page of keys, each with its month."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        rows: list[Any] = list(self.result_list)
        for row, month in zip(rows, months_of(rows), strict=True):
            row.month = month
        self.result_list = rows


@admin.register(ApiKey)
class KeyPage(ApiKeyAdmin):
    """Keys of the API, each with the ways to what it asked on the gateway."""

    form = KeyForm
    list_display = [*ApiKeyAdmin.list_display[:3], "show_month", *ApiKeyAdmin.list_display[3:]]
    change_form_outer_before_template = "gateway/key_strip.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return KeyList

    @display(
        description=gettext_lazy("state"),
        label={"usable": "success", "spent": "warning", "expired": "warning", "disabled": "danger"},
    )
    def show_state(self, key: Any) -> tuple[str, Any]:
        state: tuple[str, Any] = super().show_state(key)
        # On the gateway it is refused; whatever else it may do goes on.
        is_spent = state[0] == "usable" and key.month.is_over
        return ("spent", _("Budget used up")) if is_spent else state

    @display(description=gettext_lazy("this month"))
    def show_month(self, key: Any) -> str:
        return render_to_string("gateway/month.html", {"bars": bars_of(key.month)})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {})}
        key = self.get_object(request, unquote(object_id))
        if key is not None:
            (month,) = months_of([key])
            context |= {"bars": bars_of(month), "requests_url": requests_url(key=key.pk)}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response


def bars_of(month: Month) -> list[dict[str, Any]]:
    """Tokens and money of the month, each with its share of the budget where there is one."""
    key, spent = month.key, month.spent
    tokens, cost = short(spent.tokens), money(spent.cost)
    bars = [_bar(_("%(n)s tokens") % {"n": tokens}, month.token_share, key.monthly_token_budget)]
    if spent.cost or key.monthly_cost_budget is not None:
        bars.append(
            _bar(_("cost %(sum)s") % {"sum": cost}, month.cost_share, key.monthly_cost_budget)
        )
    return bars


def _bar(text: str, share: float | None, budget: Any) -> dict[str, Any]:
    if share is None:
        return {"text": text, "percent": None}
    most = short(budget) if isinstance(budget, int) else money(budget)
    return {
        "text": _("%(taken)s of %(most)s") % {"taken": text, "most": most},
        "percent": min(100, round(100 * share)),
        "is_over": share >= 1,
    }
