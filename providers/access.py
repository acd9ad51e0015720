"""Which models somebody may see, use and change."""

from __future__ import annotations

from django.db.models import Q
from django.utils.translation import gettext as _

from accounts.principals import Principal
from core.errors import Conflict, Forbidden, NotFound
from core.models import OwnedQuerySet
from providers.models import Asr, Llm, LlmType, ModelRow, Voice
from providers.specs import is_usable

LLM_NOT_FOUND = "LLM_NOT_FOUND"
ASR_NOT_FOUND = "ASR_NOT_FOUND"
VOICE_NOT_FOUND = "VOICE_NOT_FOUND"


def visible_llms(principal: Principal) -> OwnedQuerySet[Llm]:
    """Own language, embedding and rerank models and the system's; operators see all."""
    return Llm.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def visible_asrs(principal: Principal) -> OwnedQuerySet[Asr]:
    """Own recognisers and the system's; operators see all."""
    return Asr.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def visible_voices(principal: Principal) -> OwnedQuerySet[Voice]:
    """Own voices and the system's; operators see all."""
    return Voice.objects.visible_to(principal.user_id, is_operator=principal.is_operator)


def access_llm(principal: Principal, llm_id: str, *, type: LlmType | None = None) -> Llm:
    """The model, if it may be seen (and is of the type). Raises NotFound for all other ids."""
    rows = visible_llms(principal)
    row = (rows.filter(type=type) if type else rows).select_related("provider").with_id(llm_id)
    if row is None:
        raise NotFound(_("Language model not found."), code=LLM_NOT_FOUND)
    return row


def named_llm(principal: Principal, key: str) -> Llm:
    """The visible language model of that id, else of that name, else with that other name.

    Names are looked up among the principal's own models and the system's, also for operators, who
    mean none of the models that others keep under the name. Raises NotFound.
    """
    rows = visible_llms(principal).filter(type=LlmType.TEXT)
    row = rows.select_related("provider").with_id(key)
    if row is None and "\0" not in key:
        named = Q(name=key) | Q(aliases__contains=[key])
        shared = Llm.objects.visible_to(principal.user_id, is_operator=False)
        found = shared.filter(named, type=LlmType.TEXT).select_related("provider")
        # One that can be used goes before one that cannot, an own one before the system's.
        row = min(
            found.order_by("created_at", "pk"),
            key=lambda each: (each.name != key, not is_usable(each), each.is_system),
            default=None,
        )
    if row is None:
        raise NotFound(_("Language model not found."), code=LLM_NOT_FOUND)
    return row


def access_asr(principal: Principal, asr_id: str) -> Asr:
    """The recogniser, if it may be seen. Raises NotFound for all other ids."""
    rows = visible_asrs(principal)
    row = rows.select_related("provider").with_id(asr_id)
    if row is None:
        raise NotFound(_("Speech recogniser not found."), code=ASR_NOT_FOUND)
    return row


def access_voice(principal: Principal, voice_id: str) -> Voice:
    """The voice, if it may be seen. Raises NotFound for all other ids."""
    rows = visible_voices(principal)
    row = rows.select_related("provider").with_id(voice_id)
    if row is None:
        raise NotFound(_("Voice not found."), code=VOICE_NOT_FOUND)
    return row


def may_edit(principal: Principal, row: ModelRow) -> bool:
    """Whether somebody who sees the row may also change it."""
    return principal.is_operator or row.owner_id == principal.user_id


def require_editable(principal: Principal, row: ModelRow) -> None:
    """Raises Forbidden for the system's rows, unless an operator asks."""
    if not may_edit(principal, row):
        raise Forbidden(_("System models can be changed by operators only."))


def require_usable(principal: Principal, row: ModelRow) -> None:
    """Raises Conflict for a disabled model; those who may enable it may also try it before."""
    if not is_usable(row) and not may_edit(principal, row):
        raise Conflict(_("This model is disabled."))
