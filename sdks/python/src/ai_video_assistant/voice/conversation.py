"""A conversation: texts and sound in, events out, over a connection that may come back."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from ai_video_assistant._retries import backoff
from ai_video_assistant._settings import Settings
from ai_video_assistant.errors import (
    ConfigurationError,
    ConversationClosedError,
    ConversationError,
    ConversationLostError,
    ReplyTimeoutError,
    ResumeExpiredError,
)
from ai_video_assistant.voice.events import (
    AudioChunk,
    AudioCleared,
    AudioEnded,
    AudioStarted,
    Event,
    Heartbeat,
    Problem,
    Reconnected,
    Reconnecting,
    ResponseInterrupted,
    SessionResumed,
    SessionStarted,
    SessionStopped,
    ToolCall,
    ToolResult,
    UnknownEvent,
    decode,
)
from ai_video_assistant.voice.feed import Feed
from ai_video_assistant.voice.options import Options
from ai_video_assistant.voice.outbox import Outbox
from ai_video_assistant.voice.protocol import (
    ABNORMAL,
    FRAME_BYTES,
    MAX_TEXT_CHARS,
    MESSAGE_BYTES,
    NORMAL,
    Closed,
    closing_error,
    problem_error,
)
from ai_video_assistant.voice.replies import Replies
from ai_video_assistant.voice.socket import Socket, SocketClosedError
from ai_video_assistant.voice.tools import Toolbox, ToolFunction

STOP_TIMEOUT_S = 3.0
# Between the server's word that the session is over and the end of the connection.
STOPPED_TIMEOUT_S = 2.0
# What the server may say between why it ends a session and the end.
_LAST_WORDS = (
    Problem,
    ResponseInterrupted,
    ToolResult,
    AudioCleared,
    AudioEnded,
    SessionStopped,
    UnknownEvent,
)
F = TypeVar("F", bound=ToolFunction)
Entered = TypeVar("Entered", SessionStarted, SessionResumed)


class Conversation:
    """A conversation with an assistant. Made by a client's `connect`.

    async with client.connect(assistant_id) as conversation:
        print(await conversation.send_text("Hello"))

    Iterating gives the events of the whole conversation, each once; it ends with the conversation,
    and raises ConversationError if that ended otherwise than by one of the two sides' wish.
    """

    def __init__(
        self, settings: Settings, options: Options, tools: Mapping[str, ToolFunction]
    ) -> None:
        self._settings = settings
        self._options = options
        self._tools = Toolbox(tools, self._send)
        self._replies = Replies()
        self._feed = Feed()
        # Of other readers, for as long as they read.
        self._other_feeds: weakref.WeakSet[Feed] = weakref.WeakSet()
        self._rest = b""
        self._tts_id = ""
        self._socket: Socket | None = None
        self._session: SessionStarted | SessionResumed | None = None
        self._last_seq = 0
        self._outbox = Outbox()
        self._problem: Problem | None = None
        self._stopped: SessionStopped | None = None
        # Set while frames can be sent, and when the conversation is over; cleared in between.
        self._is_settled = asyncio.Event()
        self._is_over = asyncio.Event()
        self._is_entered = False
        self._is_stopping = False
        self._failure: ConversationError | None = None
        self._running: asyncio.Task[None] | None = None

    # --- its life --------------------------------------------------------------------------------
    async def __aenter__(self) -> Self:
        """Connects, and waits until the session has started. Raises ConversationError."""
        if self._is_entered:
            raise ConfigurationError("a conversation is entered once; connect again for another")
        self._is_entered = True
        try:
            self._socket = await self._begin()
        except ConversationError as error:
            self._end(error)
            raise
        self._is_settled.set()
        self._running = asyncio.create_task(self._run(self._socket))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        running, self._running = self._running, None
        assert running is not None
        try:
            if self._socket is not None and not self._is_over.is_set():
                await self.stop()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self._tools.stop()
            if self._socket is not None:
                await self._socket.close()

    @property
    def session_id(self) -> str:
        """The id of the session; the history lists the conversation under it."""
        return self._session.session_id if self._session is not None else ""

    def has_capability(self, name: str) -> bool:
        """Whether `connect` was given this capability."""
        return name in self._options.capabilities

    async def stop(self, reason: str = "") -> None:
        """Ends the conversation. Leaving the `async with` block does the same."""
        self._is_stopping = True
        frame = {"type": "session.stop", **({"reason": reason} if reason else {})}
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._send(frame)
                await self._is_over.wait()
        except (TimeoutError, ConversationError):
            self._end(None)

    # --- what the user says ----------------------------------------------------------------------
    async def send_text(self, text: str, *, timeout: float | None = None) -> str:
        """Says something in writing, and returns the text of the reply, when that is complete.

        It interrupts a reply that is running. A spoken reply is complete when it was heard. Raises
        ReplyInterruptedError, ReplyFailedError, ReplyTimeoutError, or how the conversation ended.
        """
        if not text.strip() or len(text) > MAX_TEXT_CHARS:
            raise ConfigurationError(f"a text has 1 to {MAX_TEXT_CHARS} characters")
        timeout_s = self._options.reply_timeout_s if timeout is None else timeout
        try:
            async with asyncio.timeout(timeout_s):
                return await self._asked({"type": "input.text", "text": text})
        except TimeoutError:
            raise ReplyTimeoutError(
                f"no complete reply within {timeout_s:g} s", code="reply.timeout"
            ) from None

    async def send_audio(self, pcm: bytes) -> None:
        """Says something aloud: pcm_s16le, 16000 Hz, one channel, in pieces of any even size.

        Send it as fast as it is spoken: the server keeps ten seconds. While the connection is being
        made again it is dropped.
        """
        if len(pcm) % 2:
            raise ConfigurationError("the audio has half a sample")
        if self._is_entered and not self._is_settled.is_set():
            return
        self._rest += pcm
        whole = len(self._rest) - len(self._rest) % FRAME_BYTES
        audio, self._rest = self._rest[:whole], self._rest[whole:]
        for start in range(0, len(audio), MESSAGE_BYTES):
            await self._send(audio[start : start + MESSAGE_BYTES])

    async def commit(self) -> None:
        """Push-to-talk: what was said so far is the whole of it."""
        if self._rest:
            rest, self._rest = self._rest, b""
            await self._send(rest.ljust(FRAME_BYTES, b"\0"))
        await self._send({"type": "input.commit"})

    async def clear(self) -> None:
        """Push-to-talk: forget what was said since the last turn."""
        self._rest = b""
        await self._send({"type": "input.clear"})

    async def cancel(self, *, graceful: bool = False) -> None:
        """Stops the reply; a graceful one ends with the sentence that is being spoken."""
        await self._send({"type": "response.cancel", "graceful": graceful})

    async def report_played(self, tts_id: str, played_ms: float) -> None:
        """Tells how much of a reply's sound was really played, for an exact history.

        Counts with the capability "playback_ack".
        """
        await self._send(
            {"type": "output.audio.played", "tts_id": tts_id, "played_ms": max(0.0, played_ms)}
        )

    # --- what happens ----------------------------------------------------------------------------
    def __aiter__(self) -> AsyncIterator[Event]:
        return self._feed.read()

    def events(self) -> AsyncIterator[Event]:
        """The events from now on, for one more reader."""
        feed = Feed()
        if self._is_over.is_set():
            feed.end(self._failure)
        self._other_feeds.add(feed)
        return feed.read()

    def tool(self, name: str) -> Callable[[F], F]:
        """Registers a function for a tool that runs on the client.

            @conversation.tool("turn_on_camera")
            async def turn_on_camera() -> str: ...

        It gets the arguments by name; what it returns, if the assistant waits for it, must be JSON.
        One that is not a coroutine runs in a thread. Raise ToolError to tell the model what failed.
        """

        def register(function: F) -> F:
            self._tools.add(name, function)
            return function

        return register

    # --- the connection --------------------------------------------------------------------------
    async def _begin(self) -> Socket:
        """A new session. Raises ConversationError."""
        socket = await Socket.open(self._settings, self._options)
        self._last_seq, self._stopped, self._outbox = 0, None, Outbox()
        await self._entered(socket, self._options.start_frame(), SessionStarted)
        return socket

    async def _resume(self, session: SessionStarted | SessionResumed) -> Socket:
        """The same session over a new connection, by which nothing that was said is lost.

        Raises ConversationError.
        """
        socket = await Socket.open(self._settings, self._options)
        frame = {
            "type": "session.resume",
            "session_id": session.session_id,
            "resume_token": session.resume_token,
            "last_seq": self._last_seq,
        }
        resumed = await self._entered(socket, frame, SessionResumed)
        await self._repeat(socket, resumed.received)
        return socket

    async def _repeat(self, socket: Socket, received: int | None) -> None:
        """Sends again what the server has not received; what does not leave, the next time."""
        try:
            for message in self._outbox.to_repeat(received):
                await socket.send_json(message)
        except SocketClosedError:
            return

    async def _entered(
        self, socket: Socket, frame: dict[str, Any], awaited: type[Entered]
    ) -> Entered:
        """The answer to the first frame, if it is as it should be."""
        self._problem = None
        try:
            async with asyncio.timeout(self._options.connect_timeout_s):
                await socket.send_json(frame)
                while not isinstance(event := self._received(await socket.receive()), awaited):
                    self._dispatch(event)
                    _check_understood(event)
        except TimeoutError:
            await socket.close()
            raise ConversationLostError(
                "the server did not start the session in time",
                code="connection.timeout",
                is_retryable=True,
            ) from None
        except SocketClosedError as error:
            raise closing_error(error.closed, self._problem) from None
        except BaseException:
            await socket.close()
            raise
        self._session = event
        self._dispatch(event)
        return event

    async def _run(self, socket: Socket) -> None:
        """Reads until the conversation is over, over as many connections as it takes."""
        failure: ConversationError | None = ConversationClosedError(
            "the conversation was left", code="client.left"
        )
        try:
            while True:
                closed = await self._read(socket)
                if self._is_stopping or closed.code == NORMAL:
                    failure = None
                    return
                ended = closing_error(closed, self._problem, self._stopped)
                if not closed.is_lost:
                    failure = ended
                    return
                socket = await self._come_back(ended)
        except ConversationError as error:
            failure = error
        finally:
            self._end(failure)

    async def _read(self, socket: Socket) -> Closed:
        """Dispatches what comes, until the socket is closed."""
        try:
            while self._stopped is None:
                self._dispatch(self._received(await socket.receive()))
            async with asyncio.timeout(STOPPED_TIMEOUT_S):
                while True:
                    self._dispatch(self._received(await socket.receive()))
        except SocketClosedError as error:
            return error.closed
        except TimeoutError:
            return Closed(ABNORMAL)

    async def _come_back(self, lost: ConversationError) -> Socket:
        """A connection over which the conversation goes on. Raises ConversationError."""
        self._is_settled.clear()
        self._socket, session, policy = None, self._session, self._options.reconnect
        if session is None or not policy.is_on:
            raise lost
        can_resume = session.resume_token is not None and self._stopped is None
        if not can_resume and not policy.is_fresh:
            raise lost
        self._publish(Reconnecting(reason=str(lost)))
        within_s = min(policy.within_s, session.resume_within_s) if can_resume else policy.within_s
        until, attempt = time.monotonic() + within_s, 0
        while True:
            attempt += 1
            pause_s = backoff(attempt)
            if time.monotonic() + pause_s > until:
                raise lost
            await asyncio.sleep(pause_s)
            try:
                socket = await (self._resume(session) if can_resume else self._begin_again())
            except ResumeExpiredError:
                if not policy.is_fresh:
                    raise
                can_resume = False
                continue
            except ConversationError as error:
                if not error.is_retryable and not isinstance(error, ConversationLostError):
                    raise
                continue
            self._socket = socket
            self._is_settled.set()
            return socket

    async def _begin_again(self) -> Socket:
        """Another session, in which nobody waits for the replies of the old one."""
        socket = await self._begin()
        self._replies.fail(
            ConversationLostError("the session was lost; another began", code="session.lost")
        )
        self._replies = Replies()
        await self._tools.stop()
        self._publish(Reconnected(is_fresh=True))
        return socket

    def _end(self, failure: ConversationError | None) -> None:
        """The conversation is over: whoever waits for something of it is told."""
        if self._is_over.is_set():
            return
        self._failure = failure
        self._is_over.set()
        self._is_settled.set()
        self._replies.fail(self._gone())
        for feed in (self._feed, *self._other_feeds):
            feed.end(failure)

    def _gone(self) -> ConversationError:
        message = "the conversation is over"
        return self._failure or ConversationClosedError(message, code="session.stopped")

    async def _send(self, frame: dict[str, Any] | bytes) -> None:
        """Sends over the connection, also if it has to come back first.

        Raises ConversationError.
        """
        while True:
            socket = await self._connected()
            try:
                await self._give(socket, frame)
            except SocketClosedError:
                self._note_closed(socket)
            else:
                return

    async def _give(self, socket: Socket, frame: dict[str, Any] | bytes) -> None:
        """Leaves the frame to the connection. Raises SocketClosedError where that is impossible."""
        if isinstance(frame, bytes):
            await socket.send(frame)
            return
        socket.check_open()
        # Before anything is awaited: messages are kept in the order in which they leave.
        self._outbox.add(frame)
        await socket.send_json(frame)

    async def _asked(self, frame: dict[str, Any]) -> str:
        """Sends a text in the same way, and returns the reply."""
        while True:
            socket = await self._connected()
            # From here on the text may arrive.
            with self._replies.expecting() as expected:
                try:
                    await self._give(socket, frame)
                except SocketClosedError:
                    expected.is_unsent = True
                else:
                    return await expected.future
            self._note_closed(socket)

    async def _connected(self) -> Socket:
        """The socket, as soon as there is one. Raises how the conversation ended."""
        if not self._is_entered:
            raise ConfigurationError("use the conversation with `async with`")
        while not self._is_settled.is_set():  # the next connection may break before this goes on
            await self._is_settled.wait()
        if self._is_over.is_set() or self._socket is None:
            raise self._gone()
        return self._socket

    def _note_closed(self, socket: Socket) -> None:
        """Lets who sends wait until the reading side has noticed, too."""
        if self._socket is socket and not self._is_over.is_set():
            self._is_settled.clear()

    # --- events ----------------------------------------------------------------------------------
    def _received(self, frame: str | bytes) -> Event:
        if isinstance(frame, bytes):
            return AudioChunk(pcm=frame, tts_id=self._tts_id)
        return decode(frame)

    def _dispatch(self, event: Event) -> None:
        """Tells everybody of an event, once, whatever is sent again."""
        if isinstance(event, SessionResumed):
            self._publish(
                Reconnected(
                    seq=event.seq,
                    missed=event.missed,
                    tts_id=event.tts_id,
                    sound_offset_ms=event.sound_offset_ms,
                )
            )
            return
        if 0 < event.seq <= self._last_seq:
            return
        self._last_seq = max(self._last_seq, event.seq)
        match event:
            case Problem(turn=None):
                self._problem = event
            case _ if not isinstance(event, _LAST_WORDS):
                self._problem = None
        match event:
            case Heartbeat(received=int(received)):
                self._outbox.note_received(received)
            case SessionStopped():
                self._stopped = event
            case AudioStarted():
                self._tts_id = event.tts_id
            case ToolCall():
                self._tools.start(event)
            case ToolResult():
                self._tools.note(event)
        self._replies.take(event)
        self._publish(event)

    def _publish(self, event: Event) -> None:
        for feed in (self._feed, *self._other_feeds):
            feed.put(event)


def _check_understood(event: Event) -> None:
    """Raises what the server finds wrong with a first frame; it would wait for a better one."""
    if isinstance(event, Problem) and event.code.startswith("protocol."):
        raise problem_error(event)
