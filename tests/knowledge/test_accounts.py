"""What becomes of knowledge when the account that owns it is deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import User
from knowledge import actions, indexes, tasks
from knowledge.models import Chunk, Document, KnowledgeBase, Upload, VectorSpace
from providers.models import Llm
from tests.knowledge.documents import add, work_on

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator(carol: User) -> Client:
    client = Client()
    client.force_login(carol)
    return client


@pytest.fixture
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


@pytest.fixture
def filled(media: Path, vendor_base: KnowledgeBase) -> KnowledgeBase:
    """A base of alice whose vectors are of her own model."""
    work_on(add(vendor_base, 30))
    return vendor_base


def page_for(user: User) -> str:
    return reverse("admin:accounts_user_delete", args=[user.pk])


def has_index(space_id: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("select to_regclass(%s) is not null", [indexes.index_name(space_id)])
        return bool(cursor.fetchone()[0])


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_everything_goes_with_an_account_whose_own_model_made_its_vectors(
    operator: Client,
    alice: User,
    filled: KnowledgeBase,
    media: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(indexes, "INDEXED_FROM", 10)
    actions.store_upload(alice, ContentFile(b"Notes.", name="notes.txt"))
    space = VectorSpace.objects.get()
    tasks.build_index(space.pk)
    assert has_index(space.pk)
    assert len(files_in(media)) == 2
    woken: list[int] = []
    monkeypatch.setattr(tasks.drop_index, "delay", woken.append)

    loaded: list[object] = []
    monkeypatch.setattr(Chunk, "from_db", loaded.append)

    response = operator.post(page_for(alice), {"post": "yes"})

    assert response.status_code == 302
    assert loaded == []
    for model in (KnowledgeBase, VectorSpace, Document, Chunk, Upload):
        assert not model._default_manager.exists(), model
    assert not User.objects.filter(pk=alice.pk).exists()
    assert files_in(media) == []
    assert woken == [space.pk]
    tasks.drop_index(space.pk)
    assert not has_index(space.pk)


def test_what_is_left_behind_all_the_same_is_tidied_up(
    alice: User, filled: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "INDEXED_FROM", 10)
    space_id = VectorSpace.objects.get().pk
    tasks.build_index(space_id)
    alice.delete()
    assert has_index(space_id)
    tasks.tidy()
    assert not has_index(space_id)


def test_the_page_counts_what_goes_and_names_none_of_it(
    operator: Client, alice: User, bob: User, filled: KnowledgeBase
) -> None:
    add(filled, 3, topic="owl")
    actions.create_base(bob.pk, {"name": "Bob's"})

    with CaptureQueriesContext(connection) as queries:
        page = operator.get(page_for(alice)).content.decode()

    assert not any("knowledge_chunk" in query["sql"] for query in queries)
    assert "Knowledge bases: 1" in " ".join(page.split())
    assert "Documents: 2" in " ".join(page.split())
    assert "fox.txt" not in page
    assert "Bob's" not in page


def test_a_model_that_a_base_of_others_needs_keeps_the_account(
    operator: Client, alice: User, bob: User, filled: KnowledgeBase
) -> None:
    KnowledgeBase.objects.filter(pk=filled.pk).update(owner=bob)
    assert "Manual" in operator.get(page_for(alice)).content.decode()
    operator.post(page_for(alice), {"post": "yes"})
    assert User.objects.filter(pk=alice.pk).exists()
    actions.delete_base(filled, force=True)
    operator.post(page_for(alice), {"post": "yes"})
    assert not User.objects.filter(pk=alice.pk).exists()


def test_a_model_alone_stays_while_a_base_needs_it(
    alice_api: APIClient, filled: KnowledgeBase, vendor_embedder: Llm
) -> None:
    url = f"/api/v1/llm/{vendor_embedder.pk}"
    assert alice_api.delete(url).status_code == 409
    KnowledgeBase.objects.update(embedder=None)
    assert alice_api.delete(url).status_code == 409
    VectorSpace.objects.all().delete()
    assert alice_api.delete(url).status_code == 200
