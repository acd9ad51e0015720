"""Autotests on the pages of models: providers know nothing of tests, so they are added here."""

from __future__ import annotations

from django.contrib import admin

from providers.admin import AsrAdmin, EmbedderAdmin, LlmAdmin, RerankerAdmin, VoiceAdmin
from providers.models import Asr, Embedder, Llm, Reranker, Voice
from tooling.admin.testing import Autotested
from tooling.models import Subject

admin.site.unregister([Llm, Embedder, Reranker, Asr, Voice])


@admin.register(Llm)
class TestedLlmAdmin(Autotested, LlmAdmin):
    subject = Subject.LLM


@admin.register(Embedder)
class TestedEmbedderAdmin(Autotested, EmbedderAdmin):
    subject = Subject.EMBEDDER


@admin.register(Reranker)
class TestedRerankerAdmin(Autotested, RerankerAdmin):
    subject = Subject.RERANKER


@admin.register(Asr)
class TestedAsrAdmin(Autotested, AsrAdmin):
    subject = Subject.ASR


@admin.register(Voice)
class TestedVoiceAdmin(Autotested, VoiceAdmin):
    subject = Subject.VOICE
