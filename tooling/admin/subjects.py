"""What autotests test, as the console knows it: the page of each kind of thing.

Kinds of higher floors (assistants) register themselves; nothing here knows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.admin import ModelAdmin
from django.db.models import Model
from django.http import HttpRequest

from tooling.admin.links import link_to
from tooling.models import Subject

# At most so many of a kind can be chosen from a list.
MAX_CHOICES = 500
Key = tuple[str, str]

_PAGES: dict[Subject, ModelAdmin[Any]] = {}


def register(subject: Subject, page: ModelAdmin[Any]) -> None:
    """Makes the page the one of that kind of thing."""
    _PAGES[subject] = page


def page_of(subject: str) -> ModelAdmin[Any] | None:
    """The page of a kind of thing, or None where there is none."""
    return _PAGES.get(Subject(subject)) if subject in Subject.values else None


def url_of(subject: str, subject_id: str) -> str:
    """Where the thing is edited; empty where it has no page."""
    page = page_of(subject)
    if page is None:
        return ""
    opts = page.model._meta
    return link_to(f"{opts.app_label}_{opts.model_name}_change", subject_id)


def find(request: HttpRequest, subject: str, subject_id: str) -> Model | None:
    """The row, if it is there."""
    page = page_of(subject)
    return page.get_object(request, subject_id) if page and "\0" not in subject_id else None


def names(keys: Iterable[Key]) -> Mapping[Key, str]:
    """The present names of these things, in one query per kind; what is gone is missing."""
    wanted: dict[str, set[str]] = {}
    for subject, subject_id in keys:
        wanted.setdefault(subject, set()).add(subject_id)
    found: dict[Key, str] = {}
    for subject, ids in wanted.items():
        if page := page_of(subject):
            rows = page.model._default_manager.filter(pk__in=ids)
            found |= {(subject, str(row.pk)): str(row) for row in rows}
    return found


def choices(request: HttpRequest, wanted: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """What can be tested, by kind, as a grouped select wants it: `kind:id`, name.

    Of many of a kind not all are there; the `wanted` one is.
    """
    groups = []
    wanted_kind, _colon, wanted_id = wanted.partition(":")
    for subject, page in sorted(_PAGES.items(), key=lambda item: Subject.values.index(item[0])):
        rows = page.get_queryset(request).order_by("pk")[:MAX_CHOICES]
        options = {f"{subject}:{row.pk}": str(row) for row in rows}
        if subject == wanted_kind and wanted not in options:
            row = find(request, subject, wanted_id)
            options |= {wanted: str(row)} if row else {}
        by_name = sorted(options.items(), key=lambda option: option[1].lower())
        groups.append((str(subject.label), by_name))
    return groups
