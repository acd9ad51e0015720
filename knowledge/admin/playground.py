"""The retrieval playground: what a search finds, why in that order, and what it took.

It stands where the console would list the searches: they are on it as what was asked lately.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from core.console import ReadOnlyAdmin
from core.errors import AppError
from core.loops import wait_for
from knowledge.admin.documents import CHUNKS_PER_PAGE
from knowledge.admin.highlight import condensed, highlighted, telling_words
from knowledge.fusion import FITTING_SHARE, OVERSAMPLING, fitting, told_shares
from knowledge.models import KnowledgeBase, SearchRecord, SearchSource
from knowledge.search import record_search, search
from knowledge.types import Hit, SearchOutcome, SearchRequest
from providers.models import Reranker
from providers.specs import reranker_spec

MAX_BASES = 50
RECENT = 20
DEFAULT_LIMIT = 10
# Where a session remembers them.
LAST_BASES = "searched_bases"


class SearchForm(forms.Form):
    """What to look for, and how. Everything but the query has a value to start with."""

    query = forms.CharField(
        label=_("Query"),
        max_length=1000,
        widget=UnfoldAdminTextInputWidget({"type": "search", "autocomplete": "off"}),
    )
    bases = forms.ModelMultipleChoiceField(
        KnowledgeBase.objects.order_by("name"),
        label=_("Knowledge bases"),
        error_messages={"required": _("Choose the knowledge bases to search.")},
        # The page holds those that were chosen; others are looked up by their name.
        widget=AutocompleteSelectMultiple(
            SearchRecord._meta.get_field("knowledge_base"),
            admin.site,
            attrs={"data-width": "100%"},
        ),
    )
    limit = forms.IntegerField(
        label=_("Hits"),
        required=False,
        min_value=1,
        max_value=50,
        initial=DEFAULT_LIMIT,
        widget=UnfoldAdminIntegerFieldWidget,
    )
    min_score = forms.FloatField(
        label=_("Least score"),
        required=False,
        min_value=-1,
        max_value=1,
        help_text=_("Of the cosine, -1 to 1."),
        widget=UnfoldAdminDecimalFieldWidget({"step": "0.05"}),
    )
    word_share = forms.FloatField(
        label=_("Least share of words"),
        required=False,
        min_value=0,
        max_value=1,
        help_text=format_lazy(
            _(
                "Of the words that tell. What has it is kept below the least score too, as "
                "assistants do from {share}."
            ),
            share=FITTING_SHARE,
        ),
        widget=UnfoldAdminDecimalFieldWidget({"step": "0.05"}),
    )
    neighbours = forms.IntegerField(
        label=_("Neighbours"),
        required=False,
        min_value=0,
        max_value=5,
        initial=0,
        help_text=_("Chunks before and after each hit."),
        widget=UnfoldAdminIntegerFieldWidget,
    )
    reranker = forms.ModelChoiceField(
        Reranker.objects.filter(is_enabled=True).select_related("provider"),
        label=_("Rerank model"),
        required=False,
        empty_label=_("None"),
        widget=UnfoldAdminSelectWidget,
    )

    @classmethod
    def from_query(cls, query: QueryDict) -> SearchForm:
        """The form as an address fills it; what the address lacks has its first value."""
        data = query.copy()
        for name in ("limit", "neighbours"):
            data.setdefault(name, str(cls.base_fields[name].initial))
        return cls(data)

    def clean_bases(self) -> QuerySet[KnowledgeBase]:
        bases: QuerySet[KnowledgeBase] = self.cleaned_data["bases"]
        if len(bases) > MAX_BASES:
            text = _("At most %(most)d bases can be searched at once.")
            raise forms.ValidationError(text, params={"most": MAX_BASES})
        return bases

    @property
    def limit_of_hits(self) -> int:
        return self.cleaned_data["limit"] or DEFAULT_LIMIT

    def request(self) -> SearchRequest:
        """The search that a valid form asks for; with a share of words, as conversations search."""
        values = self.cleaned_data
        reranker, is_sorted_out = values["reranker"], values["word_share"] is not None
        return SearchRequest(
            query=values["query"],
            knowledge_base_ids=tuple(base.pk for base in values["bases"]),
            limit=self.limit_of_hits * (OVERSAMPLING if is_sorted_out else 1),
            min_score=None if is_sorted_out else values["min_score"],
            neighbours=values["neighbours"] or 0,
            reranker=reranker_spec(reranker) if reranker else None,
        )

    def sorted_out(self, outcome: SearchOutcome) -> SearchOutcome:
        """The outcome with those hits that a conversation would keep, if that was asked for."""
        values = self.cleaned_data
        if values["word_share"] is None:
            return outcome
        kept = fitting(
            values["query"],
            outcome.hits,
            min_score=values["min_score"],
            share=values["word_share"],
        )
        return dataclasses.replace(outcome, hits=tuple(kept[: self.limit_of_hits]))


@dataclasses.dataclass(frozen=True, slots=True)
class ShownHit:
    """A hit as the page draws it. Bars are 0 to 100."""

    hit: Hit
    number: int
    text: SafeString
    url: str
    score_bar: int
    keyword_bar: int
    word_bar: int
    rerank_bar: int


@admin.register(SearchRecord)
class SearchRecordAdmin(ReadOnlyAdmin):
    """Searches that were made, on the page that makes them."""

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return show(request, self.admin_site.each_context(request))


def show(request: HttpRequest, context: Mapping[str, Any]) -> HttpResponse:
    """The page; with a query in its address it shows what that finds."""
    bases = request.GET.getlist("bases")
    form = SearchForm.from_query(request.GET) if "query" in request.GET else _empty_form(request)
    outcome = _searched(request, form) if form.is_bound and form.is_valid() else None
    chosen = list(KnowledgeBase.objects.filter(pk__in=bases)[:MAX_BASES])
    only_base = chosen[0] if len(chosen) == 1 else None
    page = {
        **context,
        "title": only_base.name if only_base else _("Search"),
        "base": only_base,
        "form": form,
        "has_bases": KnowledgeBase.objects.exists(),
        "outcome": outcome,
        "hits": _shown(outcome.hits, form.cleaned_data["query"]) if outcome else [],
        "recent": _recent([base.pk for base in chosen]),
        "names_bases": len(chosen) != 1,
        "repeated": _repeated(request.GET),
    }
    return render(request, "knowledge/search.html", page)


def _empty_form(request: HttpRequest) -> SearchForm:
    """The form as the address fills it, else with the bases that were searched last."""
    initial: dict[str, Any] = {
        name: request.GET[name] for name in SearchForm.base_fields if name in request.GET
    }
    chosen = request.GET.getlist("bases") or request.session.get(LAST_BASES, [])
    return SearchForm(initial={**initial, "bases": chosen})


def _searched(request: HttpRequest, form: SearchForm) -> SearchOutcome | None:
    wanted = form.request()
    request.session[LAST_BASES] = list(wanted.knowledge_base_ids)
    try:
        outcome = form.sorted_out(wait_for(search(wanted)))
    except AppError as error:
        messages.error(request, error.message)
        return None
    record_search(wanted, outcome, SearchSource.PLAYGROUND)
    return outcome


def _recent(base_ids: list[str]) -> QuerySet[SearchRecord]:
    """The latest searches in these bases, or in any, wherever they came from."""
    rows = SearchRecord.objects.select_related("knowledge_base")
    if base_ids:
        rows = rows.filter(knowledge_base__in=base_ids)
    return rows[:RECENT]


def _repeated(query: QueryDict) -> str:
    """The settings of this search, for links that repeat another query with them."""
    kept = query.copy()
    for name in ("query", "bases"):
        kept.pop(name, None)
    return kept.urlencode()


def _shown(hits: Sequence[Hit], query: str) -> list[ShownHit]:
    words = telling_words(query)
    return [
        ShownHit(
            hit=hit,
            number=number,
            text=highlighted(condensed(hit.content), words),
            url=_url_of(hit),
            score_bar=_percent(hit.score or 0.0),
            keyword_bar=_percent(hit.keyword_share),
            word_bar=_percent(share),
            rerank_bar=_percent(hit.rerank_score or 0.0),
        )
        for number, (hit, share) in enumerate(zip(hits, told_shares(query, hits), strict=True), 1)
    ]


def _url_of(hit: Hit) -> str:
    """The document's page, opened at the chunk."""
    address = reverse("admin:knowledge_document_change", args=[hit.document_id])
    return f"{address}?chunks-page={hit.ordinal // CHUNKS_PER_PAGE + 1}#chunks"


def _percent(share: float) -> int:
    return round(100 * min(1.0, max(0.0, share)))
