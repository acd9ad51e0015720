"""Dialogs: the chats of the agentchat family, each a conversation with one assistant."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from accounts.access import as_row_id
from accounts.principals import Principal
from assistants.models import Assistant
from assistants.runtime import Links, links_of
from conversations.models import Channel, Conversation, Message, Run, RunStatus
from conversations.types import SettingsRow
from core.errors import Conflict, NotFound
from core.rows import Columns
from core.statements import prepared_cursor
from providers.models import Llm, Provider

NOT_FOUND_CODE = "DIALOG_NOT_FOUND"
BUSY_CODE = "CONVERSATION_BUSY"
AGENT_TYPES = ("Agent", "MCPAgent")


def dialogs_of(principal: Principal) -> QuerySet[Conversation]:
    """The principal's dialogs, the one that changed last first.

    Operators too go on with nobody else's; they read them in the history and in the console.
    """
    own = Conversation.objects.filter(owner_id=principal.user_id, channel=Channel.CHAT)
    # A session of the workspace is a chat too, but with no agent.
    return own.filter(settings__has_key="agent_type").order_by("-updated_at", "pk")


def access_dialog(principal: Principal, dialog_id: str) -> Conversation:
    """The principal's dialog of that id, or which was given that id when it was made.

    Raises NotFound alike for unknown and foreign ids.
    """
    return named(dialogs_of(principal), dialog_id)


def named(own: QuerySet[Conversation], dialog_id: str) -> Conversation:
    """Of one owner's conversations the one with that id, or which was given it. Raises NotFound."""
    row = None
    if dialog_id and "\0" not in dialog_id:
        found = own.filter(Q(pk=dialog_id) | Q(alias=dialog_id))
        row = min(found, key=lambda each: each.pk != dialog_id, default=None)
    if row is None:
        raise _not_found()
    return row


def _not_found() -> NotFound:
    return NotFound(_("Dialog not found."), code=NOT_FOUND_CODE)


_DIALOG, _ASSISTANT = Columns(Conversation, "c"), Columns(Assistant, "a")
_LLM, _PROVIDER = Columns(Llm, "l"), Columns(Provider, "p")
# `dialogs_of`, by either id, and who answers in them; asked for every message.
_OPEN = f"""
select {_DIALOG}, {_ASSISTANT}, {_LLM}, {_PROVIDER}, {links_of("a.id")}
from conversations_conversation c
left join assistants_assistant a on a.id = c.assistant_id
left join providers_llm l on l.id = a.llm_id
left join providers_provider p on p.id = l.provider_id
where c.owner_id = %(owner)s and c.channel = 'chat' and c.settings ? 'agent_type'
  and (c.id = %(id)s or c.alias = %(id)s)
order by c.id = %(id)s desc limit 1
"""  # noqa: S608 - names of columns and tables


class OpenDialog(NamedTuple):
    """A dialog with its assistant, the model of that, and whether anything is linked to it."""

    dialog: Conversation
    links: Links


def open_dialog(principal: Principal, dialog_id: str) -> OpenDialog:
    """As `access_dialog`, with what an answer needs of the assistant, in one statement."""
    row = None
    if dialog_id and "\0" not in dialog_id:
        with prepared_cursor() as cursor:
            cursor.execute(_OPEN, {"owner": principal.user_id, "id": dialog_id})
            row = cursor.fetchone()
    if row is None:
        raise _not_found()
    rest = iter(row)
    dialog, assistant = _DIALOG.taken(rest), _ASSISTANT.taken(rest)
    llm, provider = _LLM.taken(rest), _PROVIDER.taken(rest)
    assert dialog is not None
    if llm is not None:
        llm.provider = provider
    if assistant is not None:
        assistant.llm = llm
    dialog.assistant = assistant
    return OpenDialog(dialog, Links(*rest))


def access_message(principal: Principal, message_id: str) -> Message:
    """A message of the principal's own conversations. Raises NotFound for all other ids."""
    number = as_row_id(message_id)
    own = Message.objects.filter(conversation__owner_id=principal.user_id)
    row = None if number is None else own.filter(pk=number).first()
    if row is None:
        raise NotFound(_("Message not found."), code="MESSAGE_NOT_FOUND")
    return row


def create_dialog(
    principal: Principal,
    assistant: Assistant,
    *,
    name: str,
    agent_type: str = AGENT_TYPES[0],
    alias: str = "",
) -> Conversation:
    """A new dialog of the principal. Raises Conflict where another one has the alias."""
    if alias and dialogs_of(principal).filter(pk=alias).exists():
        raise _taken()
    settings: SettingsRow = {"agent_type": agent_type}
    row = Conversation(
        id=uuid.uuid4().hex,
        owner_id=principal.user_id,
        assistant=assistant,
        assistant_key=assistant.pk,
        assistant_name=assistant.name,
        channel=Channel.CHAT,
        title=name,
        alias=alias,
        settings=settings,
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        raise _taken() from None
    return row


def _taken() -> Conflict:
    return Conflict(_("There is a dialog of this id already."), param="dialog_id")


def rename_dialog(row: Conversation, name: str) -> None:
    """Gives the dialog another name."""
    row.title = name
    row.save(update_fields=["title", "updated_at"])


def note_on(row: Conversation, *, title: str | None = None, summary: str | None = None) -> None:
    """Keeps what people call a conversation, on any channel, and note on it; None changes nothing.

    Nothing was said: the conversation keeps its place among the others.
    """
    changed = {"title": title, "summary": summary}
    fields = {name: text for name, text in changed.items() if text is not None}
    if fields:
        Conversation.objects.filter(pk=row.pk).update(**fields)
        row.title, row.summary = fields.get("title", row.title), fields.get("summary", row.summary)


def delete_conversation(row: Conversation, *, force: bool = False) -> None:
    """Deletes a conversation with all that was said, done and remembered in it.

    One that is being answered raises Conflict. With `force` the run goes too: whoever works on it
    finds no row any more, stops and writes nothing.
    """
    _delete(Conversation.objects.filter(pk=row.pk), force=force)


def delete_dialogs_with(assistant: Assistant) -> None:
    """Deletes the dialogs that an assistant's owner had with it."""
    if assistant.owner_id is None:
        return
    dialogs = Conversation.objects.filter(
        owner_id=assistant.owner_id, channel=Channel.CHAT, assistant_id=assistant.pk
    )
    _delete(dialogs, force=True)


@transaction.atomic
def _delete(rows: QuerySet[Conversation], *, force: bool) -> None:
    # Turns begin while the conversation's row is held, events are appended while the run's is:
    # nothing comes between. In the order in which all others take them.
    ids = list(rows.select_for_update().order_by("pk").values_list("pk", flat=True))
    active = Run.objects.filter(conversation_id__in=ids, status__in=RunStatus.active())
    is_busy = bool(active.select_for_update().order_by("pk").values_list("pk"))
    if is_busy and not force:
        raise Conflict(_("The conversation is being answered."), code=BUSY_CODE)
    Conversation.objects.filter(pk__in=ids).delete()
