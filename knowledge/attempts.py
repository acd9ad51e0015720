"""Attempts at a document: begun with a stage, ended by what came of it, repeated where it may pass.

Each is a StageRun. Five attempts in a row that brought nothing end the document; an attempt at
embedding that stored a batch before it failed brought something.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

from django.db import Error as DatabaseFault
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from core.errors import ProviderError
from knowledge import leases
from knowledge.leases import Lease, LeaseLost
from knowledge.models import Document, DocumentStatus, Stage, StageRun
from knowledge.parse import ParseFailed
from knowledge.spaces import NoEmbedder
from knowledge.wording import WORKER_DIED

MAX_ATTEMPTS = 5
# A reader that was too slow twice will be too slow again.
MAX_TIMED_OUT = 2
BACKOFF_S = (10, 30, 120, 600)
LONGEST_WAIT_S = 3600

NO_EMBEDDER = "no_embedder"
WORKER_LOST = "worker_lost"
WORKER_STOPPED = "worker_stopped"

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, in words for whoever uploaded the document."""

    code: str
    message: str
    is_permanent: bool = False
    retry_after_s: int | None = None
    max_attempts: int = MAX_ATTEMPTS


def failure_of(error: Exception) -> Failure:
    """What an exception means for a document. One that nobody foresaw may pass, and is logged."""
    match error:
        case ParseFailed():
            most = MAX_TIMED_OUT if error.code == "timed_out" else MAX_ATTEMPTS
            return Failure(error.code, error.message, error.is_permanent, max_attempts=most)
        case ProviderError():
            return Failure("embedding_failed", error.message, error.is_permanent, error.retry_after)
        case NoEmbedder():
            return Failure(NO_EMBEDDER, str(error), is_permanent=True)
        case FileNotFoundError():
            message = _("The file is no longer in the storage.")
            return Failure("missing", message, is_permanent=True)
        case OperationalError() | InterfaceError():
            return Failure("database_away", _("The database did not answer."))
        case OSError():
            logger.error("A document could not be worked on: %s", error)
            return Failure("storage_failed", _("The storage did not answer."))
    logger.error("An attempt at a document failed", exc_info=error)
    return Failure("internal_error", _("Something went wrong on our side; the log has more."))


@transaction.atomic
def begin(document_id: str, stage: Stage, condition: Q, **values: Any) -> Lease[Document] | None:
    """Takes the document for an attempt that begins with the stage, and notes that it began.

    None where the condition does not hold, somebody else has it, its time has not come, or so many
    attempts died with their workers that it is given up.
    """
    lease = leases.take(Document, document_id, condition, **values)
    if lease is None:
        return None
    document = lease.lock()
    lost = _open_runs(document).update(
        ended_at=Now(), error_code=WORKER_LOST, error_message=_("The worker died.")
    )
    if lost and _in_vain(document, stage, document.attempt - 1) >= MAX_ATTEMPTS:
        message = WORKER_DIED % {"count": MAX_ATTEMPTS}
        _give_up(lease, Failure(WORKER_LOST, message, is_permanent=True))
        return None
    _start(document, stage)
    return lease


def proceed(lease: Lease[Document], stage: Stage, *, items: int, **values: Any) -> None:
    """Ends the attempt's present run, which brought `items`, and begins the next stage."""
    with transaction.atomic():
        document = lease.lock()
        _open_runs(document).update(ended_at=Now(), items=items)
        lease.change(status=stage.value, **values)
        _start(document, stage)


def finish(lease: Lease[Document], *, items: int, **values: Any) -> None:
    """Ends the attempt well and gives the document back, its errors forgotten.

    Call it in the transaction whose work it ends. Raises LeaseLost.
    """
    document = lease.lock()
    _open_runs(document).update(ended_at=Now(), items=items)
    lease.release(error_code="", error_message="", **values)


def note_items(document: Document, items: int) -> None:
    """Writes what the present run has brought so far."""
    _open_runs(document).update(items=items)


def stop(lease: Lease[Document]) -> None:
    """Gives the document back for another worker, as this one was told to end."""
    with transaction.atomic():
        document = lease.lock()
        _open_runs(document).update(
            ended_at=Now(),
            error_code=WORKER_STOPPED,
            error_message=_("The worker was stopped; another goes on."),
        )
        lease.release()


def fail(lease: Lease[Document], stage: Stage, failure: Failure) -> None:
    """Ends the attempt badly: the document is tried again later, or has failed."""
    with transaction.atomic():
        document = lease.lock()
        _open_runs(document).update(
            ended_at=Now(), error_code=failure.code, error_message=failure.message[:500]
        )
        in_vain = _in_vain(document, stage, document.attempt)
        if failure.is_permanent or in_vain >= failure.max_attempts:
            _give_up(lease, failure)
            return
        wait = datetime.timedelta(seconds=_wait_s(in_vain, failure.retry_after_s))
        again = DocumentStatus.EMBEDDING if stage == Stage.EMBEDDING else DocumentStatus.UPLOADED
        lease.release(
            status=again,
            next_attempt_at=Now() + wait,
            error_code=failure.code,
            error_message=failure.message[:500],
        )


def guarded(lease: Lease[Document], stage: Stage, work: Callable[[], None]) -> None:
    """Does the work of an attempt; whatever goes wrong is on the row afterwards.

    Ends quietly where the document was deleted, cancelled or taken over. Where the database is away
    nothing can be written; the lease runs out, and the sweeper finds the document.
    """
    try:
        try:
            with lease.kept():
                work()
        except LeaseLost:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost edge of a task's work
            fail(lease, stage, failure_of(error))
    except LeaseLost:
        logger.info("A document is no longer this worker's; its work was dropped")
    except DatabaseFault as error:
        logger.error("What came of a document could not be written: %s", error)


def _start(document: Document, stage: Stage) -> None:
    StageRun.objects.create(document=document, stage=stage, attempt=document.attempt)


def _open_runs(document: Document) -> QuerySet[StageRun]:
    return StageRun.objects.filter(document=document, ended_at=None)


def _in_vain(document: Document, stage: Stage, attempts: int) -> int:
    """How many of the latest attempts at the stage failed in a row and brought nothing."""
    is_embedding = stage == Stage.EMBEDDING
    in_vain = 0
    for run in _latest_runs(document, stage, attempts):
        if is_embedding and run.items:
            break
        if run.error_code not in ("", WORKER_STOPPED):
            in_vain += 1
    return in_vain


def _latest_runs(document: Document, stage: Stage, attempts: int) -> Iterator[StageRun]:
    """The stage's runs since its attempts were last counted from one, the latest first."""
    stages = [Stage.EMBEDDING] if stage == Stage.EMBEDDING else [Stage.PARSING, Stage.CHUNKING]
    before = (attempts + 1, 0)
    for run in document.stage_runs.filter(stage__in=stages).order_by("-pk")[: 2 * attempts]:
        place = (run.attempt, stages.index(Stage(run.stage)))
        if place >= before:
            return
        before = place
        yield run


def _wait_s(in_vain: int, retry_after_s: int | None) -> float:
    """Seconds until the next attempt, spread so that many documents do not come back at once."""
    backoff = BACKOFF_S[min(max(in_vain, 1), len(BACKOFF_S)) - 1] * random.uniform(0.8, 1.2)  # noqa: S311 - no secret
    return min(LONGEST_WAIT_S, max(backoff, retry_after_s or 0))


def _give_up(lease: Lease[Document], failure: Failure) -> None:
    lease.release(
        status=DocumentStatus.FAILED,
        error_code=failure.code,
        error_message=failure.message[:500],
    )
