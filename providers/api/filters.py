"""How lists of models can be narrowed."""

from __future__ import annotations

from django_filters import rest_framework as filters

from core.filters import FlagFilter, LanguageFilter
from providers.models import AsrLanguage, Gender, LlmType


class ModelFilters(filters.FilterSet):
    vendor = filters.CharFilter(lookup_expr="iexact")
    enabled = FlagFilter(field_name="is_enabled")
    is_system = FlagFilter(field_name="owner", lookup_expr="isnull")
    keyword = filters.CharFilter(field_name="name", lookup_expr="icontains")


class LlmFilters(ModelFilters):
    model_type = filters.ChoiceFilter(field_name="type", choices=LlmType.choices)
    type = filters.ChoiceFilter(choices=LlmType.choices)


class AsrFilters(ModelFilters):
    language = filters.ChoiceFilter(choices=AsrLanguage.choices)


class VoiceFilters(ModelFilters):
    gender = filters.ChoiceFilter(choices=Gender.choices)
    language = LanguageFilter()
