"""Bases of several people, their documents, and a folder for files that goes away."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from core.ids import short_id
from knowledge import chunks
from knowledge.models import Document, KnowledgeBase, Upload
from knowledge.types import Piece
from providers.catalogue import sync_builtin_models


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    """Where this test's files are stored."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def make_base(owner: User | None, name: str = "Manuals", **fields: Any) -> KnowledgeBase:
    return KnowledgeBase.objects.create(owner=owner, name=name, **fields)


def make_document(
    base: KnowledgeBase,
    name: str = "manual.txt",
    content: bytes = b"Press the red button.",
    **fields: Any,
) -> Document:
    """A stored document that no worker was told of."""
    fields = {"status": "ready", "file_type": "txt", "sha256": short_id(), **fields}
    row = Document(knowledge_base=base, name=name, size=len(content), **fields)
    row.file.save(name, ContentFile(content), save=False)
    row.save()
    return row


def make_upload(owner: User, name: str = "notes.txt", content: bytes = b"Some notes.") -> Upload:
    row = Upload(owner=owner, name=name, file_type=name.rpartition(".")[2], size=len(content))
    row.file.save(name, ContentFile(content), save=False)
    row.save()
    return row


@pytest.fixture
def base(alice: User) -> KnowledgeBase:
    """A base of alice."""
    return make_base(alice)


@pytest.fixture
def document(base: KnowledgeBase) -> Document:
    """A document of alice, ready."""
    return make_document(base)


@pytest.fixture
def count_queries(db: None) -> Callable[[Callable[[], object]], int]:
    """How many queries a call needs."""

    def count(call: Callable[[], object]) -> int:
        with CaptureQueriesContext(connection) as queries:
            call()
        return len(queries)

    return count


def make_chunks(document: Document, *contents: str) -> None:
    """Chunks that words find, as no embedding model was asked."""
    ends = list(itertools.accumulate(len(text) + 1 for text in contents))
    pieces = [
        Piece(number, text, "", None, end - len(text) - 1, end - 1)
        for number, (text, end) in enumerate(zip(contents, ends, strict=True))
    ]
    document.chunks_total = chunks.store(document, pieces, check=lambda: None)
    document.save(update_fields=["chunks_total"])


@pytest.fixture
def builtin_models(db: None) -> None:
    """The offline models, which a database that was emptied lacks."""
    sync_builtin_models()
