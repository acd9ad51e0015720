"""Knowledge bases, documents, uploads and the search playground in the console."""

from __future__ import annotations

from knowledge.admin import bases, documents, playground, uploads

__all__ = ["bases", "documents", "playground", "uploads"]
