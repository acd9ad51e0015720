"""Tests a language model: whether it answers, takes its temperature, and streams."""

from __future__ import annotations

import dataclasses
import time

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts.principals import Principal
from core.errors import InvalidRequest, NotFound
from providers import trials
from providers.access import LLM_NOT_FOUND, access_llm, require_usable
from providers.models import Llm, LlmType
from providers.registry import chat_model
from providers.specs import llm_spec
from providers.types import ChatRequest, LlmSpec, TextPart, UserMessage
from tooling.autotest.cases import Asker, Check, CheckFailed, Prepared, Tester
from tooling.autotest.findings import one_of, prepared_model

_WORD = "Reply with the single word: OK"
_MANY_WORDS = "Count from 1 to 20, separated by commas."
# Models that think first spend tokens on it that the answer then lacks.
_MAX_TOKENS = 512


def access(principal: Principal, llm_id: str) -> Llm:
    """The model, if the principal may have it tested. Raises NotFound and Conflict."""
    try:
        row = access_llm(principal, llm_id)
    except NotFound:
        raise NotFound(_("LLM Model not found"), code=LLM_NOT_FOUND) from None
    require_usable(principal, row)
    return row


def prepare(llm_id: str, asker: Asker) -> Prepared | None:
    row = one_of(Llm, llm_id)
    if row is None:
        return None
    asked = _Asked(llm_spec(row), LlmType(row.type))
    return prepared_model(
        row,
        Check("API Connection", asked.connects),
        Check("Temperature Setting", asked.takes_temperature),
        Check("Streaming Support", asked.streams),
    )


class _Asked:
    """The model during a test: what cannot be connected to is not asked again."""

    def __init__(self, spec: LlmSpec, type_: LlmType) -> None:
        self._spec = spec
        self._type = type_
        self._is_connected = False

    async def connects(self) -> str:
        if self._type != LlmType.TEXT:
            raise InvalidRequest(_("Only text models can chat."), param="type")
        # Without a temperature: whether that is taken is found out next.
        bare = dataclasses.replace(self._spec, temperature=None)
        reply = await trials.ask(bare, _WORD, max_tokens=_MAX_TOKENS)
        self._is_connected = True
        return _("Latency: %(ms)dms") % {"ms": reply.latency_ms}

    async def takes_temperature(self) -> str:
        self._require_connection()
        temperature = self._spec.temperature
        if temperature is None:
            return _("None is set; the vendor's default is used.")
        await trials.ask(self._spec, _WORD, max_tokens=_MAX_TOKENS, temperature=temperature)
        return f"temperature={temperature:g}"

    async def streams(self) -> str:
        self._require_connection()
        request = ChatRequest(
            (UserMessage(_MANY_WORDS),),
            temperature=self._spec.temperature,
            max_tokens=_MAX_TOKENS,
        )
        started, first_ms, texts = time.monotonic(), 0, 0
        async with chat_model(self._spec).stream(request) as parts:
            async for part in parts:
                if isinstance(part, TextPart) and part.text:
                    first_ms = first_ms or round((time.monotonic() - started) * 1000)
                    texts += 1
        if not texts:
            raise CheckFailed(_("No text was received."))
        text = ngettext("Received %(count)d chunk", "Received %(count)d chunks", texts)
        return _("%(received)s, the first after %(ms)dms") % {
            "received": text % {"count": texts},
            "ms": first_ms,
        }

    def _require_connection(self) -> None:
        if not self._is_connected:
            raise CheckFailed(_("Not tried: there is no connection."))


TESTER = Tester(
    existence="Model Existence",
    missing=gettext_lazy("Model not found"),
    access=access,
    prepare=prepare,
)
