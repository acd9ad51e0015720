"""Vector spaces: which model a base's vectors are of, and how another model takes over.

A base searches its active space. Whatever else it comes to want is built in a space beside it,
which takes over once no chunk lacks a vector in it; documents that arrive meanwhile go to the
active one first, and are part of what the other still lacks.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Collection

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from core.http import OPERATOR_RULES_FRESH_S
from knowledge import chunks, locks
from knowledge.leases import Lease, LeaseLost
from knowledge.models import (
    ChunkVector,
    DocumentStatus,
    KnowledgeBase,
    SpaceStatus,
    VectorSpace,
)
from providers.models import Llm, OutboundRule
from providers.specs import default_embedder, embedder_spec, is_usable
from providers.types import EmbedderSpec

# A document that is being embedded finishes in whichever space is active then.
_LACKING = """
select distinct c.document_id from knowledge_chunk c
join knowledge_document d on d.id = c.document_id and d.status <> %s
  and (d.status = %s or d.id <> all(%s::text[]))
where c.knowledge_base_id = %s
  and not exists (select from knowledge_chunkvector v where v.space_id = %s and v.chunk_id = c.id)
limit %s
"""
# What failed for want of vectors, and has all of them now.
_HEAL = """
update knowledge_document d
set status = %s, chunks_embedded = chunks_total, error_code = '', error_message = '',
    processed_at = now(), updated_at = now()
where d.knowledge_base_id = %s and d.status = %s and d.chunks_total > 0
  and (select r.stage from knowledge_stagerun r where r.document_id = d.id
       order by r.id desc limit 1) = %s
  and not exists (
    select from knowledge_chunk c where c.document_id = d.id and not exists (
      select from knowledge_chunkvector v where v.space_id = %s and v.chunk_id = c.id))
"""


class NoEmbedder(Exception):
    """The base has no embedding model that is enabled, so that no vectors can be made."""

    def __str__(self) -> str:
        return _(
            "No embedding model is enabled for this knowledge base. The text is found by its"
            " words only."
        )


def fingerprint(llm: Llm) -> str:
    """Changes with everything that decides a model's vectors; keys and names do not."""
    return fingerprint_of(embedder_spec(llm))


def fingerprint_of(spec: EmbedderSpec) -> str:
    """As `fingerprint`, of a model that is ready to be asked."""
    endpoint = spec.endpoint
    parts = (endpoint.vendor, endpoint.base_url.rstrip("/"), endpoint.model_name, spec.dimensions)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_stale(space: VectorSpace) -> bool:
    """Whether the model's row was edited so that it would give other vectors than these."""
    return fingerprint(space.embedder) != space.fingerprint


def is_ready_for_use(space: VectorSpace) -> bool:
    """Whether vectors that the model gives now can be compared with, and added to, these."""
    return is_usable(space.embedder) and not is_stale(space)


def active_space(base: KnowledgeBase) -> VectorSpace | None:
    """The space that the base searches; None before the first document was embedded."""
    return _space(base.pk, SpaceStatus.ACTIVE)


def building_space(base: KnowledgeBase) -> VectorSpace | None:
    """The space that is to take over, where there is one."""
    return _space(base.pk, SpaceStatus.BUILDING)


def _space(base_id: str, status: SpaceStatus) -> VectorSpace | None:
    spaces = VectorSpace.objects.select_related("embedder__provider")
    return spaces.filter(knowledge_base=base_id, status=status).first()


def wanted_embedder(base: KnowledgeBase, active: VectorSpace | None) -> Llm | None:
    """The base's own model; else the one that it began with; else its owner's default."""
    if base.embedder_id is not None:
        row = Llm.objects.select_related("provider").get(pk=base.embedder_id)
    elif active is not None:
        row = active.embedder
    else:
        return default_embedder(base.owner_id)
    return row if is_usable(row) else None


def target_space(base_id: str) -> VectorSpace:
    """Where a document's vectors go now: the active space, or the one that replaces it.

    Makes the space where it is missing. Raises NoEmbedder; KnowledgeBase.DoesNotExist.
    """
    space = _usable_space(base_id)
    if space is None:
        reconcile(base_id)
        space = _usable_space(base_id)
    if space is None:
        raise NoEmbedder
    return space


def _usable_space(base_id: str) -> VectorSpace | None:
    for status in (SpaceStatus.ACTIVE, SpaceStatus.BUILDING):
        space = _space(base_id, status)
        if space is not None and is_ready_for_use(space):
            return space
    return None


@transaction.atomic
def reconcile(base_id: str) -> VectorSpace | None:
    """Makes the spaces of a base what they should be; the one that is to be built, if any.

    An active space without any vectors gives way at once. Raises KnowledgeBase.DoesNotExist.
    """
    base = KnowledgeBase.objects.select_for_update(no_key=True).get(pk=base_id)
    active = _space(base_id, SpaceStatus.ACTIVE)
    building = _space(base_id, SpaceStatus.BUILDING)
    wanted = wanted_embedder(base, active)
    if wanted is None:
        return None
    if _is_of(active, wanted):
        _drop(building)
        return None
    if active is not None and not ChunkVector.objects.filter(space=active).exists():
        _drop(active)
        active = None
    if active is None:
        _drop(building)
        _make(base, wanted, SpaceStatus.ACTIVE)
        return None
    if _is_of(building, wanted):
        return building
    _drop(building)
    return _make(base, wanted, SpaceStatus.BUILDING)


def _is_of(space: VectorSpace | None, embedder: Llm) -> bool:
    return (
        space is not None
        and space.embedder_id == embedder.pk
        and space.fingerprint == fingerprint(embedder)
    )


def _make(base: KnowledgeBase, embedder: Llm, status: SpaceStatus) -> VectorSpace:
    return VectorSpace.objects.create(
        knowledge_base=base, embedder=embedder, fingerprint=fingerprint(embedder), status=status
    )


def _drop(space: VectorSpace | None) -> None:
    if space is not None and VectorSpace.objects.select_for_update().filter(pk=space.pk).first():
        chunks.delete_spaces([space.pk])


def lacking_documents(
    space: VectorSpace, *, limit: int, refused: Collection[str] = ()
) -> list[str]:
    """Documents of the base with a chunk that the space has no vector of.

    Those that the model `refused` are left out, unless they are ready again by now.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _LACKING,
            [
                DocumentStatus.EMBEDDING,
                DocumentStatus.READY,
                list(refused),
                space.knowledge_base_id,
                space.pk,
                limit,
            ],
        )
        return [str(row[0]) for row in cursor.fetchall()]


@transaction.atomic
def activate(lease: Lease[VectorSpace], *, refused: Collection[str] = ()) -> list[int] | None:
    """Lets a complete building space take over; the ids of the spaces that it replaced.

    None where it lacks a vector by now, those of documents that the model `refused` apart.
    Documents finish while they hold their space, so that none is ready in a space that is being
    replaced without being counted here. Raises LeaseLost.
    """
    lease.check()
    base_id = lease.rows.values_list("knowledge_base_id", flat=True).first()
    held = list(
        VectorSpace.objects.filter(knowledge_base=base_id).order_by("pk").select_for_update()
    )
    space = lease.lock()
    if space.status != SpaceStatus.BUILDING:
        raise LeaseLost
    if lacking_documents(space, limit=1, refused=refused):
        return None
    replaced = [each.pk for each in held if each.pk != space.pk]
    chunks.delete_spaces(replaced)
    lease.release(status=SpaceStatus.ACTIVE, error_code="", error_message="")
    return replaced


@transaction.atomic
def heal_documents(space: VectorSpace) -> int:
    """Makes ready what failed to be embedded before and was embedded with the rest since."""
    locks.hold_base(space.knowledge_base_id)
    with connection.cursor() as cursor:
        cursor.execute(
            _HEAL,
            [
                DocumentStatus.READY,
                space.knowledge_base_id,
                DocumentStatus.FAILED,
                DocumentStatus.EMBEDDING,
                space.pk,
            ],
        )
        return int(cursor.rowcount)


def hurry_changed() -> int:
    """Lets spaces be tried now that failed before what they need was changed; how many.

    That is their model, its provider, and the private addresses that may be reached.
    """
    # Until then workers may not know a new rule, and fail for want of it once more.
    known_after = datetime.timedelta(seconds=2 * OPERATOR_RULES_FRESH_S)
    rules = OutboundRule.objects.filter(
        updated_at__gt=OuterRef("updated_at") - known_after, updated_at__lt=Now() - known_after
    )
    is_changed = (
        Q(embedder__updated_at__gt=F("updated_at"))
        | Q(embedder__provider__updated_at__gt=F("updated_at"))
        | Exists(rules)
    )
    waiting = VectorSpace.objects.filter(is_changed, next_attempt_at__gt=Now())
    ids = list(waiting.values_list("pk", flat=True))
    return VectorSpace.objects.filter(pk__in=ids).update(next_attempt_at=None)


def bases_to_reconcile() -> list[str]:
    """Bases with a space that may not be what they want: a few too many, never too few."""
    active = VectorSpace.objects.filter(
        knowledge_base=OuterRef("knowledge_base"), status=SpaceStatus.ACTIVE
    )
    suspects = (
        VectorSpace.objects.filter(
            Q(status=SpaceStatus.BUILDING)
            | Q(embedder__updated_at__gt=F("created_at"))
            | Q(embedder__provider__updated_at__gt=F("created_at"))
            | ~Q(knowledge_base__embedder=F("embedder"))
        )
        .select_related("embedder__provider", "knowledge_base")
        .annotate(begun=Subquery(active.values("embedder")))
    )
    unwanted = (
        space.knowledge_base_id
        for space in suspects
        if is_stale(space) or space.embedder_id != (space.knowledge_base.embedder_id or space.begun)
    )
    return list(dict.fromkeys(unwanted))
