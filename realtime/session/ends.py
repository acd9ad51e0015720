"""How a call begins, and how it ends. Pure."""

from __future__ import annotations

from django.utils.translation import gettext as _

from realtime import messages
from realtime.events import Admitted, Begun, Close, DropUtterance, Stopped
from realtime.messages import Hello, Problem, StopSession
from realtime.session.replying import interrupt, start_reply
from realtime.session.state import Draft
from realtime.session.tools import TOOL_CUT_OFF, settle
from realtime.session.turns import run_opener_calls


def admit(draft: Draft, event: Admitted) -> None:
    draft.change(phase="ready")


def begin(draft: Draft, event: Begun) -> None:
    plan = event.plan
    draft.change(phase="listening", plan=plan, began_at_ms=draft.moment.at_ms)
    draft.send(messages.SessionStarted(plan.resume))
    if plan.config is not None:
        draft.send(plan.config)
    if plan.has_opener:
        start_reply(draft)
    else:
        run_opener_calls(draft)


def refuse_order(draft: Draft, event: object) -> None:
    draft.send(Problem("protocol.order", _("Send session.start before anything else."), "protocol"))


def refuse_restart(draft: Draft, event: object) -> None:
    draft.send(Problem("protocol.order", _("The session has already started."), "protocol"))


def greet(draft: Draft, event: Hello) -> None:
    draft.send(messages.HelloAcknowledged())


def stop_as_asked(draft: Draft, event: StopSession) -> None:
    stop(draft, Stopped(event.reason or "client"))


def stop(draft: Draft, event: Stopped) -> None:
    if event.problem is not None:
        draft.send(event.problem)
    if draft.session.reply is not None:
        interrupt(draft, "session_end")
    if draft.session.is_heard:
        draft.do(DropUtterance(draft.session.utterance))
    for awaited in draft.session.awaited:
        draft.do(DropUtterance(awaited.utterance))
    for tool in draft.session.tools:
        settle(draft, tool, TOOL_CUT_OFF, _("The session ended."))
    if draft.session.phase not in ("connecting", "ready") or event.problem is None:
        draft.send(messages.SessionStopped(event.reason))
    draft.change(phase="closed", awaited=(), in_utterance=False, is_voiced=False, is_heard=False)
    draft.do(Close(event.close_code, event.problem))
