"""Tests an assistant by talking to it: scripted conversations, without storing a word of them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from uuid import uuid4

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.principals import Principal
from assistants.access import access_assistant
from assistants.models import Assistant
from assistants.runtime import AssistantRuntime, Language, runtime_of
from conversations.events import (
    Linked,
    ModelAsked,
    TextDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
)
from conversations.toolbox import ClientToolResult
from conversations.turn import TurnRequest, run_turn
from providers.types import AssistantMessage, ChatMessage, UserMessage
from tooling.autotest.cases import Asker, Check, CheckFailed, Prepared, Tester
from tooling.autotest.scenario import Step, ToolUse, problems_of, step_of
from tooling.models import Scenario

# A model may take several calls and tools for one answer.
STEP_LIMIT_S = 120.0
MAX_CONVERSATIONS = 20
_SHOWN_CHARS = 200

# What is said to an assistant that nobody wrote a conversation for: it must greet, and go on.
DEFAULT_STEPS: dict[Language, tuple[Step, ...]] = {
    "en": (
        Step("Hello! Please introduce yourself in one sentence."),
        Step("What can you help me with?"),
    ),
    "zh": (
        Step("你好！请用一句话介绍一下你自己。"),
        Step("你能帮我做些什么？"),
    ),
}


def prepare(assistant_id: str, asker: Asker) -> Prepared | None:
    """The assistant's conversations, ready to be held; a default one where there is none."""
    row = Assistant.objects.with_id(assistant_id)
    if row is None:
        return None
    # What is known about who asks would make every answer theirs, and is nobody else's to read.
    runtime = dataclasses.replace(runtime_of(row, caller_id=asker.owner_id), remembers=False)
    return Prepared(
        name=row.name,
        owner_id=row.owner_id,
        found=_("Found assistant: %(name)s") % {"name": row.name},
        checks=tuple(
            check
            for name, steps in _scripts(row, asker, runtime.language)
            for check in _checks(name, steps, runtime)
        ),
    )


def _scripts(
    row: Assistant, asker: Asker, language: Language
) -> Iterator[tuple[str, Sequence[Step]]]:
    whose = Q(owner=None) | Q(owner_id=row.owner_id) | Q(owner_id=asker.owner_id)
    scenarios = Scenario.objects.filter(whose, assistant_id=row.pk).order_by("name", "pk")
    found = list(scenarios[:MAX_CONVERSATIONS])
    for scenario in found:
        yield scenario.name, [step_of(step) for step in scenario.steps]
    if not found:
        yield _("Conversation"), DEFAULT_STEPS[language]


def _checks(name: str, steps: Sequence[Step], runtime: AssistantRuntime) -> Iterator[Check]:
    talk = _Talk(runtime)
    for number, step in enumerate(steps, 1):
        yield Check(f"{name} · {number}", _Said(talk, step).answered, limit_s=STEP_LIMIT_S)


@dataclasses.dataclass(frozen=True, slots=True)
class _Said:
    """One step of a conversation under way."""

    talk: _Talk
    step: Step

    async def answered(self) -> str:
        return await self.talk.say(self.step)


@dataclasses.dataclass(slots=True)
class _Heard:
    """What came back in one turn."""

    text: str = ""
    remote_id: str = ""
    uses: list[ToolUse] = dataclasses.field(default_factory=list)
    failure: str = ""
    _said_before: int = 0

    def add(self, event: TurnEvent) -> None:
        match event:
            case TextDelta(text=text):
                self.text += text
            case ModelAsked():
                # What another attempt said before is void.
                self.text = self.text[: self._said_before] if event.attempt > 1 else self.text
                self._said_before = len(self.text)
            case Linked(remote_id=remote_id):
                self.remote_id = remote_id
            case ToolReturned(name=name, code=code):
                self.uses.append(ToolUse(name, is_ok=code < 400))
            case TurnFailed(message=message):
                self.failure = message
            case TurnFinished(reason="tool_limit"):
                self.failure = _("It used its tools more often than it may.")
            case _:
                pass


class _Talk:
    """A conversation; once a turn fails, what would follow makes no sense."""

    def __init__(self, runtime: AssistantRuntime) -> None:
        self._runtime = runtime
        self._history: tuple[ChatMessage, ...] = ()
        # Nothing of it is kept here; a service that answers keeps it under an id of its own.
        self._id, self._remote_id = f"test-{uuid4().hex}", ""
        self._turns = 0
        self._has_broken_off = False

    async def say(self, step: Step) -> str:
        """What was answered. Raises CheckFailed for what the step does not allow."""
        if self._has_broken_off:
            raise CheckFailed(_("Not tried: the conversation broke off."))
        # Until the turn has ended: a time limit may end it first.
        self._has_broken_off = True
        started = time.monotonic()
        heard = await self._turn(step.say)
        ms = round((time.monotonic() - started) * 1000)
        if heard.failure:
            raise CheckFailed(heard.failure)
        self._has_broken_off = False
        self._history += (UserMessage(step.say), AssistantMessage(heard.text))
        self._remote_id = heard.remote_id or self._remote_id
        shown = {"text": _shown(heard.text), "ms": ms, "tools": _named(heard.uses)}
        if problems := problems_of(step, heard.text, heard.uses):
            text = _("%(problems)s Answered: “%(text)s”")
            raise CheckFailed(text % {**shown, "problems": " ".join(problems)})
        if heard.uses:
            return _("Answered in %(ms)dms with %(tools)s: “%(text)s”") % shown
        return _("Answered in %(ms)dms: “%(text)s”") % shown

    async def _turn(self, text: str) -> _Heard:
        self._turns += 1
        request = TurnRequest(
            self._turns,
            text,
            self._history,
            variables={},
            conversation_id=self._id,
            remote_id=self._remote_id,
        )
        heard = _Heard()
        async with aclosing(run_turn(request, self._runtime, client_tools=_Device())) as events:
            async for event in events:
                heard.add(event)
        return heard


class _Device:
    """A device that does whatever it is asked, and chooses the first of several options."""

    async def call(self, called: ToolCalled) -> ClientToolResult:
        options = called.arguments.get("options")
        if not isinstance(options, list) or not options:
            return ClientToolResult("done")
        first = options[0] if isinstance(options[0], dict) else {"id": "opt_1", "label": options[0]}
        chosen = {
            "selected_id": first.get("id"),
            "selected_label": first.get("label"),
            "cancelled": False,
        }
        return ClientToolResult(json.dumps(chosen, ensure_ascii=False))


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else line[: _SHOWN_CHARS - 1] + "…"


def _named(uses: Sequence[ToolUse]) -> str:
    return ", ".join(dict.fromkeys(use.name for use in uses))


def access(principal: Principal, assistant_id: str) -> Assistant:
    """The assistant, if the principal may have it tested. Raises NotFound."""
    return access_assistant(principal, assistant_id)


TESTER = Tester(
    existence="Assistant Existence",
    missing=gettext_lazy("Assistant not found"),
    access=access,
    prepare=prepare,
)
