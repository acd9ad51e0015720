"""`/chat` and `/completion` of the agentchat family, streamed, and `/chat/stop`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Scope
from accounts.permissions import principal_of
from accounts.principals import Principal
from accounts.standing import CHECK_EVERY_S, Standing
from assistants.runtime import AssistantRuntime
from conversations.chats import answering
from conversations.chats.dialogs import access_dialog, open_dialog
from conversations.encoders.agentchat import AgentChatEncoder, apology_for
from conversations.events import TurnEvent, TurnFailed, TurnFinished
from conversations.files.attachments import read_link
from conversations.lookup import Lookup
from conversations.types import AttachmentRow
from core import sse
from core.agentchat import IdField, answer, naming, sent
from core.asynchronous import AsyncView
from core.db import in_db
from core.serializers import OptionalText, WireSerializer
from providers.types import Usage

MAX_INPUT = 100_000
STREAM_CHECK_S = CHECK_EVERY_S
STREAM = {(200, "text/event-stream"): OpenApiTypes.STR}


class ChatBody(WireSerializer):
    user_input = serializers.CharField(max_length=MAX_INPUT)
    dialog_id = IdField(help_text="As POST /dialog gave it, or was given it.")
    file_url = OptionalText(max_length=4096, help_text="A link that /upload gave.")


class ChatView(AsyncView):
    """Answers in a dialog, as server-sent events: tools as they run, the text as it is written.

    What goes wrong before the answer is the usual envelope, what goes wrong in it an event. A
    client that leaves stops the answer; what was said is kept.
    """

    required_scope = Scope.CHAT
    serializer_class = ChatBody

    @extend_schema(responses=STREAM)
    async def post(self, request: Request) -> StreamingHttpResponse:
        def begin(attachments: Sequence[AttachmentRow] = ()) -> answering.Exchange:
            with naming("dialog_id"):
                dialog, links = open_dialog(principal_of(request), fields["dialog_id"])
            runtime = answering.agent_of(principal_of(request), dialog, links)
            text = fields["user_input"]
            return answering.begin(dialog, runtime, text=text, attachments=attachments)

        def enter() -> answering.Exchange | None:
            fields.update(sent(request, ChatBody))
            return None if fields.get("file_url") else begin()

        fields: dict[str, Any] = {}
        begun = await answering.claimed(self.enter(request, enter))
        if begun is None:
            with naming("file_url"):
                attachment = await read_link(principal_of(request), fields["file_url"])
            begun = await answering.claimed(in_db(begin, (attachment,)))
        events = answering.exchange(begun, apologise=apology_for)
        await anext(events)
        runtime = begun.runtime
        encoder = AgentChatEncoder(runtime.tools, search_id=_search_id(runtime), clock=time.time)
        return streamed(events, chat_standing(principal_of(request)), encoder.encode)


class StopBody(WireSerializer):
    dialog_id = IdField()


class StoppedShape(serializers.Serializer[Any]):
    stopped = serializers.BooleanField(help_text="Whether an answer was being written.")


class ChatStopView(APIView):
    """Stops the answer that is being written in a dialog, wherever it is; what was said is kept."""

    required_scope = Scope.CHAT
    serializer_class = StopBody

    @extend_schema(responses=StoppedShape)
    def post(self, request: Request) -> Response:
        fields = sent(request, StopBody)
        with naming("dialog_id"):
            dialog = access_dialog(principal_of(request), fields["dialog_id"])
        return answer({"stopped": answering.stop(dialog)})


def chat_standing(principal: Principal) -> Standing:
    """Whether the principal may go on reading an answer of a chat."""
    return Standing(principal, lambda now: now.require(Scope.CHAT), every_s=STREAM_CHECK_S)


def streamed(
    events: AsyncGenerator[TurnEvent, None],
    standing: Standing,
    encode: Callable[[TurnEvent], Iterable[bytes]],
) -> sse.EventStream:
    """The answer for its reader; where they may not read on, it ends as if they had left.

    Where the process stops before the answer is over, the stream ends with the failure.
    """
    is_over = False

    async def pieces() -> AsyncGenerator[bytes, None]:
        nonlocal is_over
        async with aclosing(events):
            async for event in events:
                if not await standing.holds():
                    return
                is_over = is_over or isinstance(event, TurnFinished | TurnFailed)
                for piece in encode(event):
                    yield piece

    def parting() -> bytes:
        if is_over:
            return b""
        message = _("The service is being restarted; ask again.")
        stopped = TurnFailed("chat.stopped", message, is_retryable=True, usage=Usage())
        return b"".join(encode(stopped))

    return sse.response(pieces(), parting=parting)


def _search_id(runtime: AssistantRuntime) -> str | None:
    """By what name the model calls the search in the knowledge."""
    own = {spec.id: spec for spec in runtime.tools if spec.executor == "server"}
    tool = Lookup(runtime).tool(own)
    return tool.id if tool else None
