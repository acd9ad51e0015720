"""An assistant as a conversation needs it: read once, frozen, without any ORM object."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

from django.conf import settings
from django.utils.translation import gettext as _

from assistants.access import SearchedBase, searched_bases, usable_mcp_servers, usable_tools
from assistants.models import Assistant, ConfigMode, FirstTurn, KnowledgeMode
from assistants.models import Language as AssistantLanguage
from assistants.opener import chosen_voice, fresh_opener_audio, normalise_calls
from core.errors import NotFound
from core.statements import prepared_cursor
from providers.specs import (
    asr_spec,
    default_asr,
    default_embedder,
    default_llm,
    embedder_spec,
    is_usable,
    llm_spec,
    reranker_spec,
    voice_spec,
)
from providers.types import (
    AsrSpec,
    BrainSpec,
    EmbedderSpec,
    LlmSpec,
    RerankerSpec,
    VoiceSpec,
)
from tooling.mcp.listing import mcp_specs
from tooling.models import Tool
from tooling.specs import named_apart, prefetch_parts, tool_spec
from tooling.types import ToolSpec

Language = Literal["zh", "en"]

__all__ = ["AssistantRuntime", "KnowledgeUse", "OpenerToolCall", "ToolSpec", "TurnTaking"]

# Of passages in one search; of a small model, never more than a quarter of what it can read.
PASSAGE_TOKENS = 3000


@dataclasses.dataclass(frozen=True, slots=True)
class OpenerToolCall:
    tool_name: str
    arguments: dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class TurnTaking:
    """When the assistant listens, answers and yields. Times in milliseconds."""

    can_be_interrupted: bool
    interruption_ms: int
    end_of_turn_silence_ms: int
    interim_transcripts: bool


@dataclasses.dataclass(frozen=True, slots=True)
class KnowledgeUse:
    """Which bases the assistant may search, when, and what of the findings a model gets to see.

    `token_budget` bounds the passages of one search. Only a reranker that was chosen is used.
    """

    bases: tuple[SearchedBase, ...]
    mode: Literal["before", "tool"]
    limit: int
    min_score: float
    token_budget: int
    reranker: RerankerSpec | None

    @property
    def base_ids(self) -> tuple[str, ...]:
        return tuple(base.id for base in self.bases)


@dataclasses.dataclass(frozen=True, slots=True)
class AssistantRuntime:
    """The snapshot. `recogniser` and `voice` are None where no enabled row can serve."""

    id: str
    owner_id: int | None
    name: str
    language: Language
    prompt: str
    first_turn: Literal["bot_first", "user_first"]
    opener: str
    generates_opener: bool
    opener_tool_calls: tuple[OpenerToolCall, ...]
    opener_pcm: bytes | None
    llm: LlmSpec | None
    recogniser: AsrSpec | None
    voice: VoiceSpec | None
    voice_output: bool
    turn_taking: TurnTaking
    tools: tuple[ToolSpec, ...]
    knowledge: KnowledgeUse | None
    embedder: EmbedderSpec | None
    time_zone: str
    # Who talks to it; None without a credential.
    caller_id: int | None = None
    # Whether it keeps facts about the caller, and uses them.
    remembers: bool = False
    # The service that answers in its place; `llm` is then None.
    brain: BrainSpec | None = None


# What `runtime_of` reads of a row, in one query.
RELATED = (
    "llm__provider",
    "asr__provider",
    "voice__provider",
    "embedder__provider",
    "reranker__provider",
    "opener_audio",
)
# The same where nobody speaks; what few assistants have is read where it is there.
RELATED_TO_TEXT = ("llm__provider",)


def load_runtime(assistant_id: str, *, caller_id: int | None = None) -> AssistantRuntime:
    """The snapshot of an assistant for a caller, in one unit of database work.

    Chosen models that are missing or disabled are replaced by the owner's defaults. Who may use the
    assistant is not asked here: `assistants.access` answers that. Raises NotFound.
    """
    row = Assistant.objects.select_related(*RELATED).with_id(assistant_id)
    if row is None:
        raise NotFound(_("Assistant not found."), code="ASSISTANT_NOT_FOUND")
    return runtime_of(row, caller_id=caller_id)


class Links(NamedTuple):
    """Whether anything is linked to an assistant."""

    tools: bool
    servers: bool
    bases: bool


def links_of(assistant_id: str) -> str:
    """The columns of `Links`, as part of a statement; the id is an expression in it."""
    return ", ".join(
        f"exists (select from {link.through._meta.db_table} where assistant_id = {assistant_id})"
        for link in (Assistant.tools, Assistant.mcp_servers, Assistant.knowledge_bases)
    )


def runtime_of(
    row: Assistant,
    *,
    caller_id: int | None = None,
    speaks: bool = True,
    links: Links | None = None,
) -> AssistantRuntime:
    """The snapshot of a row that is already at hand, and perhaps of what is known of its links.

    MCP servers get what the caller set for them, or else what the owner did. A conversation in
    writing does without recogniser, voice and spoken opener, and is spared the looking for them.
    """
    language: Language = "zh" if row.language == AssistantLanguage.ZH else "en"
    voice = _voice(row) if speaks else None
    opener_audio = fresh_opener_audio(row, voice) if speaks else None
    has_tools, has_servers, has_bases = links or _links(row.pk)
    rows = _tools(row) if has_tools else []
    servers = usable_mcp_servers(row.pk) if has_servers else []
    remote = mcp_specs(servers, caller_id, row.owner_id) if servers else ()
    tools = named_apart([*(tool_spec(tool, language) for tool in rows), *remote])
    llm = _llm(row)
    # Another service remembers by itself, if at all.
    is_remote = row.config_mode in ConfigMode.remote()
    remembers = row.enable_memory and caller_id is not None and not is_remote
    return AssistantRuntime(
        id=row.pk,
        owner_id=row.owner_id,
        name=row.name,
        language=language,
        prompt=row.prompt,
        first_turn="bot_first" if row.first_turn_mode == FirstTurn.BOT else "user_first",
        opener=row.opener,
        generates_opener=row.generated_opener_enabled,
        opener_tool_calls=_opener_tool_calls(
            row, {tool.pk: spec.id for tool, spec in zip(rows, tools, strict=False)}
        ),
        opener_pcm=bytes(opener_audio.pcm) if opener_audio else None,
        llm=llm,
        recogniser=_recogniser(row) if speaks else None,
        voice=voice,
        voice_output=row.voice_output_enabled,
        turn_taking=TurnTaking(
            can_be_interrupted=not row.bot_cannot_be_interrupted,
            interruption_ms=row.interruption_sensitivity_ms,
            end_of_turn_silence_ms=row.end_of_turn_silence_ms,
            interim_transcripts=row.asr_interim_enabled,
        ),
        tools=tools,
        knowledge=_knowledge(row, llm) if has_bases else None,
        # In writing, only memory compares meanings; bases have embedders of their own.
        embedder=_embedder(row) if speaks or remembers else None,
        time_zone=settings.TIME_ZONE,
        caller_id=caller_id,
        remembers=remembers,
        brain=_brain(row),
    )


# Most assistants have none of these: one look spares three queries, which are dear to compose.
_LINKS = f"select {links_of('%(id)s')}"


def _links(assistant_id: str) -> Links:
    with prepared_cursor() as cursor:
        cursor.execute(_LINKS, {"id": assistant_id})
        return Links(*cursor.fetchone())


def _llm(row: Assistant) -> LlmSpec | None:
    if row.config_mode in ConfigMode.remote():
        return None
    chosen = row.llm if is_usable(row.llm) else default_llm(row.owner_id)
    return llm_spec(chosen) if chosen else None


def _brain(row: Assistant) -> BrainSpec | None:
    if not row.api_url:
        return None
    match row.config_mode:
        case ConfigMode.DIFY:
            return BrainSpec("dify", row.api_url, row.api_key)
        case ConfigMode.FASTGPT:
            return BrainSpec("fastgpt", row.api_url, row.api_key)
        case _:
            return None


def _recogniser(row: Assistant) -> AsrSpec | None:
    chosen = row.asr if is_usable(row.asr) else default_asr(row.owner_id, row.language)
    return asr_spec(chosen, hotwords=tuple(row.hotwords)) if chosen else None


def _voice(row: Assistant) -> VoiceSpec | None:
    chosen = chosen_voice(row)
    return voice_spec(chosen, speed=row.speed) if chosen else None


def _embedder(row: Assistant) -> EmbedderSpec | None:
    chosen = row.embedder if is_usable(row.embedder) else default_embedder(row.owner_id)
    return embedder_spec(chosen) if chosen else None


def _tools(row: Assistant) -> list[Tool]:
    rows = usable_tools(row.pk)
    prefetch_parts(rows)
    return rows


def _opener_tool_calls(row: Assistant, called: dict[str, str]) -> tuple[OpenerToolCall, ...]:
    """The calls by what models call the tools; rows name them by id."""
    # Checked again: tools are disabled later, and the console edits the JSON by hand.
    stored = normalise_calls(row.manual_opener_tool_calls, tool_ids=called)
    return tuple(
        OpenerToolCall(called[call["toolName"]], call["arguments"]) for call in stored.calls
    )


def _knowledge(row: Assistant, llm: LlmSpec | None) -> KnowledgeUse | None:
    bases = searched_bases(row.pk)
    if not bases:
        return None
    context = llm.context_length if llm else None
    reranker = row.reranker if is_usable(row.reranker) else None
    return KnowledgeUse(
        bases=bases,
        mode="tool" if row.knowledge_mode == KnowledgeMode.TOOL else "before",
        limit=row.knowledge_limit,
        min_score=row.knowledge_min_score,
        token_budget=min(PASSAGE_TOKENS, context // 4) if context else PASSAGE_TOKENS,
        reranker=reranker_spec(reranker) if reranker else None,
    )
