"""What conversations are called: by their title, or else by the first words that were said in them.

Words are read as a column, so that a list of them asks the database no oftener than one does.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Case, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce, Left
from django.http import HttpRequest
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from conversations.models import Conversation, Message, Role
from core.console import Named

MAX_CHARS = 80


def first_words(path: str = "") -> Case:
    """The beginning of what a user said first, of conversations without a title.

    For conversations, or for rows from which the path, such as `conversation__`, leads to one.
    """
    said = Message.objects.filter(conversation=OuterRef(f"{path}pk"), role=Role.USER)
    texts = said.exclude(text="").order_by("seq").annotate(begins=Left("text", MAX_CHARS + 1))
    return Case(
        When(
            **{f"{path}title": ""}, then=Coalesce(Subquery(texts.values("begins")[:1]), Value(""))
        ),
        default=Value(""),
    )


def name_of(conversation: Conversation, words: str | None = None) -> str:
    """The name; `words` are its first words where they have been read, as a column."""
    if conversation.title:
        return conversation.title
    if words is None:
        rows = Conversation.objects.filter(pk=conversation.pk)
        words = rows.values_list(first_words(), flat=True).first()
    return shortened(words or "") or _without_words(conversation)


class CalledByWords(Named):
    """Pages of rows that have no name of their own."""

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        # What unfold and Django write of the row, they write of its `str`.
        row: Any = super().get_object(request, object_id, from_field)  # type: ignore[misc]  # a mixin of ModelAdmin
        if row is not None:
            row.shown_name = self.name_of(row)
        return row


def run_name(run: Any) -> str:
    """What a run is called that was read with what was asked (`asked`)."""
    return shortened(run.asked or "") or _("A message without words")


def shortened(text: str) -> str:
    """A text in one short line."""
    return Truncator(" ".join(text.split())).chars(MAX_CHARS)


def _without_words(conversation: Conversation) -> str:
    name = conversation.assistant_name or _("an assistant")
    return _("Without words, with %(name)s") % {"name": name}
