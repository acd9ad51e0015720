"""Which of our languages somebody asks for, outside of Django's requests too."""

from __future__ import annotations

from django.utils.translation.trans_real import get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header as accepted_languages


def asked_language(accept_language: str) -> str | None:
    """The first language of an Accept-Language header that we speak, else None."""
    for code, _quality in accepted_languages(accept_language):
        try:
            return get_supported_language_variant(code)
        except LookupError:
            continue
    return None
