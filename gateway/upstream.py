"""Asking the upstreams of a public model, one after the other, until one answers.

Nothing has been sent to the client meanwhile, so that a failure costs it time only.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from django.utils.translation import gettext as _

from core.errors import (
    AppError,
    InvalidRequest,
    OutboundRefused,
    PayloadTooLarge,
    ProviderError,
    RateLimited,
    ResponseTooLarge,
    Unavailable,
)
from core.loops import PerLoop
from core.wire import Response, Timeouts, WireError, wire
from gateway import metrics
from gateway.dialects.failures import without_secrets
from gateway.metering import meter
from gateway.neutral import Failed
from gateway.routing import Health, attempts
from gateway.types import Metered, Target

T = TypeVar("T")
Headers = tuple[tuple[bytes, bytes], ...]
logger = logging.getLogger(__name__)

# A model may think for minutes before the first word of a whole answer.
WHOLE = Timeouts(connect_s=5.0, head_s=600.0, idle_s=120.0)
STREAMED = Timeouts(connect_s=5.0, head_s=120.0, idle_s=120.0)
# The same while there is somebody else to ask.
WHOLE_OR_NEXT = Timeouts(connect_s=3.0, head_s=120.0, idle_s=120.0)
STREAMED_OR_NEXT = Timeouts(connect_s=3.0, head_s=30.0, idle_s=120.0)
# An upstream that was silent for so long when the client gave up has failed, too.
_SILENCE_S = 10.0
MAX_ERROR_BYTES = 65_536
_MAX_NOTE_CHARS = 300
MAX_ANSWER_BYTES = 64 * 2**20
# What an upstream that is asked a second time is given to recover; a longer wait is the client's.
_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0
# Our key, our bill or our name for the model is wrong there; another upstream may do better.
_OURS_TO_MEND = frozenset({401, 402, 403, 404})
# What else a vendor may not find, in the words of its refusal.
_NAMED_BY_CLIENTS = re.compile(rb"(?i)\b(?:file|container|skill)(?:_id|s)?\b")


class Failing(Exception):
    """An upstream did not answer.

    `is_service`: not for what it was asked, so another may. `is_lasting`: it will not answer the
    next time either, as our account or the model's name is wrong. With an `error` it was not even
    asked: its dialect has no words for the request, as the error tells the client. `note` says more
    to operators than clients are told.
    """

    def __init__(
        self,
        failed: Failed,
        *,
        is_service: bool,
        is_lasting: bool = False,
        retry_after_s: float | None = None,
        error: AppError | None = None,
        note: str = "",
    ) -> None:
        super().__init__(failed.message)
        self.note = note or failed.message
        self.error = error
        self.failed = failed
        self.is_service = is_service
        self.is_lasting = is_lasting
        self.retry_after_s = retry_after_s


async def _nothing_to_close(_health: Health) -> None:
    pass


_HEALTH: PerLoop[Health] = PerLoop(Health, _nothing_to_close)


async def first_answer(
    targets: Sequence[Target],
    metered: Metered,
    ask: Callable[[Target, bool], Awaitable[T]],
) -> T:
    """What the first target that answers says. Raises the AppError of the last that did not.

    `ask` is told whether there is another to ask instead, so that it need not wait for long.
    """
    health = _HEALTH.get()
    order = attempts(health.order(targets, time.monotonic()))
    last: Failing | None = None
    for number, target in enumerate(order):
        if last is not None and target is order[number - 1] and not await _may_repeat(last):
            break
        metered.attempts += 1
        metered.target_row, metered.route_id = target.row_id, target.route_id
        asked_at = time.monotonic()
        try:
            answer = await ask(target, any(each is not target for each in order[number + 1 :]))
        except asyncio.CancelledError:
            if time.monotonic() - asked_at > _SILENCE_S:
                health.failed(target, time.monotonic())
                text = _("It said nothing until the client gave up.")
                meter().note_failure(target, text, is_lasting=False)
            raise
        except Failing as failing:
            last = failing
            if failing.error is not None:
                continue
            if not failing.is_service:
                health.succeeded(target)
                break
            health.failed(target, time.monotonic())
            metrics.upstream_failed(target.row_id)
            meter().note_failure(target, failing.note, is_lasting=failing.is_lasting)
        else:
            health.succeeded(target)
            return answer
    assert last is not None
    raise as_error(last)


async def _may_repeat(last: Failing) -> bool:
    """Whether the only target is worth asking again; waits first."""
    wait_s = _PAUSE_S if last.retry_after_s is None else last.retry_after_s
    if last.is_lasting or wait_s > _LONGEST_PAUSE_S:
        return False
    await asyncio.sleep(wait_s)
    return True


async def send(
    target: Target,
    body: Sequence[bytes | memoryview],
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    timeouts: Timeouts,
    decode_error: Callable[[int, bytes], Failed],
    below: str = "",
) -> Response:
    """The head of a good answer. `below` goes on the target's path, `headers` before its own.

    Raises Failing.
    """
    assert target.origin is not None
    try:
        response = await wire().send(
            "POST",
            target.origin,
            target.path + below,
            headers=_headers(target.headers, tuple(headers)),
            body=body,
            timeouts=timeouts,
        )
    except WireError as error:
        raise broken(error) from error
    except OutboundRefused as error:
        failed = Failed("upstream_error", str(error.message))
        raise Failing(failed, is_service=True) from error
    if 200 <= response.status < 300:
        return response
    raise await _refused(target, response, decode_error)


@lru_cache(maxsize=256)
def _headers(own: Headers, given: Headers) -> Headers:
    """What the target is told; where both say something the client is right."""
    said = {name for name, _value in given}
    return (*_JSON_HEADERS, *(header for header in own if header[0] not in said), *given)


_JSON_HEADERS: Headers = ((b"content-type", b"application/json"), (b"accept", b"*/*"))


async def _refused(
    target: Target, response: Response, decode_error: Callable[[int, bytes], Failed]
) -> Failing:
    status = response.status
    retry_after_s = _seconds(response.header(b"retry-after"))
    try:
        async with response:
            body = await response.read(MAX_ERROR_BYTES)
    except (WireError, ResponseTooLarge):
        body = b""
    if key := target.spec.endpoint.api_key.strip():
        # Some vendors repeat the key that they refuse.
        body = body.replace(key.encode(), b"...")
    if 300 <= status < 400:
        failed = Failed("upstream_error", _("The model's server redirects elsewhere."))
        return Failing(failed, is_service=True, is_lasting=True)
    if status == 404 and _NAMED_BY_CLIENTS.search(body):
        # Something that the request names is not there: no fault of the model's, nor of ours.
        return Failing(decode_error(400, body), is_service=False)
    is_lasting = status in _OURS_TO_MEND
    return Failing(
        decode_error(status, body),
        note=_note(status, body),
        is_service=is_lasting or status in (408, 429) or status >= 500,
        is_lasting=is_lasting,
        retry_after_s=retry_after_s,
    )


def _note(status: int, body: bytes) -> str:
    """An upstream's refusal in its own words, as far as they can be shown to operators."""
    told = without_secrets(" ".join(body.decode(errors="replace").split()))
    return f"HTTP {status}: {told[:_MAX_NOTE_CHARS]}"


def _seconds(value: bytes | None) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None


async def read(response: Response) -> bytes:
    """The whole body of a good answer. Raises Failing."""
    try:
        # However this ends, it leaves nothing to close.
        return await response.read(MAX_ANSWER_BYTES)
    except WireError as error:
        raise broken(error) from error
    except ResponseTooLarge as error:
        failed = Failed("upstream_error", str(error.message))
        raise Failing(failed, is_service=True) from error


def told(failed: Failed) -> Failing:
    """A failure that came in the place of a good answer."""
    return Failing(failed, is_service=failed.status in (408, 429) or failed.status >= 500)


def broken(error: WireError) -> Failing:
    """A connection that could not be made, or broke."""
    if error.is_timeout:
        text = _("The model did not answer in time.")
    elif error.stage == "connect":
        text = _("The model cannot be reached.")
    else:
        text = _("The connection to the model broke.")
    return Failing(Failed("upstream_error", text), is_service=True)


def as_error(failing: Failing) -> AppError:
    """What the client is told of it."""
    if failing.error is not None:
        return failing.error
    failed, wait = failing.failed, failing.retry_after_s
    retry_after = None if wait is None else max(1, round(wait))
    match failed.status:
        case 413:
            return PayloadTooLarge(failed.message)
        case 429:
            return RateLimited(failed.message, retry_after=retry_after or 1)
        case 503 | 529:
            return Unavailable(failed.message, code="overloaded", retry_after=retry_after or 1)
        case status if 400 <= status < 500:
            return InvalidRequest(failed.message)
        case _:
            return ProviderError(failed.message, is_permanent=False, retry_after=retry_after)
