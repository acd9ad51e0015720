"""What users do with tasks: begin a conversation, send a message, keep prompts."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from accounts.principals import Principal
from assistants.access import access_assistant
from assistants.models import Assistant, ConfigMode
from conversations.access import (
    CONVERSATION_NOT_FOUND,
    access_personalization,
    access_prompt,
    own_conversations,
)
from conversations.background import guidance
from conversations.background.setup import agent_for, model_for
from conversations.files.attachments import image_rows, path_of
from conversations.files.folder import UserFolder
from conversations.models import Channel, Conversation, Personalization, Prompt, Run, RunKind
from conversations.runs import store
from conversations.runs.types import NewEvent, NewRun
from conversations.titles import beginning
from conversations.types import (
    AttachmentRow,
    PersonalizationRow,
    RunModeName,
    RunRequestRow,
    SettingsRow,
)
from core.errors import InvalidRequest, NotFound, Unavailable
from providers.access import named_llm
from providers.models import Llm
from providers.specs import is_usable

# In one second there are no more free ids than this.
_TRIES = 1000
_SYSTEM_MESSAGE = "system_message"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How a conversation, or one message of it, is to be carried on; None leaves it as it is."""

    assistant_id: str | None = None
    model_key: str | None = None
    run_mode: RunModeName | None = None
    # The older form of `run_mode`.
    thinks: bool | None = None
    prompt_name: str | None = None
    personalization_name: str | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A message as it was sent; `images` are paths in the user's folder."""

    message: str
    images: tuple[str, ...] = ()
    conversation_id: str | None = None
    max_iterations: int | None = None
    choices: Choices = dataclasses.field(default_factory=Choices)


# --- Conversations -------------------------------------------------------------------------------


def create_conversation(principal: Principal, choices: Choices) -> Conversation:
    """A new conversation of tasks.

    Raises NotFound for a prompt or personalization that is not there, and InvalidRequest, naming
    the field, for an assistant or model.
    """
    plan = _Plan(principal, None, choices)
    return _insert(principal, plan)


def _insert(principal: Principal, plan: _Plan, *, title: str = "") -> Conversation:
    """The row, under the id of this millisecond or of the next free one."""
    at = timezone.localtime()
    for _try in range(_TRIES):
        row = Conversation(
            id=conversation_id_at(at),
            owner_id=principal.user_id,
            assistant=plan.stored_agent,
            assistant_key=plan.agent.pk,
            assistant_name=plan.agent.name,
            channel=Channel.TASK,
            title=title,
            settings=plan.settings,
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            at += datetime.timedelta(milliseconds=1)
            continue
        return row
    raise Unavailable(_("Too many conversations were begun at once; try again."), retry_after=1)


def conversation_id_at(at: datetime.datetime) -> str:
    """The id of a conversation that begins then: conv_YYYYMMDD_HHMMSS_mmm."""
    return f"conv_{at:%Y%m%d_%H%M%S}_{at.microsecond // 1000:03d}"


# --- Messages ------------------------------------------------------------------------------------


def send(principal: Principal, sent: Sent) -> Run:
    """Has the message answered in the background; without a conversation, in a new one.

    Raises InvalidRequest naming the field, NotFound for a prompt or personalization, Conflict
    while a task of the user is active, Unavailable where there is no model that could answer.
    """
    message = sent.message.strip()
    if not message and not sent.images:
        raise InvalidRequest(_("The message must not be empty."), code="EMPTY_MESSAGE")
    conversation = _conversation(principal, sent.conversation_id)
    plan = _Plan(principal, conversation, sent.choices)
    attachments = _images(principal, sent.images, plan.llm)
    request = plan.request(message, attachments, sent.max_iterations)
    # A title of its own accord where no model is to be asked for one.
    title = "" if guidance.wants_title(plan.personalization) else beginning(message)
    with transaction.atomic():
        if conversation is None:
            conversation = _insert(principal, plan, title=title)
        else:
            _resume(conversation, plan, title=title)
        return _start(
            NewRun(
                kind=RunKind.TASK,
                owner_id=principal.user_id,
                conversation_id=conversation.pk,
                message=message,
                request=request,
                attachments=attachments,
                events=(_resolved(conversation), *plan.notes),
            )
        )


def _start(new: NewRun) -> Run:
    try:
        return store.start_task(new)
    except NotFound:
        raise _not_loaded() from None


def _conversation(principal: Principal, conversation_id: str | None) -> Conversation | None:
    if not conversation_id:
        return None
    row = None
    if "\0" not in conversation_id:
        own = own_conversations(principal, Channel.TASK)
        row = own.filter(pk=conversation_id).first()
    if row is None:
        raise _not_loaded()
    return row


def _not_loaded() -> InvalidRequest:
    text = _("The conversation could not be loaded.")
    return InvalidRequest(text, code=CONVERSATION_NOT_FOUND, param="conversation_id")


def _resume(conversation: Conversation, plan: _Plan, *, title: str) -> None:
    """Keeps what the message says of its conversation."""
    changed: dict[str, Any] = {}
    if conversation.settings != plan.settings:
        changed["settings"] = plan.settings
    # Who only stands in for an assistant that is gone does not take its place in the history.
    if plan.has_new_agent:
        changed["assistant_id"] = plan.agent.pk
        changed |= {"assistant_key": plan.agent.pk, "assistant_name": plan.agent.name}
    if title and not conversation.title:
        changed["title"] = conversation.title = title
    if changed:
        Conversation.objects.filter(pk=conversation.pk).update(**changed)


def _resolved(conversation: Conversation) -> NewEvent:
    data = {"conversation_id": conversation.pk, "title": conversation.title}
    return NewEvent("conversation_resolved", data)


def _images(
    principal: Principal, paths: tuple[str, ...], llm: Llm | None
) -> tuple[AttachmentRow, ...]:
    if not paths:
        return ()
    folder = UserFolder.of(principal.user_id)
    try:
        rows = image_rows(folder, paths)
    except (InvalidRequest, NotFound) as error:
        raise InvalidRequest(error.message, code=error.error_code, param="images") from None
    if llm is not None and not llm.accepts_images:
        text = _("The model “%(name)s” sees no images.") % {"name": llm.name}
        raise InvalidRequest(text, code="IMAGES_NOT_SEEN", param="images")
    return rows


class _Plan:
    """How a message is answered: what it says, else its conversation, else what its user likes.

    A name that the message itself gives must stand for something. One that the conversation keeps
    and that is gone since is passed over, and a note in the log says so.
    """

    def __init__(
        self, principal: Principal, conversation: Conversation | None, choices: Choices
    ) -> None:
        self._principal = principal
        self._kept: SettingsRow = conversation.settings if conversation else SettingsRow()
        self.notes: list[NewEvent] = []
        self.has_new_agent = False
        self.prompt = self._prompt(choices.prompt_name)
        self.personalization = self._personalization(choices.personalization_name)
        self.agent = self._agent(conversation, choices.assistant_id)
        asked = self._asked_model(choices.model_key)
        # Where another service answers for the agent, no model of ours is asked.
        self.llm = None if self._has_brain else asked or self._preferred_model()
        self.run_mode = guidance.run_mode(
            choices.run_mode,
            thinks=choices.thinks,
            kept=self._kept.get("run_mode"),
            personalization=self.personalization,
        )
        self.settings = self._settings(choices, asked)

    @property
    def stored_agent(self) -> Assistant | None:
        """The agent's row; there is none where the agent of all users was deleted."""
        return None if self.agent._state.adding else self.agent

    @property
    def _has_brain(self) -> bool:
        return self.agent.config_mode in (ConfigMode.DIFY, ConfigMode.FASTGPT)

    def request(
        self, message: str, attachments: tuple[AttachmentRow, ...], max_iterations: int | None
    ) -> RunRequestRow:
        """What the run is asked. Raises Unavailable where nobody could answer."""
        if self.llm is None and not self._has_brain:
            text = _("The system is not set up yet: there is no language model that can be used.")
            raise Unavailable(text, code="NOT_SET_UP")
        return RunRequestRow(
            message=message,
            images=[path_of(row) for row in attachments],
            run_mode=self.run_mode,
            llm_id=self.llm.pk if self.llm else None,
            max_iterations=guidance.iterations(max_iterations, self.run_mode),
            prompt=self.prompt,
            personalization=self.personalization,
            language=get_language() or "en",
        )

    def _settings(self, choices: Choices, asked: Llm | None) -> SettingsRow:
        """What the conversation keeps: only what somebody chose, so that defaults stay free."""
        kept: SettingsRow = {**self._kept}
        if choices.run_mode is not None or choices.thinks is not None:
            kept["run_mode"] = self.run_mode
        if asked is not None:
            kept["model_key"] = asked.pk
        if choices.prompt_name:
            kept["prompt_name"] = choices.prompt_name
        if choices.personalization_name:
            kept["personalization_name"] = choices.personalization_name
        return kept

    def _prompt(self, name: str | None) -> str:
        if name:
            return access_prompt(self._principal, name).content
        kept = self._kept.get("prompt_name")
        if not kept:
            return ""
        try:
            return access_prompt(self._principal, kept).content
        except NotFound:
            text = _("The prompt “%(name)s” does not exist any more; it is left out.")
            self._note(text % {"name": kept})
            return ""

    def _personalization(self, name: str | None) -> PersonalizationRow | None:
        if name:
            return _content(access_personalization(self._principal, name))
        kept = self._kept.get("personalization_name")
        if not kept:
            return None
        try:
            return _content(access_personalization(self._principal, kept))
        except NotFound:
            text = _("The personalization “%(name)s” does not exist any more; it is left out.")
            self._note(text % {"name": kept})
            return None

    def _agent(self, conversation: Conversation | None, assistant_id: str | None) -> Assistant:
        kept = conversation.assistant_id if conversation else None
        if assistant_id and assistant_id != kept:
            if conversation is not None and conversation.next_turn > 1:
                text = _("The conversation is one with another assistant.")
                raise InvalidRequest(text, param="assistant_id")
            try:
                access_assistant(self._principal, assistant_id)
            except NotFound as error:
                raise InvalidRequest(
                    error.message, code=error.error_code, param="assistant_id"
                ) from None
            self.has_new_agent = True
        agent = agent_for(
            self._principal.user_id,
            is_operator=self._principal.is_operator,
            assistant_id=assistant_id or kept,
        )
        kept_key = conversation.assistant_key if conversation else agent.pk
        if conversation and kept_key != agent.pk and not self.has_new_agent:
            text = _("The assistant “%(name)s” cannot be asked any more; another one answers.")
            self._note(text % {"name": conversation.assistant_name})
        return agent

    def _asked_model(self, key: str | None) -> Llm | None:
        if not key:
            return None
        try:
            row = named_llm(self._principal, key)
        except NotFound as error:
            raise InvalidRequest(error.message, code=error.error_code, param="model_key") from None
        if not is_usable(row):
            raise InvalidRequest(_("This model is disabled."), param="model_key")
        return row

    def _preferred_model(self) -> Llm | None:
        preferred = guidance.in_force(self.personalization).get("default_model")
        for key in (self._kept.get("model_key"), preferred):
            if not key:
                continue
            try:
                row = named_llm(self._principal, key)
            except NotFound:
                row = None
            if row is not None and is_usable(row):
                return row
            text = _("The model “%(name)s” cannot be used any more; another one answers.")
            self._note(text % {"name": key})
        return model_for(self._principal.user_id, self.agent)

    def _note(self, text: str) -> None:
        self.notes.append(NewEvent(_SYSTEM_MESSAGE, {"content": text, "message": text}))


def _content(row: Personalization) -> PersonalizationRow:
    content: PersonalizationRow = row.content
    return content


# --- Guidance ------------------------------------------------------------------------------------


def save_prompt(principal: Principal, name: str, content: str) -> Prompt:
    """The principal's prompt of that name, made or replaced."""
    row, _is_new = Prompt.objects.update_or_create(
        owner_id=principal.user_id, name=name, defaults={"content": content}
    )
    return row


def save_personalization(
    principal: Principal, name: str, content: Mapping[str, Any]
) -> Personalization:
    """The principal's personalization of that name, made or replaced; content is sanitised."""
    row, _is_new = Personalization.objects.update_or_create(
        owner_id=principal.user_id, name=name, defaults={"content": guidance.sanitised(content)}
    )
    return row
