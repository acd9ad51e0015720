"""The example page of the widget: an assistant's talk button, to try and to copy from."""

from __future__ import annotations

import dataclasses
import re

from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.utils import translation
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from realtime.pages import (
    TICKETS_URL,
    assistant_of_page,
    content_security_policy,
    language_of_page,
    principal_of_page,
)

_LONGEST_VALUE = 60
# What would end an attribute: the line is copied from this page, whoever wrote its address.
_MARKUP = re.compile(r"[<>\"&]")


@dataclasses.dataclass(frozen=True, slots=True)
class Attribute:
    """A `data-…` attribute of the script's line that the page lets people try."""

    name: str
    label: str | Promise
    # What it may be, the default first; without any it is a text.
    choices: tuple[tuple[str, str | Promise], ...] = ()
    hint: str | Promise = ""


ATTRIBUTES = (
    Attribute(
        "position",
        _("Position"),
        (
            ("bottom-right", _("Bottom right")),
            ("bottom-left", _("Bottom left")),
            ("top-right", _("Top right")),
            ("top-left", _("Top left")),
        ),
    ),
    Attribute(
        "language",
        _("Language"),
        (("", _("The page's")), ("en", "English"), ("zh", "中文")),
    ),
    Attribute(
        "theme",
        _("Appearance"),
        (("", _("The visitor's")), ("light", _("Light")), ("dark", _("Dark"))),
    ),
    Attribute(
        "output",
        _("Answers"),
        (("audio", _("Spoken aloud")), ("text", _("In writing only"))),
    ),
    Attribute("color", _("Colour"), hint="#0f766e"),
    Attribute("title", _("Title"), hint=_("Ask us")),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """An attribute with what was chosen for it."""

    attribute: Attribute
    value: str


@never_cache
@require_safe
def example(request: HttpRequest, assistant_id: str) -> HttpResponse:
    """A page with the widget of an assistant, for whoever may talk to it; 404 for others.

    Who is signed in talks with a ticket, so that it can be tried before it is public. Anybody else
    is let in, or refused, as on any page of this origin.
    """
    principal, _is_console = principal_of_page(request)
    assistant = assistant_of_page(principal, assistant_id)
    if assistant is None:
        raise Http404
    fields = [Field(attribute, _asked(request, attribute)) for attribute in ATTRIBUTES]
    with translation.override(language_of_page(request, assistant)):
        response = render(
            request,
            "realtime/widget_example.html",
            {
                "assistant": assistant,
                "fields": fields,
                "chosen": [field for field in fields if _is_worth_saying(field)],
                "origin": f"{request.scheme}://{request.get_host()}",
                "access": {
                    "assistantId": assistant.pk,
                    "ticketsUrl": TICKETS_URL if principal else None,
                    "csrfToken": get_token(request),
                },
            },
        )
        response["Content-Language"] = translation.get_language() or "en"
    response["Content-Security-Policy"] = content_security_policy(request)
    response["Permissions-Policy"] = "microphone=(self)"
    response["Vary"] = "Accept-Language, Cookie"
    return response


def _asked(request: HttpRequest, attribute: Attribute) -> str:
    """What the address asks for, if the attribute can be that; else its default."""
    value = _MARKUP.sub("", request.GET.get(attribute.name, "")).strip()[:_LONGEST_VALUE]
    known = [choice for choice, _label in attribute.choices]
    return value if not known or value in known else known[0]


def _is_worth_saying(field: Field) -> bool:
    """Whether the line needs the attribute: it is not what the widget does anyway."""
    default = field.attribute.choices[0][0] if field.attribute.choices else ""
    return field.value not in ("", default)
