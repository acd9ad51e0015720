"""Everything that a user has of chats and tasks, and requests that name one thing of it."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping
from typing import Any

from asgiref.sync import async_to_sync
from django.db.models import Model
from django.test import AsyncClient, Client
from PIL import Image

from accounts.models import User
from assistants.models import Assistant
from conversations.files.folder import UserFolder
from conversations.models import (
    Call,
    Conversation,
    Feedback,
    Memory,
    Message,
    Personalization,
    Prompt,
    Run,
    RunStatus,
)
from conversations.runs import store
from conversations.runs.types import NewEvent, Outcome
from knowledge.links import signed_url
from knowledge.models import KnowledgeBase
from providers.models import Llm
from tests.conversations.made import claimed, conversation
from tests.conversations.memory.conftest import known
from tests.knowledge.api.conftest import make_base, make_upload
from tests.upstream import SECRET
from tooling.models import McpServer, Tool

API = "/api/v1"
SITE = "http://testserver"


def make_things(owner: User, base_url: str) -> dict[str, str]:
    """One of everything, by what it is: its id, name, path or address."""
    name = owner.username
    vendor = {"vendor": "openai_compatible", "base_url": base_url, "api_key": SECRET}
    llm = Llm.objects.create(
        owner=owner, name=f"{name}s", model_name="m", accepts_images=True, **vendor
    )
    embedder = Llm.objects.create(
        owner=owner, name="e", model_name="hashing", vendor="builtin", type="embedding"
    )
    tool = Tool.objects.create(
        owner=owner, name="Orders", function_name=f"orders_{name}", category="query",
        http_url=base_url,
    )  # fmt: skip
    server = McpServer.objects.create(owner=owner, name="Shop", prefix=name, url=base_url)
    agent = Assistant.objects.create(
        owner=owner, name="Ada", llm=llm, embedder=embedder, language="en"
    )
    chat: dict[str, Any] = {"channel": "chat", "assistant": agent}
    dialog = conversation(
        owner, id=f"dialog-of-{name}", alias=f"plans-{name}", settings={"agent_type": "Agent"},
        **chat,
    )  # fmt: skip
    message = dialog.messages.create(turn=1, seq=1, role="assistant", text=f"Said to {name}")
    call = Call.objects.create(conversation=dialog, owner=owner, channel="chat", source="external")
    Conversation.objects.filter(pk=dialog.pk).update(next_turn=2, next_seq=2)
    session = conversation(
        owner, id=f"session-of-{name}", channel="chat", assistant=None, assistant_key="workspace"
    )
    (memory,) = known(owner, agent, f"The user is {name}.", where=dialog)
    talk = conversation(owner, agent, id=f"conv-of-{name}")
    claim = claimed(talk, f"Secret of {name}")
    last = NewEvent("task_complete", {"total_iterations": 1, "total_tool_calls": 0})
    assert store.finish(claim, Outcome(status=RunStatus.SUCCEEDED, last=last, turn=None))
    empty = conversation(owner, id=f"new-of-{name}")
    Prompt.objects.create(owner=owner, name=f"prompt-{name}", content=f"Be {name}")
    Personalization.objects.create(owner=owner, name=f"manner-{name}", content={"tone": "诗意"})
    folder = UserFolder.of(owner.pk)
    picture = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(picture, "PNG")
    folder.save(f"{name}/picture.png", [picture.getvalue()])
    upload = make_upload(owner, f"{name}.txt", f"Notes of {name}".encode())
    return {
        "user": str(owner.pk), "llm": llm.pk, "tool": tool.pk, "server": server.pk,
        "agent": agent.pk, "base": make_base(owner).pk, "dialog": dialog.pk,
        "alias": dialog.alias, "message": str(message.pk), "call": call.pk,
        "session": session.pk, "memory": memory.pk, "conversation": talk.pk, "empty": empty.pk,
        "task": str(claim.run_id), "prompt": f"prompt-{name}", "manner": f"manner-{name}",
        "picture": f"{name}/picture.png", "folder": name, "link": signed_url(SITE, upload),
    }  # fmt: skip


UNKNOWN = {
    "task": "60322db3-f884-4a1e-a9b3-6eeb07fbab47",
    "message": "987654321",
    "picture": "nobody/picture.png",
    "link": f"{SITE}/files/20260101/txt/nobody_0123456789.txt?exp=9999999999&sig=x",
}


def unknown(what: str) -> str:
    """What nobody has."""
    return UNKNOWN.get(what, "0" * 12)


@dataclasses.dataclass(frozen=True)
class Door:
    """A request that names one thing. `{}` is its id, `{agent}` … what the caller has of it.

    `status` is how a thing is refused that the caller does not have. What streams or waits reads
    the database in other threads.
    """

    what: str
    verb: str
    path: str
    body: dict[str, Any] | None = None
    status: int = 404
    is_async: bool = False

    @property
    def id(self) -> str:
        shown = json.dumps(self.body, ensure_ascii=False) if self.body else ""
        return f"{self.what}: {self.verb} {self.path} {shown}".replace("{}", "ID")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back, whichever way."""

    status: int
    text: str

    @property
    def code(self) -> int:
        """The status, or the envelope's where that says more."""
        try:
            body = json.loads(self.text)
        except ValueError:
            return self.status
        code = body.get("status_code", self.status) if isinstance(body, dict) else self.status
        return int(code)

    @property
    def is_success(self) -> bool:
        return self.status < 300 and self.code < 300


async def fetched(
    verb: str, url: str, data: str, headers: dict[str, str], content_type: str
) -> Answer:
    """What is at the address, read to its end."""
    # The types of Django know of no streams here.
    client: Any = AsyncClient()
    client.cookies.load(headers.pop("Cookie", ""))
    response = await client.generic(
        verb.upper(), url, data, headers=headers, content_type=content_type
    )
    if not response.streaming:
        return Answer(response.status_code, response.content.decode())
    pieces = [piece async for piece in response.streaming_content]
    return Answer(response.status_code, b"".join(pieces).decode(errors="replace"))


def ask(
    headers: Mapping[str, str],
    verb: str,
    path: str,
    body: Any = None,
    *,
    is_async: bool = False,
    content_type: str = "application/json",
) -> Answer:
    """The whole answer, read to its end where it is a stream."""
    data = "" if body is None else json.dumps(body)
    if is_async:
        return async_to_sync(fetched)(verb, API + path, data, dict(headers), content_type)
    response: Any = Client().generic(
        verb.upper(), API + path, data, headers=dict(headers), content_type=content_type
    )
    return Answer(response.status_code, response.content.decode())


def knock(headers: Mapping[str, str], door: Door, thing: str, own: Mapping[str, str]) -> Answer:
    """Goes through a door with this id, as somebody who has these things."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(each) for name, each in value.items()}
        if isinstance(value, list):
            return [filled(each) for each in value]
        return value.replace("{}", thing).format(**own) if isinstance(value, str) else value

    return ask(headers, door.verb, filled(door.path), filled(door.body), is_async=door.is_async)


_AGENT = {"name": "New", "description": "", "system_prompt": "", "logo_url": ""}
_CHANGED = {"agent_id": "{agent}"}
_SAID = {"user_input": "Hi", "agent_output": "Hello"}
_HI = {"message": "Hi"}
_CHAT = {"user_input": "Hi"}

DOORS = [
    # Agents, and what they refer to
    Door("agent", "put", "/agent", {"agent_id": "{}", "name": "Changed"}),
    Door("agent", "delete", "/agent", {"agent_id": "{}"}),
    Door("agent", "delete", "/agent?agent_id={}"),
    Door("agent", "post", "/dialog", {"name": "Talk", "agent_id": "{}"}),
    Door("agent", "get", "/memory?agent_id={}"),
    Door("agent", "post", "/conversations", {"assistant_id": "{}"}, 400),
    Door("agent", "post", "/messages", {**_HI, "assistant_id": "{}"}, 400),
    *(
        Door(what, verb, "/agent", {**start, field: sent})
        for what, field, sent in (
            ("llm", "llm_id", "{}"), ("tool", "tool_ids", ["{}"]), ("server", "mcp_ids", ["{}"]),
            ("base", "knowledge_ids", ["{}"]), ("tool", "tool_ids", ["{tool}", "{}"]),
        )
        for verb, start in (("post", _AGENT), ("put", _CHANGED))
    ),
    # Models
    Door("llm", "put", "/llm/update", {"llm_id": "{}", "model": "other"}),
    Door("llm", "delete", "/llm/delete", {"llm_id": "{}"}),
    Door("llm", "delete", "/llm/delete?llm_id={}"),
    Door("llm", "post", "/messages", {**_HI, "model_key": "{}"}, 400),
    # Dialogs
    Door("dialog", "put", "/dialog", {"dialog_id": "{}", "name": "Changed"}),
    Door("alias", "put", "/dialog", {"dialog_id": "{}", "name": "Changed"}),
    Door("dialog", "delete", "/dialog", {"dialog_id": "{}"}),
    Door("dialog", "delete", "/dialog?dialog_id={}"),
    Door("dialog", "get", "/history?dialog_id={}"),
    Door("alias", "get", "/history?dialog_id={}"),
    Door("dialog", "post", "/chat", {**_CHAT, "dialog_id": "{}"}, is_async=True),
    Door("dialog", "post", "/completion", {**_CHAT, "dialog_id": "{}"}, is_async=True),
    Door("alias", "post", "/chat", {**_CHAT, "dialog_id": "{}"}, is_async=True),
    Door(
        "link", "post", "/chat", {**_CHAT, "dialog_id": "{dialog}", "file_url": "{}"},
        is_async=True,
    ),
    Door("dialog", "post", "/chat/stop", {"dialog_id": "{}"}),
    *(
        Door("message", "post", path, {**_SAID, field: "{}"})
        for path in ("/message/like", "/message/down")
        for field in ("message_id", "history_id")
    ),
    # Memory
    Door("dialog", "get", "/memory?dialog_id={}"),
    Door("dialog", "delete", "/memory", {"dialog_id": "{}"}),
    Door("dialog", "delete", "/memory?dialog_id={}"),
    Door("memory", "delete", "/memory", {"memory_id": "{}"}),
    Door("memory", "delete", "/memory?memory_id={}"),
    # Workspace
    Door("session", "post", "/workspace/session/{}"),
    Door("session", "delete", "/workspace/session", {"session_id": "{}"}),
    Door("session", "delete", "/workspace/session?session_id={}"),
    *(
        Door(what, "post", "/workspace/simple/chat",
             {"query": "Hi", "model_id": "{llm}", field: sent}, is_async=True)
        for what, field, sent in (
            ("llm", "model_id", "{}"), ("tool", "plugins", ["{}"]),
            ("server", "mcp_servers", ["{}"]),
        )
    ),
    # Tasks
    Door("conversation", "get", "/conversations/{}"),
    Door("conversation", "get", "/conversations/{}?full=1"),
    Door("conversation", "delete", "/conversations/{}"),
    Door("conversation", "post", "/messages", {**_HI, "conversation_id": "{}"}, 400),
    Door("task", "get", "/tasks/{}", is_async=True),
    Door("task", "get", "/tasks/{}?from=1&wait=1", is_async=True),
    Door("task", "get", "/tasks/{}/events", is_async=True),
    Door("task", "post", "/tasks/{}/cancel"),
    *(
        Door(what, verb, path, body)
        for what, path, field in (
            ("prompt", "/prompts", "prompt_name"),
            ("manner", "/personalizations", "personalization_name"),
        )
        for verb, path, body in (
            ("get", f"{path}/{{}}", None),
            ("delete", f"{path}/{{}}", None),
            ("post", "/conversations", {field: "{}"}),
            ("post", "/messages", {**_HI, field: "{}"}),
        )
    ),
    Door("picture", "post", "/messages", {**_HI, "images": ["{}"]}, 400),
    # Files
    Door("folder", "get", "/files?path={}"),
    Door("folder", "get", "/files/download?path={}", is_async=True),
    Door("picture", "get", "/files/download?path={}", is_async=True),
    Door("folder", "delete", "/files?path={}"),
    # The history of all channels
    Door("call", "get", "/history/{}"),
    Door("call", "put", "/history/{}", {"title": "Changed"}),
    Door("call", "patch", "/history/{}", {"title": "Changed"}),
    Door("call", "delete", "/history/{}"),
    Door("agent", "get", "/history?assistant_id={}"),
]  # fmt: skip

_KINDS: tuple[type[Model], ...] = (
    Assistant, Llm, Tool, McpServer, KnowledgeBase, Conversation, Message, Call, Memory, Feedback,
    Run, Prompt, Personalization,
)  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """All that these doors can change, but for files."""
    return [
        {name: str(value) for name, value in values.items()}
        for kind in _KINDS
        for values in kind._base_manager.order_by("pk").values()
    ]
