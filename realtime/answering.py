"""One reply: the model's text on its way to the client's screen and, spoken, to its ear."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from django.utils.translation import gettext as _

from assistants.runtime import AssistantRuntime
from conversations.events import (
    Cited,
    Linked,
    ModelAsked,
    TextDelta,
    ToolCalled,
    ToolReturned,
    TurnEvent,
    TurnFailed,
    TurnFinished,
)
from conversations.prompting import fill, with_builtins
from conversations.toolbox import Adopt, ClientToolResult, Toolbox
from conversations.turn import TurnRequest, run_turn
from core.errors import AppError, ProviderError
from providers.registry import speaker
from providers.types import ToolCall, Usage, VoiceSpec
from realtime.events import (
    Event,
    ReplyDone,
    Searched,
    StartReply,
    TextMade,
    ToolAnswered,
    ToolAsked,
    ToolRefused,
    VoiceFailed,
)
from realtime.messages import Problem, ToolOutput
from realtime.player import Player
from realtime.prompts import spoken_text
from realtime.segmenter import Segmenter, speakable

logger = logging.getLogger(__name__)

# Sentences that may wait for the voice; a model that is further ahead waits.
MAX_SEGMENTS_WAITING = 64

Dispatch = Callable[[Event], None]


class ClientDevice:
    """Waits for what the client's device answers to its tools."""

    def __init__(self) -> None:
        self._answers: dict[str, asyncio.Future[ClientToolResult]] = {}

    def expect(self, called: ToolCalled) -> None:
        """The call is about to be sent: what was known under its id is over."""
        if called.executor == "client" and called.wait_for_response:
            self._answers[called.call_id] = asyncio.get_running_loop().create_future()

    async def call(self, called: ToolCalled) -> ClientToolResult:
        try:
            return await self._answers[called.call_id]
        finally:
            self._answers.pop(called.call_id, None)

    def resolve(self, result: ToolOutput) -> None:
        """Takes the device's answer."""
        answer = self._answers.get(result.call_id)
        if answer is not None and not answer.done():
            answer.set_result(ClientToolResult(result.output, result.code, result.message))


class Thread:
    """By which ids this call goes on: ours, and that of the service that keeps the conversation."""

    def __init__(self, conversation_id: str, note: Callable[[str], None]) -> None:
        self.conversation_id = conversation_id
        self.remote_id = ""
        self._note = note

    def link(self, remote_id: str) -> None:
        """Takes the service's id, for the turns to come and for the record."""
        self.remote_id = remote_id
        self._note(remote_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Answering:
    """What all replies of a call share. Without a voice, they are text only.

    With `speaks_prompts` the session's voice says voice prompts, and the device does not. `quiet`
    waits for the end of the reply that runs.
    """

    runtime: AssistantRuntime
    voice: VoiceSpec | None
    variables: dict[str, str]
    dispatch: Dispatch
    device: ClientDevice
    adopt: Adopt
    speaks_prompts: bool
    thread: Thread
    quiet: Callable[[], Awaitable[None]]

    def prompt_of(self, called: ToolCalled) -> str:
        """What the session's voice is to say for this call; empty where the device has to."""
        return spoken_text(called) if self.speaks_prompts and self.voice is not None else ""


class Answer:
    """One reply in the making. Cancelling `run` closes the streams to the vendors."""

    def __init__(self, shared: Answering, start: StartReply, player: Player | None) -> None:
        self._shared = shared
        self._start = start
        self.player = player
        self._segmenter = Segmenter()
        self._segments: asyncio.Queue[str | None] = asyncio.Queue(MAX_SEGMENTS_WAITING)
        self._writer: asyncio.Task[None] | None = None
        self._voice: asyncio.Task[None] | None = None
        self._is_finishing = False
        self._has_lost_voice = False
        self._has_ended_sentence = False
        self._text = ""
        self._follows_prompt = False
        self._usage = Usage()
        self._failure: Problem | None = None

    async def run(self) -> None:
        """Writes, speaks, and says when all of it is done and heard."""
        try:
            async with asyncio.TaskGroup() as group:
                self._writer = group.create_task(self._write())
                if self.player is not None:
                    self._voice = group.create_task(self._speak(self.player))
            if self.player is not None:
                self.player.finish()
                await self.player.heard_out()
        except* Exception:
            # The outer edge of a reply: the call goes on without it.
            logger.exception("a reply failed")
            self._failure = self._problem("internal", _("Something went wrong."))
        self._shared.dispatch(ReplyDone(self._start.turn, self._usage, self._failure))

    def finish_sentence(self) -> None:
        """Ends the reply with the sentence that is being heard, or written where none is spoken."""
        self._is_finishing = True
        if self.player is None or self._writer is None:
            return
        self._writer.cancel()
        is_spoken = self.player.finish_current() or self._has_lost_voice
        if is_spoken and self._voice is not None:
            self._voice.cancel()

    # --- the text --------------------------------------------------------------------------------
    async def _write(self) -> None:
        async with aclosing(self._events()) as events:
            async for event in events:
                await self._take(event)
                if self._is_finishing and self._has_ended_sentence:
                    break
        await self._say(*self._segmenter.flush())
        if self.player is not None:
            await self._segments.put(None)

    def _events(self) -> AsyncGenerator[TurnEvent, None]:
        shared, start = self._shared, self._start
        if self._has_fixed_text:
            return self._opener()
        request = TurnRequest(
            start.turn,
            start.text,
            start.history,
            shared.variables,
            conversation_id=shared.thread.conversation_id,
            remote_id=shared.thread.remote_id,
        )
        return run_turn(request, shared.runtime, client_tools=shared.device, adopt=shared.adopt)

    @property
    def _has_fixed_text(self) -> bool:
        is_own = not self._shared.runtime.generates_opener or self._start.prompt != ""
        return not self._start.text and is_own

    @property
    def _recording(self) -> bytes | None:
        """The sound of the whole text, where it was made ahead of time."""
        is_opener = self._has_fixed_text and not self._start.prompt
        return self._shared.runtime.opener_pcm if is_opener else None

    async def _opener(self) -> AsyncGenerator[TurnEvent, None]:
        text = self._start.prompt or opener_text(self._shared.runtime, self._shared.variables)
        yield TextDelta(text)
        yield TurnFinished("stop", Usage())

    async def _take(self, event: TurnEvent) -> None:
        turn, dispatch = self._start.turn, self._shared.dispatch
        match event:
            case TextDelta(text):
                await self._add(text)
            case ToolCalled():
                prompt = "" if self._has_lost_voice else self._shared.prompt_of(event)
                if prompt and not self._text.rstrip().endswith(prompt):
                    await self._add_prompt(prompt)
                # What was said so far is heard while the tool runs.
                await self._say(*self._segmenter.flush())
                self._shared.device.expect(event)
                dispatch(ToolAsked(turn, event, prompt=prompt))
            case ToolReturned(refused_arguments=None):
                dispatch(ToolAnswered(event))
            case ToolReturned():
                dispatch(ToolRefused(turn, event))
            case Cited():
                dispatch(Searched(turn, event))
            case Linked(remote_id):
                self._shared.thread.link(remote_id)
            case ModelAsked(attempt=attempt) if attempt > 1 and self._text:
                # What was said cannot be taken back; what stands in its place begins a line.
                await self._add("\n")
            case TurnFinished(usage=usage):
                self._usage = usage
            case TurnFailed():
                self._usage = event.usage
                self._failure = self._problem(
                    "llm.failed", event.message, is_retryable=event.is_retryable
                )
            case _:
                pass

    async def _add(self, text: str) -> None:
        if self._follows_prompt and not text[:1].isspace():
            text = "\n" + text
        self._follows_prompt = False
        self._text += text
        self._shared.dispatch(TextMade(self._start.turn, text))
        await self._say(*([text] if self._recording else self._segmenter.push(text)))

    async def _add_prompt(self, prompt: str) -> None:
        """Says what a tool asks to be said, in a line of its own."""
        is_line = not self._text or self._text[-1].isspace()
        await self._add(prompt if is_line else "\n" + prompt)
        self._follows_prompt = True

    async def _say(self, *texts: str) -> None:
        self._has_ended_sentence = bool(texts)
        if self.player is not None:
            for text in texts:
                await self._segments.put(text)

    def _problem(self, code: str, message: str, *, is_retryable: bool = False) -> Problem:
        return Problem(code, message, "llm", is_retryable=is_retryable, turn=self._start.turn)

    # --- the voice -------------------------------------------------------------------------------
    async def _speak(self, player: Player) -> None:
        try:
            while (text := await self._segments.get()) is not None:
                await player.room()
                player.begin_segment(text)
                await self._synthesise(player, text)
                player.end_segment()
                if self._is_finishing:
                    return
        except AppError as error:
            is_permanent = isinstance(error, ProviderError) and error.is_permanent
            self._shared.dispatch(
                VoiceFailed(self._start.turn, str(error.message), is_retryable=not is_permanent)
            )
            player.finish()
            self._has_lost_voice = True
            # The text goes on without its sound, unless its writer was stopped.
            while not self._is_finishing and await self._segments.get() is not None:
                pass

    async def _synthesise(self, player: Player, text: str) -> None:
        if self._recording is not None:
            player.push(self._recording)
            return
        has_sources = self._shared.runtime.knowledge is not None
        voice, spoken = self._shared.voice, speakable(text, has_sources=has_sources)
        if not spoken or voice is None:
            return
        started = time.monotonic()
        async with speaker(voice).speak(spoken) as pieces:
            async for pcm in pieces:
                if player.tts_ttfb_ms is None:
                    player.tts_ttfb_ms = round((time.monotonic() - started) * 1000)
                await player.room()
                player.push(pcm)


async def run_opener_calls(shared: Answering) -> None:
    """The assistant's tool calls after its opener, one after another."""
    toolbox = Toolbox(shared.runtime, shared.device)
    for number, call in enumerate(shared.runtime.opener_tool_calls, 1):
        asked = ToolCall(f"opener_{number}", call.tool_name, json.dumps(call.arguments))
        called = toolbox.admit(asked)
        if not isinstance(called, ToolCalled):
            logger.warning("an opener's call of %s is left out: %s", call.tool_name, called.message)
            continue
        shared.device.expect(called)
        shared.dispatch(ToolAsked(0, called, is_manual=True, prompt=shared.prompt_of(called)))
        async with aclosing(toolbox.run_all([called], shared.adopt)) as results:
            async for returned in results:
                shared.dispatch(ToolAnswered(returned))
        # What it made somebody say is heard before the next.
        await shared.quiet()


def opener_text(runtime: AssistantRuntime, variables: dict[str, str]) -> str:
    """The assistant's first words, with the caller's variables."""
    now = datetime.datetime.now(datetime.UTC)
    return fill(runtime.opener, with_builtins(variables, time_zone=runtime.time_zone, now=now))
