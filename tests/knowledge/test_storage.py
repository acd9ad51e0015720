"""Where files are kept, and what becomes of them when that goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files import File
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage
from django.db.models.fields.files import FieldFile

from core.errors import Unavailable
from knowledge import actions, storage
from knowledge.models import Document, KnowledgeBase
from tests.knowledge.documents import add

pytestmark = pytest.mark.django_db


class Elsewhere(Storage):
    """As the storages of cloud vendors, it has no paths."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if name not in self.kept:
            raise FileNotFoundError(name)
        return ContentFile(self.kept[name])


def kept_in(place: Elsewhere, name: str) -> FieldFile:
    """A document's file, as a row names it, in another storage."""
    document = Document(file_type="txt")
    document.file.name = name
    document.file.storage = place
    return document.file


def test_a_file_elsewhere_is_copied_for_as_long_as_it_is_read() -> None:
    place = Elsewhere()
    place.kept["knowledge/a/b.txt"] = b"content"
    with storage.local_path(kept_in(place, "knowledge/a/b.txt")) as path:
        assert path.read_bytes() == b"content"
        assert path.suffix == ".txt"
    assert not path.exists()


def test_a_file_here_is_read_where_it_is(base: KnowledgeBase) -> None:
    document = add(base)
    with storage.local_path(document.file) as path:
        assert path == Path(document.file.path)
    assert path.exists()


def test_what_its_reader_raises_is_the_readers(base: KnowledgeBase) -> None:
    document = add(base)
    with pytest.raises(NotImplementedError), storage.local_path(document.file):
        raise NotImplementedError


def test_a_file_that_is_gone_is_missing() -> None:
    file = kept_in(Elsewhere(), "knowledge/a/b.txt")
    with pytest.raises(FileNotFoundError), storage.local_path(file):
        pass


def test_a_full_disk_refuses_the_document_and_leaves_nothing(
    base: KnowledgeBase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save = FileSystemStorage._save  # type: ignore[attr-defined]

    def fill_up(self: Any, name: str, content: Any) -> str:
        save(self, name, content)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileSystemStorage, "_save", fill_up)
        with pytest.raises(Unavailable):
            add(base)
    assert not Document.objects.exists()
    assert "No space left on device" in caplog.text
    assert list(storage.files_below(f"{storage.DOCUMENTS_FOLDER}/{base.pk}")) == []
    assert Path(add(base).file.path).exists()


def test_an_empty_file_is_for_its_reader_to_judge(base: KnowledgeBase) -> None:
    document = actions.add_document(base, ContentFile(b"", name="a.txt"), name="a.txt")
    assert document.size == 0
