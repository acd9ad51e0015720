"""What can be done with assistants."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict

from django.db import models, transaction
from django.utils.translation import gettext as _

from accounts.models import User
from accounts.principals import Principal
from assistants import tasks
from assistants.access import bases_for, mcp_servers_for, tools_for
from assistants.models import Assistant, ConfigMode, Language, OpenerAudio
from assistants.opener import (
    has_fixed_opener,
    normalise_calls,
    prepare_opener_audio,
    ready_audio,
)
from core.crypto import MASK, is_masked
from core.errors import Conflict, InvalidRequest
from knowledge.access import visible_knowledge_bases
from providers.access import visible_asrs, visible_llms, visible_voices
from providers.models import LlmType
from providers.validation import (
    checked_picture,
    checked_url,
    require_allowed,
    require_key_of_host,
)
from tooling.access import visible_tools
from tooling.catalogue import normalise_tool_id
from tooling.mcp_access import visible_mcp_servers

# What apps above this one keep of an assistant and its owner, and lose together with it where the
# owner says so. They add to it when they are loaded.
DELETED_WITH: list[Callable[[Assistant], None]] = []
_ORIGIN = re.compile(r"https?://[a-z0-9.\-]+(:\d{1,5})?|https?://\[[0-9a-f:.]+\](:\d{1,5})?")


class AssistantValues(TypedDict, total=False):
    """Fields of an assistant as they were sent; what is missing stays as it is."""

    name: str
    description: str
    logo_url: str
    prompt: str
    language: str
    first_turn_mode: str
    opener: str
    generated_opener_enabled: bool
    manual_opener_tool_calls: list[Any]
    opener_audio_enabled: bool
    llm_id: str | None
    asr_id: str | None
    voice_id: str | None
    embedder_id: str | None
    reranker_id: str | None
    voice_output_enabled: bool
    speed: float
    hotwords: list[str]
    bot_cannot_be_interrupted: bool
    interruption_sensitivity_ms: int
    end_of_turn_silence_ms: int
    asr_interim_enabled: bool
    tool_ids: list[str]
    knowledge_base_id: str | None
    knowledge_base_ids: list[str]
    mcp_server_ids: list[str]
    knowledge_mode: str
    knowledge_limit: int
    knowledge_min_score: float
    enable_memory: bool
    config_mode: str
    api_url: str
    api_key: str
    is_public: bool
    allowed_origins: list[str]


@dataclasses.dataclass(frozen=True, slots=True)
class Saved:
    """A stored assistant, and what of the request was left out."""

    row: Assistant
    warnings: list[str]


@dataclasses.dataclass(slots=True)
class _Problems:
    """What is wrong with a request, field by field, so that all of it is said at once."""

    details: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def add(self, field: str, message: str) -> None:
        self.details.setdefault(field, []).append(message)

    def raise_any(self) -> None:
        if self.details:
            field, messages = next(iter(self.details.items()))
            raise InvalidRequest(messages[0], param=field, details=self.details)


def create_assistant(principal: Principal, values: AssistantValues) -> Saved:
    """A new assistant of the principal. Raises InvalidRequest naming every wrong field."""
    return save_assistant(principal, Assistant(owner_id=principal.user_id), values)


@transaction.atomic
def save_assistant(principal: Principal, row: Assistant, values: AssistantValues) -> Saved:
    """The row with the values set and stored, and what follows from them.

    Models, tools, MCP servers and knowledge bases must be visible to the principal: an id that is
    not is answered like one that does not exist. Raises InvalidRequest naming every wrong field.
    """
    problems = _Problems()
    given: dict[str, Any] = dict(values)
    tool_ids = _tools(principal, row, given.pop("tool_ids", None), problems)
    bases = _knowledge_bases(principal, row, given, problems)
    servers = _mcp_servers(principal, row, given.pop("mcp_server_ids", None), problems)
    _check_models(principal, given, problems)
    _check_addresses(given, problems)
    _check_brain(row, given, problems)
    _check_brain_key(row, given, problems)
    problems.raise_any()

    if is_masked(given.get("api_key", "")):
        del given["api_key"]
    for field, value in given.items():
        setattr(row, field, value)
    calls = normalise_calls(
        row.manual_opener_tool_calls, tool_ids=_tool_ids(row) if tool_ids is None else tool_ids
    )
    row.manual_opener_tool_calls = calls.calls
    _store(row, [*given, "manual_opener_tool_calls", "updated_at"])
    if tool_ids is not None:
        row.set_tools(tool_ids)
    if bases is not None:
        row.set_knowledge_bases(bases)
    if servers is not None:
        row.set_mcp_servers(servers)
    speak_opener_after_commit(row)
    return Saved(row, calls.warnings)


def _tool_ids(row: Assistant) -> list[str]:
    return [] if row._state.adding else list(row.tools.values_list("pk", flat=True))


def _store(row: Assistant, fields: list[str]) -> None:
    """Writes only what was sent: calls that end meanwhile count themselves on the same row."""
    if row._state.adding:
        row.save()
    else:
        row.save(update_fields=fields)


def _tools(
    principal: Principal, row: Assistant, sent: list[str] | None, problems: _Problems
) -> list[str] | None:
    if sent is None:
        return None
    ids = list(dict.fromkeys(normalise_tool_id(tool_id) for tool_id in sent))
    missing = _missing(visible_tools(principal) & tools_for(row.owner), ids)
    if missing:
        problems.add("tool_ids", _("Unknown tool: %(ids)s.") % {"ids": ", ".join(missing)})
    return ids


def _knowledge_bases(
    principal: Principal, row: Assistant, given: dict[str, Any], problems: _Problems
) -> list[str] | None:
    """The one and the several that were sent, as one list; None where neither was."""
    several: list[str] | None = given.pop("knowledge_base_ids", None)
    is_one_sent = "knowledge_base_id" in given
    one: str | None = given.pop("knowledge_base_id", None)
    if several is None and not is_one_sent:
        return None
    # An operator, too, gives nobody's assistant what its owner may not see.
    visible = visible_knowledge_bases(principal) & bases_for(row.owner)
    for field, ids in (
        ("knowledge_base_id", [one] if one else []),
        ("knowledge_base_ids", several),
    ):
        missing = _missing(visible, ids or [])
        if missing:
            text = _("Unknown knowledge base: %(ids)s.") % {"ids": ", ".join(missing)}
            problems.add(field, text)
    return list(dict.fromkeys(([one] if one else []) + (several or [])))


def _mcp_servers(
    principal: Principal, row: Assistant, sent: list[str] | None, problems: _Problems
) -> list[str] | None:
    if sent is None:
        return None
    ids = list(dict.fromkeys(sent))
    missing = _missing(visible_mcp_servers(principal) & mcp_servers_for(row.owner), ids)
    if missing:
        text = _("Unknown MCP server: %(ids)s.") % {"ids": ", ".join(missing)}
        problems.add("mcp_server_ids", text)
    return ids


def _check_models(principal: Principal, given: dict[str, Any], problems: _Problems) -> None:
    llms = visible_llms(principal)
    choices: dict[str, tuple[models.QuerySet[Any], str]] = {
        "llm_id": (llms.filter(type=LlmType.TEXT), _("Unknown language model.")),
        "embedder_id": (llms.filter(type=LlmType.EMBEDDING), _("Unknown embedding model.")),
        "reranker_id": (llms.filter(type=LlmType.RERANK), _("Unknown rerank model.")),
        "asr_id": (visible_asrs(principal), _("Unknown speech recogniser.")),
        "voice_id": (visible_voices(principal), _("Unknown voice.")),
    }
    for field, (visible, message) in choices.items():
        if field not in given:
            continue
        given[field] = given[field] or None
        if given[field] is not None and _missing(visible, [given[field]]):
            problems.add(field, message)


def _missing(visible: models.QuerySet[Any], ids: Sequence[str]) -> list[str]:
    if not ids:
        return []
    found = set(visible.filter(pk__in=ids).values_list("pk", flat=True))
    return [row_id for row_id in ids if row_id not in found]


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "api_url": lambda sent: checked_url(sent, param="api_url"),
    "logo_url": lambda sent: checked_picture(sent, param="logo_url"),
    "allowed_origins": lambda sent: checked_origins(sent),
}


def _check_addresses(given: dict[str, Any], problems: _Problems) -> None:
    for field, checked in _CHECKS.items():
        if field not in given:
            continue
        try:
            given[field] = checked(given[field])
        except InvalidRequest as error:
            problems.add(field, error.message)


def checked_origins(sent: Sequence[str]) -> list[str]:
    """The origins as browsers write them, each once. Raises InvalidRequest."""
    origins = [origin.strip().rstrip("/").lower() for origin in sent]
    wrong = [origin for origin in origins if not _ORIGIN.fullmatch(origin)]
    if wrong:
        text = _("Expected origins such as https://host, not: %(wrong)s.")
        text %= {"wrong": ", ".join(wrong)[:200]}
        raise InvalidRequest(text, param="allowed_origins")
    return list(dict.fromkeys(origins))


def _check_brain(row: Assistant, given: dict[str, Any], problems: _Problems) -> None:
    if not {"config_mode", "api_url"} & given.keys():
        return
    try:
        check_brain(given.get("config_mode", row.config_mode), given.get("api_url", row.api_url))
    except InvalidRequest as error:
        problems.add(error.param or "config_mode", error.message)


def _check_brain_key(row: Assistant, given: dict[str, Any], problems: _Problems) -> None:
    if "api_url" in problems.details or not given.get("api_url"):
        return
    is_kept = is_masked(given.get("api_key", MASK))
    try:
        check_brain_address(row, given["api_url"], is_key_kept=is_kept)
    except InvalidRequest as error:
        problems.add(error.param or "api_url", error.message)


def check_brain_address(row: Assistant, api_url: str, *, is_key_kept: bool) -> None:
    """Raises InvalidRequest, naming the field, for an address that the row must not get.

    Nothing may be sent to it, or the key that is kept was entered for another host.
    """
    if api_url == row.api_url:
        return
    require_allowed(api_url, param="api_url")
    if row.api_key and is_key_kept:
        require_key_of_host(before=row.api_url, after=api_url, param="api_key")


def check_brain(config_mode: str, api_url: str) -> None:
    """Raises InvalidRequest, naming the field, for a brain that could never answer."""
    if config_mode in ConfigMode.remote() and not api_url:
        text = _("%(brain)s needs the address of its API.")
        text %= {"brain": ConfigMode(config_mode).label}
        raise InvalidRequest(text, param="api_url")


@contextmanager
def reserved_name(
    owner_id: int | None, name: str, *, by: Assistant | None = None
) -> Iterator[None]:
    """Keeps the name free for what is stored inside. Raises Conflict if another one has it.

    Only one family of the API wants names that are unique per user.
    """
    with transaction.atomic():
        # Two requests of one user must not both find the name free.
        if owner_id is not None:
            User.objects.select_for_update(no_key=True).get(pk=owner_id)
        same = Assistant.objects.filter(owner_id=owner_id, name=name)
        if same.exclude(pk=by.pk if by else None).exists():
            text = _("There is an application of this name already; choose another one.")
            raise Conflict(text, code="NAME_TAKEN", param="name")
        yield


@transaction.atomic
def delete_with_dialogs(row: Assistant) -> None:
    """Deletes the assistant and, unlike a plain deletion, what its owner said to it in dialogs."""
    for delete in DELETED_WITH:
        delete(row)
    row.delete()


def generate_opener_audio(row: Assistant) -> OpenerAudio:
    """Speaks the opener now. Raises InvalidRequest (nothing to speak) and ProviderError."""
    return prepare_opener_audio(row)


def speak_opener_after_commit(row: Assistant) -> None:
    """Has the workers speak the opener, where that is wanted and not done yet."""
    if not row.opener_audio_enabled or not has_fixed_opener(row):
        return
    if ready_audio(row):
        return

    def hand_over() -> None:
        tasks.speak_opener.delay(row.pk)

    # Robust: the assistant is stored; that the broker is away must not be answered as a failure.
    transaction.on_commit(hand_over, robust=True)


_DEMO_TOOLS = ("calculator", "current_time")

_DEMOS: dict[str, dict[str, Any]] = {
    "demo": {
        "name": "Demo",
        "language": Language.EN,
        "prompt": (
            "You are a friendly assistant in a spoken conversation. Answer in one or two short"
            " sentences, without lists or markup. Use your tools for arithmetic and for the time."
        ),
        "opener": "Hello! I am the demo assistant. Ask me the time, or give me a sum.",
        # The offline recogniser understands whole phrases that it expects far better than others.
        "hotwords": [
            "what time is it",
            "what can you do",
            "who are you",
            "what is twelve times seven",
        ],
    },
    "demo-zh": {
        "name": "Demo 中文",
        "language": Language.ZH,
        "prompt": (
            "你是一个友好的语音助手。请用一两句简短的口语回答，不要使用列表或标记。"
            "计算和时间问题请使用工具。"
        ),
        "opener": "你好！我是演示助手。你可以问我现在几点，或者让我算一道题。",
    },
}


@transaction.atomic
def create_demo_assistant(owner: User | None = None) -> list[Assistant]:
    """The example assistants, English and Chinese; without an owner every user sees them.

    Models and voices are left to the defaults, so that a real model is used once there is one. What
    exists already is returned as it is. The built-in tools must have been written before.
    """
    demos = []
    for pk, values in _DEMOS.items():
        key = pk if owner is None else f"{pk}-{owner.pk}"
        row, is_new = Assistant.objects.get_or_create(pk=key, defaults={**values, "owner": owner})
        if is_new:
            row.set_tools(_DEMO_TOOLS)
        demos.append(row)
    return demos
