"""Files and pasted text that operators put into a base; each file gets an answer of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

from django import forms
from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from core.errors import AppError
from knowledge.actions import DuplicateDocument, add_document, add_text
from knowledge.models import Document, KnowledgeBase
from knowledge.parse import FILE_TYPES
from knowledge.storage import MAX_FILE_BYTES

MAX_BASES = 500
LEVELS = {"added": messages.SUCCESS, "duplicate": messages.WARNING, "refused": messages.ERROR}


class TextForm(forms.Form):
    """Text that becomes a document."""

    name = forms.CharField(
        label=gettext_lazy("Name"), max_length=255, widget=UnfoldAdminTextInputWidget
    )
    content = forms.CharField(
        label=gettext_lazy("Text"), strip=False, widget=UnfoldAdminTextareaWidget({"rows": 10})
    )
    file_type = forms.ChoiceField(
        label=gettext_lazy("Read as"),
        choices=[
            ("md", gettext_lazy("Markdown: headings and tables count")),
            ("txt", gettext_lazy("Plain text")),
        ],
        widget=UnfoldAdminSelectWidget,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Panel:
    """What the place to add documents shows."""

    form: TextForm

    max_bytes = MAX_FILE_BYTES
    max_mb = MAX_FILE_BYTES // 2**20

    @property
    def types(self) -> str:
        return ", ".join(dict.fromkeys(str(kind.label) for kind in FILE_TYPES.values()))

    @property
    def accept(self) -> str:
        return ",".join(f".{extension}" for extension in FILE_TYPES)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file."""

    name: str
    outcome: Literal["added", "duplicate", "refused"]
    message: str
    url: str = ""


def panel(form: TextForm | None = None) -> Panel:
    """The place to add documents, with what was typed so far."""
    return Panel(form or TextForm())


def add_documents(request: HttpRequest, model_admin: ModelAdmin[Document]) -> HttpResponse:
    """The page to add documents, and where each base's own list sends files and text."""
    if request.method != "POST":
        return _page(request, model_admin)
    base = KnowledgeBase.objects.with_id(request.POST.get("knowledge_base", ""))
    if base is None:
        raise Http404
    if "content" in request.POST:
        form = TextForm(request.POST)
        if not form.is_valid():
            return _page(request, model_admin, base=base, form=form)
        answers = [_text_answer(base, form.cleaned_data)]
    else:
        answers = list(_file_answers(request, base))
    if "application/json" in request.headers.get("Accept", ""):
        return JsonResponse({"answers": [dataclasses.asdict(answer) for answer in answers]})
    for answer in answers:
        text = f"{answer.name}: {answer.message}"
        messages.add_message(request, LEVELS[answer.outcome], text)
    list_url = reverse("admin:knowledge_document_changelist")
    return HttpResponseRedirect(f"{list_url}?knowledge_base__id__exact={base.pk}")


def _page(
    request: HttpRequest,
    model_admin: ModelAdmin[Document],
    *,
    base: KnowledgeBase | None = None,
    form: TextForm | None = None,
) -> HttpResponse:
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "title": base.name if base else _("Add documents"),
        "media": model_admin.media,
        "base": base,
        "bases": KnowledgeBase.objects.order_by("name")[:MAX_BASES],
        "adding": panel(form),
    }
    return render(request, "knowledge/add_documents.html", context)


def _file_answers(request: HttpRequest, base: KnowledgeBase) -> Iterator[Answer]:
    files = request.FILES.getlist("files")
    if not files:
        yield Answer("-", "refused", _("Choose at least one file."))
    for file in files:
        name = file.name or ""
        yield _answer(name, partial(add_document, base, file, name=name))


def _text_answer(base: KnowledgeBase, values: dict[str, Any]) -> Answer:
    return _answer(values["name"], partial(add_text, base, **values))


def _answer(name: str, add: Callable[[], Document]) -> Answer:
    try:
        document = add()
    except DuplicateDocument as error:
        return Answer(name, "duplicate", error.message, _url(error.document_id))
    except AppError as error:
        return Answer(name, "refused", error.message)
    return Answer(document.name, "added", _("Added."), _url(document.pk))


def _url(document_id: str) -> str:
    return reverse("admin:knowledge_document_change", args=[document_id])
