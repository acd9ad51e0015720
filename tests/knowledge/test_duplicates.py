"""What becomes of a file that is sent once more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.core.files.base import ContentFile

from core.errors import Unavailable
from knowledge import actions
from knowledge.models import Document, DocumentStatus, KnowledgeBase

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("content", [b"%PDF-1.7 text", b""])
@pytest.mark.parametrize("status", [DocumentStatus.FAILED, DocumentStatus.CANCELLED])
def test_the_same_bytes_take_the_place_of_a_document_that_was_not_read(
    content: bytes, status: DocumentStatus, base: KnowledgeBase
) -> None:
    first = actions.add_document(base, ContentFile(content, "a.txt"), name="a.txt")
    with pytest.raises(actions.DuplicateDocument):
        actions.add_document(base, ContentFile(content, "a.pdf"), name="a.pdf")
    Document.objects.filter(pk=first.pk).update(status=status)
    second = actions.add_document(base, ContentFile(content, "a.pdf"), name="a.pdf")
    assert (second.name, second.file_type, second.status) == ("a.pdf", "pdf", "uploaded")
    assert list(Document.objects.all()) == [second]
    assert os.listdir(Path(second.file.path).parent) == [f"{second.pk}.pdf"]


def test_a_document_that_was_not_read_stays_where_the_file_cannot_be_stored(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = actions.add_document(base, ContentFile(b"same", "a.txt"), name="a.txt")
    actions.cancel_document(first)

    def fail(*_args: object) -> None:
        raise Unavailable("The disk is full.")

    monkeypatch.setattr(actions, "store", fail)
    with pytest.raises(Unavailable):
        actions.add_document(base, ContentFile(b"same", "b.txt"), name="b.txt")
    assert list(Document.objects.all()) == [first]
    assert Path(first.file.path).exists()
