"""Calls of tools, from the question to the one outcome, and the choices among them. Pure.

While a reply waits for a choice, what the user says does not interrupt it: it may be the choice.
Words that are not are a turn like any other, answered by the model, which alone knows what "how
much is the second one?" is about; the choice stays open meanwhile. Chosen after its reply is gone,
an option is what the user says next.
"""

from __future__ import annotations

import dataclasses

from django.utils.translation import gettext as _

from conversations.events import ToolReturned
from conversations.history import stored_call
from conversations.types import MessageEntry
from realtime import choices, messages
from realtime.choices import Choice
from realtime.events import (
    DropUtterance,
    Record,
    ResolveTool,
    ToolAnswered,
    ToolAsked,
    ToolRefused,
    ToolTimedOut,
)
from realtime.messages import Problem, ToolOutput, ToolResults
from realtime.replies import corrected_entries, corrected_pieces, tool_entry
from realtime.session.replying import say_prompt
from realtime.session.state import Draft, OpenTool, Session, since_start
from realtime.session.turns import add_typed, go_on_without_reply

TOOL_CUT_OFF = 499
TOOL_LATE = 504


def ask_tool(draft: Draft, event: ToolAsked) -> None:
    called = event.called
    if not _note_call(draft, event):
        return
    if (namesake := _open_tool(draft, called.call_id)) is not None:
        # Vendors number the calls of each turn anew; the older one can no longer be answered.
        settle(draft, namesake, TOOL_CUT_OFF, _("Another call took its id."))
    is_choice = called.executor == "client" and called.name in choices.CHOICE_TOOLS
    arguments = choices.normalised(called.arguments) if is_choice else called.arguments
    options = choices.options_of(arguments) if is_choice and called.wait_for_response else ()
    if options:
        _withdraw_choices(draft)
    tool = OpenTool(
        called.call_id,
        called.name,
        event.turn,
        called.executor,
        waits=called.wait_for_response,
        timeout_ms=called.timeout_ms,
        asked_at_ms=draft.moment.at_ms,
        options=options,
    )
    draft.change(tools=(*draft.session.tools, tool))
    # After the opener nobody speaks: its prompts are replies of their own.
    may_speak = not event.is_manual or draft.session.phase == "listening"
    is_spoken = event.prompt != "" and may_speak
    draft.send(
        messages.ToolRequested(
            turn=event.turn,
            call_id=called.call_id,
            name=called.name,
            arguments=arguments,
            executor=called.executor,
            wait_for_response=called.wait_for_response,
            timeout_ms=called.timeout_ms,
            is_spoken=is_spoken,
        )
    )
    if is_spoken and event.is_manual:
        say_prompt(draft, event.prompt)


def _note_call(draft: Draft, event: ToolAsked) -> bool:
    """Writes the call down; False where the reply that makes it is gone."""
    if event.is_manual:
        entry = MessageEntry(
            turn=event.turn,
            role="assistant",
            text="",
            tool_calls=(stored_call(event.called),),
            at=draft.moment.at,
        )
        draft.keep(entry)
        draft.do(Record(entry))
    elif reply := draft.live(event.turn):
        draft.change_reply(reply, pieces=(*reply.pieces, event.called))
    else:
        return False
    return True


def answer_tool(draft: Draft, event: ToolAnswered) -> None:
    returned = event.returned
    tool = _open_tool(draft, returned.call_id)
    if tool is not None:
        settle(
            draft,
            tool,
            returned.code,
            returned.message,
            output=returned.output,
            duration_ms=returned.duration_ms,
        )


def note_refusal(draft: Draft, event: ToolRefused) -> None:
    """Tells of a call that never ran, for who looks into what a model does."""
    turn, refused = event.turn, event.refused
    reply = draft.live(turn)
    if reply is None:
        return
    draft.change_reply(reply, pieces=(*reply.pieces, refused))
    draft.send(
        messages.ToolRequested(
            turn=turn,
            call_id=refused.call_id,
            name=refused.name,
            arguments={},
            executor=refused.executor,
            wait_for_response=True,
            timeout_ms=0,
            refused_arguments=refused.refused_arguments,
        )
    )
    result = ToolOutput(refused.call_id, refused.name, "", refused.code, refused.message)
    draft.send(messages.ToolSettled(turn, refused.executor, result))


def time_out_tool(draft: Draft, event: ToolTimedOut) -> None:
    tool = _open_tool(draft, event.call_id)
    if tool is not None and not tool.has_waiter:
        settle(draft, tool, TOOL_LATE, _("No answer in time."))


def take_results(draft: Draft, event: ToolResults) -> None:
    for result in event.results:
        _take_result(draft, result)


def _take_result(draft: Draft, result: ToolOutput) -> None:
    tool = _open_tool(draft, result.call_id)
    if tool is None or tool.executor != "client" or tool.is_answered:
        _take_report(draft, result)
        return
    is_late_choice = bool(tool.options) and not draft.session.waits_for(tool)
    if tool.options:
        _drop_answers(draft)
    _hand_over(draft, tool, result)
    if is_late_choice and result.code < 400 and (label := choices.label_of(result.output)):
        # Nothing else would answer it.
        add_typed(draft, label)
    go_on_without_reply(draft)


def _take_report(draft: Draft, result: ToolOutput) -> None:
    """A device may say once what became of a call whose outcome was "accepted"."""
    if result.call_id not in draft.session.accepted_ids:
        message = _("No call with this id waits for a result.")
        draft.send(Problem("tool.unknown_call", message, "tool", call_id=result.call_id))
        return
    draft.change(accepted_ids=draft.session.accepted_ids - {result.call_id})
    if result.code >= 400:
        _correct(draft, result)


def _correct(draft: Draft, result: ToolOutput) -> None:
    """The device could not do what was accepted: the model must not believe that it did."""
    reply = draft.session.reply
    if reply is not None:
        draft.change_reply(reply, pieces=corrected_pieces(reply.pieces, result))
    draft.change(entries=corrected_entries(draft.session.entries, result))


def _open_tool(draft: Draft, call_id: str) -> OpenTool | None:
    found = [tool for tool in draft.session.tools if tool.call_id == call_id]
    return found[0] if found else None


def _hand_over(draft: Draft, tool: OpenTool, result: ToolOutput) -> None:
    """Gives the answer to the reply that waits for it; without one it is the call's outcome."""
    if tool.has_waiter:
        draft.do(ResolveTool(result))
    if tool.has_waiter and (draft.session.waits_for(tool) or not tool.options):
        answered = dataclasses.replace(tool, is_answered=True)
        draft.change(tools=tuple(answered if t is tool else t for t in draft.session.tools))
        return
    duration_ms = max(0, round(draft.moment.at_ms - tool.asked_at_ms))
    settle(draft, tool, result.code, result.message, output=result.output, duration_ms=duration_ms)


def settle(
    draft: Draft,
    tool: OpenTool,
    code: int,
    message: str,
    *,
    output: str = "",
    duration_ms: int = 0,
) -> None:
    """Gives a call its one outcome."""
    session = draft.session
    draft.change(tools=tuple(other for other in session.tools if other is not tool))
    if tool.executor == "client" and not tool.waits:
        draft.change(accepted_ids=session.accepted_ids | {tool.call_id})
    result = ToolOutput(tool.call_id, tool.name, output, code, message)
    draft.send(messages.ToolSettled(tool.turn, tool.executor, result))
    if code == TOOL_LATE:
        late = _("The tool did not answer in time.")
        draft.send(
            Problem(
                "tool.timeout",
                late,
                "tool",
                is_retryable=True,
                turn=tool.turn,
                call_id=tool.call_id,
            )
        )
    returned = ToolReturned(
        tool.call_id, tool.name, output, tool.executor, code, message, duration_ms
    )
    reply = draft.live(tool.turn)
    if reply is not None and tool.has_waiter:
        draft.change_reply(reply, pieces=(*reply.pieces, returned))
        return
    entry = tool_entry(tool.turn, returned, draft.moment.at)
    draft.keep(entry)
    draft.do(Record(entry))


# --- choices -------------------------------------------------------------------------------------
def choice_in(session: Session, text: str, *, by_ms: int) -> tuple[OpenTool, Choice] | None:
    """The first open choice that the words make, of those that were asked by then."""
    for tool in session.open_choices:
        if since_start(session, tool.asked_at_ms) > by_ms:
            continue
        if choice := choices.match(text, tool.options, session.plan.language):
            return tool, choice
    return None


def choose(draft: Draft, tool: OpenTool, choice: Choice) -> None:
    """The user said it: the same as if their device had sent it."""
    _hand_over(draft, tool, ToolOutput(tool.call_id, tool.name, choice.output, 200, "ok"))


def _withdraw_choices(draft: Draft) -> None:
    """A new question takes the place of those whose reply is gone."""
    for tool in draft.session.open_choices:
        if not draft.session.waits_for(tool):
            message = _("Another question took its place.")
            _hand_over(draft, tool, ToolOutput(tool.call_id, tool.name, "", TOOL_CUT_OFF, message))


def _drop_answers(draft: Draft) -> None:
    """The choice was made by hand: what is being said over the reply is no answer any more."""
    session = draft.session
    dropped = [awaited for awaited in session.awaited if awaited.kind != "turn"]
    draft.do(*(DropUtterance(awaited.utterance) for awaited in dropped))
    draft.change(awaited=tuple(other for other in session.awaited if other not in dropped))
    if session.is_heard and session.reply is not None:
        draft.do(DropUtterance(session.utterance))
        draft.change(is_heard=False)
