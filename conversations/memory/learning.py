"""Learning about a user from what was said: the model is asked, and what it proposes is kept.

Facts are written for one user and assistant at a time. A fact that is known in other words gets the
newer ones; beyond a number, those that were not heard for longest go.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from django.db import connection, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Least
from django.utils import timezone
from django.utils.translation import gettext as _

from assistants.runtime import load_runtime
from conversations.journal import MAX_COUNT
from conversations.memory import notes
from conversations.memory.notes import Change, Line
from conversations.memory.recall import Fact, Vector, Whose, relevant
from conversations.models import Conversation, Memory, Message, Role
from core.errors import NotFound, ProviderError
from core.loops import wait_for
from knowledge.chunks import unit_vectors
from knowledge.embedding import embed
from knowledge.lexemes import vector_literal
from knowledge.spaces import fingerprint_of
from providers.registry import chat_model, embedding_model
from providers.types import ChatEnd, ChatRequest, EmbedderSpec, LlmSpec, TextPart, Usage

logger = logging.getLogger(__name__)

MODEL_WITHIN_S = 60.0
EMBED_WITHIN_S = 20.0
MAX_ANSWER_CHARS = 20_000
# Some models think although they are told not to.
MAX_ANSWER_TOKENS = 2_000
# Of what is known, the model sees so many that may matter to what was said.
SHOWN_FACTS = 20
MAX_FACTS = 500
# From this cosine on, two facts say the same.
SAME_FROM = 0.92
# Facts without a vector of the present model that get one each time.
REFRESHED = 32
BUILTIN = "builtin"
# Under this key of the record of a conversation, operators find why nothing was learnt.
PROBLEM_KEY = "memory_error"

# Two workers must not both find a fact unknown.
_LOCK = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"
_NOTE_PROBLEM = """
update conversations_call set metadata = metadata || %s::jsonb where conversation_id = %s
"""
_CLEAR_PROBLEM = """
update conversations_call set metadata = metadata - %s
where conversation_id = %s and metadata ? %s
"""


@dataclasses.dataclass(frozen=True, slots=True)
class _Lesson:
    """What there is to learn from, and with which models."""

    conversation_id: str
    whose: Whose
    lines: Sequence[Line]
    llm: LlmSpec
    embedder: EmbedderSpec | None

    @property
    def said(self) -> str:
        """The user's own words."""
        return "\n".join(line.text for line in self.lines if line.who == "user")


def learn(conversation_id: str, turn: int | None = None) -> int:
    """Learns from a turn, or from a whole conversation; how many facts were kept or changed.

    What the model took for it counts with the answer that it learns from.
    Raises ProviderError where the model fails. A failing embedding model leaves facts to their
    words.
    """
    lesson = _prepare(conversation_id, turn)
    if lesson is None:
        return 0
    spent: list[Usage] = []
    try:
        changes = wait_for(_proposed(lesson, spent))
    finally:
        _count(conversation_id, turn, sum(spent, Usage()))
    vectors = wait_for(_vectors(lesson.embedder, [change.text for change in changes]))
    with transaction.atomic():
        done = _apply(lesson, list(zip(changes, vectors, strict=True)))
    _refresh_vectors(lesson)
    with connection.cursor() as cursor:
        cursor.execute(_CLEAR_PROBLEM, [PROBLEM_KEY, conversation_id, PROBLEM_KEY])
    return done


def note_problem(conversation_id: str, problem: str) -> None:
    """Tells operators, on the record of the conversation, why nothing was learnt in it."""
    logger.warning("Nothing is learnt in %s: %s", conversation_id, problem)
    with connection.cursor() as cursor:
        cursor.execute(_NOTE_PROBLEM, [json.dumps({PROBLEM_KEY: problem[:300]}), conversation_id])


# --- What there is to learn from -----------------------------------------------------------------


def _prepare(conversation_id: str, turn: int | None) -> _Lesson | None:
    """None where nothing may be learnt: asked again here, as it may have been switched off since.

    The built-in demo model is not asked: it would give an answer, but none that means anything.
    """
    row = Conversation.objects.filter(pk=conversation_id).first()
    if row is None or row.owner_id is None or row.assistant_id is None:
        return None
    try:
        runtime = load_runtime(row.assistant_id, caller_id=row.owner_id)
    except NotFound:
        return None
    if not runtime.remembers or runtime.llm is None or runtime.llm.endpoint.vendor == BUILTIN:
        return None
    lines = notes.read_lines(_said(conversation_id, turn))
    if not any(line.who == "user" for line in lines):
        return None
    whose = Whose(row.owner_id, row.assistant_id)
    return _Lesson(conversation_id, whose, lines, runtime.llm, runtime.embedder)


def _said(conversation_id: str, turn: int | None) -> list[Line]:
    """What user and assistant said. What was sent along, found or returned by tools stays out."""
    rows = Message.objects.filter(
        conversation_id=conversation_id, role__in=(Role.USER, Role.ASSISTANT)
    )
    if turn is not None:
        rows = rows.filter(turn=turn)
    said = rows.order_by("seq").values_list("role", "text")
    return [Line(cast(Literal["user", "assistant"], role), text) for role, text in said]


async def _proposed(lesson: _Lesson, spent: list[Usage]) -> list[Change]:
    """What the model would change, judged; what it took goes to `spent`."""
    known = await _known(lesson)
    today = timezone.localdate()
    asked = ChatRequest(
        messages=notes.question(lesson.lines, [fact.text for fact in known], today=today),
        temperature=lesson.llm.temperature,
        max_tokens=MAX_ANSWER_TOKENS,
        # Some vendors refuse the word where the model does not know it.
        thinking=False if lesson.llm.supports_thinking else None,
    )
    answer = ""
    try:
        async with (
            asyncio.timeout(MODEL_WITHIN_S),
            chat_model(lesson.llm).stream(asked) as parts,
        ):
            async for part in parts:
                if isinstance(part, ChatEnd):
                    spent.append(part.usage)
                answer += part.text if isinstance(part, TextPart) else ""
                if len(answer) > MAX_ANSWER_CHARS:
                    break
        return notes.changes_in(answer, [fact.id for fact in known], lesson.said)
    except TimeoutError:
        text = _("The model did not answer in time.")
        raise ProviderError(text, is_permanent=False) from None
    except notes.Unreadable:
        text = _("The model's notes on the user cannot be read.")
        raise ProviderError(text, is_permanent=True) from None


def _count(conversation_id: str, turn: int | None, usage: Usage) -> None:
    """Adds to what the answer took, which the sums of its conversation and its owner hold."""
    answers = Message.objects.filter(conversation_id=conversation_id, role=Role.ASSISTANT)
    if turn is not None:
        answers = answers.filter(turn=turn)
    last = answers.exclude(model_name="").order_by("-seq").values("pk")[:1]
    Message.objects.filter(pk__in=list(last.values_list("pk", flat=True))).update(
        input_tokens=Least(F("input_tokens") + usage.input_tokens, MAX_COUNT),
        output_tokens=Least(F("output_tokens") + usage.output_tokens, MAX_COUNT),
    )


async def _known(lesson: _Lesson) -> list[Fact]:
    return await relevant(lesson.whose, lesson.said, lesson.embedder, limit=SHOWN_FACTS)


async def _vectors(spec: EmbedderSpec | None, texts: Sequence[str]) -> list[Vector | None]:
    """A vector for each text that is one; None where there is no model or it fails."""
    wanted = [text for text in texts if text]
    if spec is None or not wanted:
        return [None] * len(texts)
    try:
        async with asyncio.timeout(EMBED_WITHIN_S):
            rows = (await embed(embedding_model(spec), wanted)).vectors
    except (TimeoutError, ProviderError) as error:
        logger.warning("embedding model %s: facts are kept without vectors: %r", spec.name, error)
        return [None] * len(texts)
    fingerprint = fingerprint_of(spec)
    made = (Vector(row, fingerprint) for row in unit_vectors(rows))
    return [next(made) if text else None for text in texts]


# --- What is kept --------------------------------------------------------------------------------


def _apply(lesson: _Lesson, changes: Sequence[tuple[Change, Vector | None]]) -> int:
    """Makes the changes, in the caller's transaction; how many were made."""
    whose = lesson.whose
    with connection.cursor() as cursor:
        cursor.execute(_LOCK, [f"memory {whose.owner_id} {whose.assistant_id}"])
    conversation = Conversation.objects.select_for_update(of=("self",)).filter(
        pk=lesson.conversation_id, assistant__enable_memory=True
    )
    # Forgotten meanwhile, or not wanted any more.
    if conversation.first() is None:
        return 0
    done = sum(_make(lesson, change, vector) for change, vector in changes)
    newest = _facts(whose).order_by("-updated_at", "pk")[:MAX_FACTS].values("pk")
    _facts(whose).exclude(pk__in=list(newest.values_list("pk", flat=True))).delete()
    return done


def _make(lesson: _Lesson, change: Change, vector: Vector | None) -> bool:
    facts = _facts(lesson.whose)
    known = facts.filter(pk=change.fact_id).first() if change.fact_id else None
    if not change.text:
        return known is not None and bool(known.delete()[0])
    digest = notes.digest(change.text)
    if (same := facts.filter(digest=digest).first()) is not None:
        # Heard again, and here last; what it replaces, it says already.
        same.conversation_id = lesson.conversation_id
        same.save(update_fields=["conversation", "updated_at"])
        if known is not None and known.pk != same.pk:
            known.delete()
        return True
    row = known or _alike(lesson.whose, vector) or _new(lesson.whose)
    row.conversation_id = lesson.conversation_id
    row.text, row.digest, row.lexemes = change.text, digest, vector_literal(change.text)
    row.embedding = vector.numbers if vector else None
    row.fingerprint = vector.fingerprint if vector else ""
    row.save()
    return True


def _facts(whose: Whose) -> QuerySet[Memory]:
    return Memory.objects.filter(owner_id=whose.owner_id, assistant_id=whose.assistant_id)


def _new(whose: Whose) -> Memory:
    return Memory(owner_id=whose.owner_id, assistant_id=whose.assistant_id)


def _alike(whose: Whose, vector: Vector | None) -> Memory | None:
    """The known fact that says the same in other words, if there is one."""
    if vector is None:
        return None
    comparable = _facts(whose).filter(fingerprint=vector.fingerprint, embedding__isnull=False)
    best, found = SAME_FROM, None
    for row in comparable:
        numbers = np.asarray(row.embedding, dtype=np.float32)
        if (
            numbers.shape == vector.numbers.shape
            and (near := float(numbers @ vector.numbers)) > best
        ):
            best, found = near, row
    return found


def _refresh_vectors(lesson: _Lesson) -> None:
    """Gives facts a vector that have none of the present model: it failed, or was changed."""
    if lesson.embedder is None:
        return
    fingerprint = fingerprint_of(lesson.embedder)
    stale = list(_facts(lesson.whose).exclude(fingerprint=fingerprint)[:REFRESHED])
    vectors = wait_for(_vectors(lesson.embedder, [row.text for row in stale]))
    for row, vector in zip(stale, vectors, strict=True):
        if vector is not None:
            # Unless it got another wording meanwhile. When it was heard stays as it is.
            Memory.objects.filter(pk=row.pk, digest=row.digest).update(
                embedding=vector.numbers, fingerprint=vector.fingerprint
            )
