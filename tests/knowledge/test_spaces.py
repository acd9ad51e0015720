"""Another embedding model takes over when its vectors are complete, whatever arrives meanwhile."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.utils import timezone

from accounts.models import User
from knowledge import actions, building, embedding, indexes, ingest, leases, spaces, tasks, upkeep
from knowledge.leases import Lease, LeaseLost
from knowledge.models import (
    Chunk,
    Document,
    DocumentStatus,
    KnowledgeBase,
    SpaceStatus,
    VectorSpace,
)
from providers.fakes import FakeUpstream, Step
from providers.models import Llm, LlmType, OutboundRule, Provider
from tests.knowledge.documents import add, make_due, vectors_in, work_on
from tests.knowledge.threads import elsewhere

pytestmark = pytest.mark.django_db(transaction=True)


def states_of(base: KnowledgeBase) -> list[tuple[str, str]]:
    found = VectorSpace.objects.filter(knowledge_base=base).order_by("pk")
    return [(space.embedder.name, space.status) for space in found]


def building_of(base: KnowledgeBase) -> VectorSpace:
    space = spaces.building_space(base)
    assert space is not None
    return space


def is_complete(base: KnowledgeBase) -> bool:
    space = spaces.active_space(base)
    assert space is not None
    return vectors_in(space) == Chunk.objects.filter(knowledge_base=base).count()


@pytest.fixture
def switching(vendor_base: KnowledgeBase, embedder: Llm) -> KnowledgeBase:
    """A base with two documents that has just been given another model."""
    for topic in ("fox", "owl"):
        assert work_on(add(vendor_base, topic=topic)).status == DocumentStatus.READY
    return actions.update_base(vendor_base, {"embedder_id": embedder.pk})


# --- Fingerprints ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "is_another"),
    [
        ({"name": "Other", "api_key": "sk-other", "is_enabled": False}, False),
        ({"base_url": "http://127.0.0.1:1/v1"}, True),
        ({"model_name": "other"}, True),
        ({"dimensions": 7}, True),
        ({"vendor": "builtin"}, True),
    ],
)
def test_the_fingerprint_changes_with_what_decides_the_vectors(
    vendor_embedder: Llm, values: dict[str, object], is_another: bool
) -> None:
    before = spaces.fingerprint(vendor_embedder)
    for name, value in values.items():
        setattr(vendor_embedder, name, value)
    assert (spaces.fingerprint(vendor_embedder) != before) is is_another


def test_the_address_of_the_provider_counts_where_the_row_has_none(alice: User) -> None:
    provider = Provider.objects.create(
        owner=alice, name="P", vendor="openai_compatible", base_url="http://a/v1"
    )
    row = Llm(owner=alice, provider=provider, vendor="openai_compatible", model_name="m")
    before = spaces.fingerprint(row)
    provider.base_url = "http://a/v1/"
    assert spaces.fingerprint(row) == before
    provider.base_url = "http://b/v1"
    assert spaces.fingerprint(row) != before


# --- The first space ---------------------------------------------------------------------------


def test_the_first_space_is_of_the_chosen_model_or_the_default(
    base: KnowledgeBase, alice: User, vendor_embedder: Llm
) -> None:
    unchosen = actions.create_base(alice.pk, {"name": "Any"})
    assert spaces.active_space(unchosen) is None
    work_on(add(unchosen))
    work_on(add(base))
    assert states_of(unchosen) == [("Vendor's", SpaceStatus.ACTIVE)]
    assert states_of(base) == [("Built in", SpaceStatus.ACTIVE)]


def test_a_base_that_chose_no_model_stays_with_the_one_it_began_with(
    embedder: Llm, alice: User
) -> None:
    unchosen = actions.create_base(alice.pk, {"name": "Any"})
    work_on(add(unchosen))
    Llm.objects.create(owner=alice, name="Newer", vendor="builtin", type=LlmType.EMBEDDING)
    work_on(add(unchosen, topic="owl"))
    assert actions.rebuild_vectors(unchosen) is None
    assert states_of(unchosen) == [("Built in", SpaceStatus.ACTIVE)]


def test_documents_that_begin_together_make_one_space(base: KnowledgeBase) -> None:
    documents = [add(base, topic=topic) for topic in ("fox", "owl", "bat", "cat")]

    def work(document: Document) -> None:
        try:
            work_on(document)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, documents))
    assert states_of(base) == [("Built in", SpaceStatus.ACTIVE)]
    assert {document.status for document in documents} == {DocumentStatus.READY}
    assert is_complete(base)


# --- Another model -----------------------------------------------------------------------------


def test_another_model_is_built_beside_and_takes_over(switching: KnowledgeBase) -> None:
    assert states_of(switching) == [
        ("Vendor's", SpaceStatus.ACTIVE),
        ("Built in", SpaceStatus.BUILDING),
    ]
    old = spaces.active_space(switching)
    assert old is not None
    assert building.build(building_of(switching).pk) == [old.pk]
    assert states_of(switching) == [("Built in", SpaceStatus.ACTIVE)]
    assert is_complete(switching)
    assert vectors_in(old) == 0


def test_a_base_without_vectors_changes_its_model_at_once(
    vendor_base: KnowledgeBase, embedder: Llm
) -> None:
    spaces.target_space(vendor_base.pk)
    actions.update_base(vendor_base, {"embedder_id": embedder.pk})
    assert states_of(vendor_base) == [("Built in", SpaceStatus.ACTIVE)]


def test_a_change_of_mind_drops_what_was_begun(
    switching: KnowledgeBase, vendor_embedder: Llm, alice: User
) -> None:
    third = Llm.objects.create(
        owner=alice, name="Third", vendor="builtin", type=LlmType.EMBEDDING, dimensions=64
    )
    actions.update_base(switching, {"embedder_id": third.pk})
    assert states_of(switching)[1:] == [("Third", SpaceStatus.BUILDING)]
    actions.update_base(switching, {"embedder_id": vendor_embedder.pk})
    assert states_of(switching) == [("Vendor's", SpaceStatus.ACTIVE)]
    assert is_complete(switching)


def test_a_change_of_name_builds_nothing(base: KnowledgeBase) -> None:
    work_on(add(base))
    actions.update_base(base, {"name": "Other"})
    assert states_of(base) == [("Built in", SpaceStatus.ACTIVE)]


def test_a_document_that_arrives_meanwhile_is_ready_at_once_and_not_lost(
    switching: KnowledgeBase,
) -> None:
    assert work_on(add(switching, topic="bat")).status == DocumentStatus.READY
    active = spaces.active_space(switching)
    assert active is not None
    assert vectors_in(active) == 15
    building.build(building_of(switching).pk)
    assert is_complete(switching)


def test_a_document_that_is_ready_between_the_last_batch_and_the_switch_is_not_lost(
    switching: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    activate = spaces.activate
    late: list[Document] = []

    def after_one_more(
        lease: Lease[VectorSpace], *, refused: Collection[str] = ()
    ) -> list[int] | None:
        if not late:
            late.append(work_on(add(switching, topic="bat")))
        return activate(lease, refused=refused)

    monkeypatch.setattr(spaces, "activate", after_one_more)
    building.build(building_of(switching).pk)
    assert late[0].status == DocumentStatus.READY
    assert states_of(switching) == [("Built in", SpaceStatus.ACTIVE)]
    assert is_complete(switching)


def test_a_document_whose_space_is_replaced_under_it_finishes_in_the_new_one(
    switching: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "BATCH", 2)
    vectors_of = ingest.vectors_of
    space_id = building_of(switching).pk
    calls = itertools.count()

    def and_switch_in_the_middle(*arguments: object) -> object:
        found = vectors_of(*arguments)  # type: ignore[arg-type]
        if next(calls) == 1:
            elsewhere(lambda: building.build(space_id))
        return found

    document = add(switching, topic="bat")
    ingest.prepare(document.pk)
    monkeypatch.setattr(ingest, "vectors_of", and_switch_in_the_middle)
    ingest.embed(document.pk)
    document.refresh_from_db()
    assert (document.status, document.chunks_embedded) == (DocumentStatus.READY, 5)
    assert states_of(switching) == [("Built in", SpaceStatus.ACTIVE)]
    assert is_complete(switching)


def test_uploads_and_deletions_during_the_switch_lose_nothing(switching: KnowledgeBase) -> None:
    space_id = building_of(switching).pk
    first = Document.objects.filter(knowledge_base=switching).first()
    assert first is not None

    def upload(number: int) -> None:
        try:
            work_on(add(switching, 20, topic=f"bat {number}"))
        finally:
            connections.close_all()

    def delete() -> None:
        try:
            actions.delete_document(first)
        finally:
            connections.close_all()

    def build() -> None:
        try:
            building.build(space_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(upload, number) for number in range(6)]
        jobs += [pool.submit(build), pool.submit(delete)]
        for job in jobs:
            job.result()
    assert states_of(switching) == [("Built in", SpaceStatus.ACTIVE)]
    statuses = Document.objects.values_list("status", flat=True)
    assert list(statuses) == [DocumentStatus.READY] * 7
    assert is_complete(switching)


def test_what_failed_for_want_of_vectors_is_ready_when_the_new_model_has_them(
    vendor_base: KnowledgeBase, upstream: FakeUpstream, embedder: Llm
) -> None:
    work_on(add(vendor_base))
    upstream.script("embeddings", Step(status=401))
    failed = work_on(add(vendor_base, topic="owl"))
    assert failed.status == DocumentStatus.FAILED
    actions.update_base(vendor_base, {"embedder_id": embedder.pk})
    building.build(building_of(vendor_base).pk)
    failed.refresh_from_db()
    assert (failed.status, failed.error_message) == (DocumentStatus.READY, "")
    assert failed.chunks_embedded == failed.chunks_total == 5
    assert is_complete(vendor_base)


# --- A model whose row is edited ---------------------------------------------------------------


def test_an_edited_model_gets_new_vectors(
    vendor_base: KnowledgeBase, vendor_embedder: Llm, upstream: FakeUpstream
) -> None:
    work_on(add(vendor_base))
    before = spaces.active_space(vendor_base)
    assert before is not None
    assert spaces.bases_to_reconcile() == []
    vendor_embedder.model_name = "better"
    vendor_embedder.save()
    stale = spaces.active_space(vendor_base)
    assert stale is not None
    assert spaces.is_stale(stale)
    assert spaces.bases_to_reconcile() == [vendor_base.pk]
    # A document that comes now gets vectors that can be used, not more of the old ones.
    work_on(add(vendor_base, topic="owl"))
    assert vectors_in(before) == 5
    tasks.sweep()
    building.build(building_of(vendor_base).pk)
    assert [status for _name, status in states_of(vendor_base)] == [SpaceStatus.ACTIVE]
    assert is_complete(vendor_base)
    assert spaces.bases_to_reconcile() == []
    assert upstream.stats.last("embeddings")[-1]["body"]["model"] == "better"


def test_a_new_key_builds_nothing(vendor_base: KnowledgeBase, vendor_embedder: Llm) -> None:
    work_on(add(vendor_base))
    vendor_embedder.api_key = "sk-new"
    vendor_embedder.save()
    assert spaces.bases_to_reconcile() == []


# --- Building that fails -----------------------------------------------------------------------


@pytest.fixture
def to_vendor(base: KnowledgeBase, vendor_embedder: Llm) -> VectorSpace:
    """A space to be built with the vendor's model, of a base with two documents."""
    for topic in ("fox", "owl"):
        work_on(add(base, topic=topic))
    actions.update_base(base, {"embedder_id": vendor_embedder.pk})
    return building_of(base)


@pytest.mark.parametrize(("status", "least_s"), [(500, 5), (429, 5), (401, 3000)])
def test_building_goes_on_where_a_vendor_failed(
    to_vendor: VectorSpace, upstream: FakeUpstream, status: int, least_s: float
) -> None:
    upstream.script("embeddings", Step(), Step(status=status))
    assert building.build(to_vendor.pk) == []
    to_vendor.refresh_from_db()
    assert (to_vendor.status, to_vendor.error_code) == (SpaceStatus.BUILDING, "embedding_failed")
    assert to_vendor.error_message
    assert to_vendor.next_attempt_at is not None
    assert (to_vendor.next_attempt_at - to_vendor.updated_at).total_seconds() > least_s
    assert building.build(to_vendor.pk) == []  # its time has not come
    make_due(to_vendor)
    assert building.build(to_vendor.pk) != []
    to_vendor.refresh_from_db()
    assert (to_vendor.status, to_vendor.error_code) == (SpaceStatus.ACTIVE, "")
    assert upstream.stats.of("embeddings").requests == 3
    assert vectors_in(to_vendor) == 10


def test_one_worker_builds_a_space_at_a_time(to_vendor: VectorSpace) -> None:
    held = leases.take(VectorSpace, to_vendor.pk, leases.due())
    assert held is not None
    assert building.build(to_vendor.pk) == []
    held.release()
    assert building.build(to_vendor.pk) != []


def test_a_builder_that_lost_its_lease_stores_nothing(
    to_vendor: VectorSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors_of = ingest.vectors_of

    def overtaken(*arguments: object) -> object:
        make_due(to_vendor)
        assert leases.take(VectorSpace, to_vendor.pk, leases.due()) is not None
        return vectors_of(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest, "vectors_of", overtaken)
    assert building.build(to_vendor.pk) == []
    assert vectors_in(to_vendor) == 0


def test_one_refused_text_costs_its_document_and_not_the_new_model(
    vendor_base: KnowledgeBase, vendor_embedder: Llm, upstream: FakeUpstream
) -> None:
    documents = [work_on(add(vendor_base, topic=topic)) for topic in ("fox", "owl", "hen")]
    vendor_embedder.model_name = "better"
    vendor_embedder.save()
    tasks.sweep()
    no, yes = Step(status=400), Step()
    # Five; two; one, its beginning; whether the model takes anything at all.
    upstream.script("embeddings", no, no, no, no, yes)
    space = building_of(vendor_base)
    assert building.build(space.pk) != []
    assert states_of(vendor_base) == [("Vendor's", SpaceStatus.ACTIVE)]
    for document in documents:
        document.refresh_from_db()
    (failed,) = (each for each in documents if each.status == DocumentStatus.FAILED)
    assert (failed.error_code, failed.chunks_embedded) == ("embedding_failed", 0)
    assert failed.error_message
    assert vectors_in(space) == 10
    assert work_on(actions.retry_document(failed)).status == DocumentStatus.READY
    assert is_complete(vendor_base)


def test_a_model_that_refuses_everything_ends_the_build_and_no_document(
    to_vendor: VectorSpace, upstream: FakeUpstream
) -> None:
    upstream.script("embeddings", *[Step(status=400)] * 50)
    assert building.build(to_vendor.pk) == []
    to_vendor.refresh_from_db()
    assert (to_vendor.status, to_vendor.error_code) == (SpaceStatus.BUILDING, "embedding_failed")
    assert upstream.stats.of("embeddings").requests < 10
    assert set(Document.objects.values_list("status", flat=True)) == {DocumentStatus.READY}


def test_a_refused_document_that_is_ready_again_is_waited_for(to_vendor: VectorSpace) -> None:
    refused = [document.pk for document in Document.objects.all()]
    assert len(spaces.lacking_documents(to_vendor, limit=9, refused=refused)) == 2
    Document.objects.filter(pk=refused[0]).update(status=DocumentStatus.FAILED)
    assert spaces.lacking_documents(to_vendor, limit=9, refused=refused) == refused[1:]
    assert len(spaces.lacking_documents(to_vendor, limit=9)) == 2


def test_only_who_holds_a_space_lets_it_take_over(to_vendor: VectorSpace) -> None:
    late = leases.take(VectorSpace, to_vendor.pk, leases.due())
    assert late is not None
    make_due(to_vendor)
    assert building.build(to_vendor.pk) != []
    with pytest.raises(LeaseLost):
        spaces.activate(late)
    active = leases.take(VectorSpace, to_vendor.pk, leases.due())
    assert active is not None
    with pytest.raises(LeaseLost):
        spaces.activate(active)
    assert VectorSpace.objects.count() == 1


@pytest.mark.parametrize("is_chosen", [True, False])
def test_a_model_that_is_edited_back_ends_what_was_begun(
    vendor_base: KnowledgeBase, vendor_embedder: Llm, is_chosen: bool
) -> None:
    work_on(add(vendor_base))
    if not is_chosen:
        KnowledgeBase.objects.update(embedder=None)
    for name, states in (
        ("better", [SpaceStatus.ACTIVE, SpaceStatus.BUILDING]),
        ("fake-model", [SpaceStatus.ACTIVE]),
    ):
        vendor_embedder.model_name = name
        vendor_embedder.save()
        upkeep.spaces_to_build(limit=9)
        assert [status for _name, status in states_of(vendor_base)] == states
    assert spaces.bases_to_reconcile() == []


def test_a_large_space_gets_its_index_before_it_is_used(
    to_vendor: VectorSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "INDEXED_FROM", 9)
    building.build(to_vendor.pk)
    to_vendor.refresh_from_db()
    assert (to_vendor.status, to_vendor.index_state) == (SpaceStatus.ACTIVE, "ready")


def test_it_tries_again_soon_after_what_was_missing_is_there(
    vendor_base: KnowledgeBase, vendor_embedder: Llm
) -> None:
    now = timezone.now()
    space = VectorSpace.objects.create(
        knowledge_base=vendor_base,
        embedder=vendor_embedder,
        fingerprint=spaces.fingerprint(vendor_embedder),
        status=SpaceStatus.BUILDING,
    )
    rule = OutboundRule.objects.create(network="127.0.0.1", port=11434)

    def is_hurried(*, failed: float, allowed: float, edited: float = 600) -> bool:
        """All in seconds ago."""
        ago = (now - datetime.timedelta(seconds=each) for each in (failed, allowed, edited))
        failed_at, allowed_at, edited_at = ago
        later = now + datetime.timedelta(hours=1)
        VectorSpace.objects.update(updated_at=failed_at, next_attempt_at=later)
        OutboundRule.objects.filter(pk=rule.pk).update(updated_at=allowed_at)
        Llm.objects.filter(pk=vendor_embedder.pk).update(updated_at=edited_at)
        spaces.hurry_changed()
        space.refresh_from_db()
        return space.next_attempt_at is None

    assert is_hurried(failed=60, allowed=30)
    assert not is_hurried(failed=60, allowed=120)
    # Workers may not know the rule yet, or did not when they failed.
    assert not is_hurried(failed=60, allowed=1)
    assert is_hurried(failed=28, allowed=30)
    assert is_hurried(failed=60, allowed=120, edited=30)
