"""The state machine of a call: no event loop, no database, no clock."""

from __future__ import annotations

import dataclasses
import datetime
from collections import Counter
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations.events import Citation, Cited, ToolCalled, ToolReturned
from providers.types import AssistantMessage, ToolCall, ToolMessage, Usage, UserMessage
from realtime import messages
from realtime.choices import Choice, Option
from realtime.events import (
    Admitted,
    Begun,
    Close,
    DropUtterance,
    Effect,
    Event,
    FinishSentence,
    FinishUtterance,
    Moment,
    OpenUtterance,
    PartlyTranscribed,
    Plan,
    RecognitionFailed,
    Record,
    ReplyDone,
    ResolveTool,
    RunOpenerCalls,
    Searched,
    SegmentBegun,
    SegmentEnded,
    Send,
    SpeechStarted,
    SpeechStopped,
    SpeechSustained,
    StartReply,
    Stopped,
    StopReply,
    TextMade,
    ToolAnswered,
    ToolAsked,
    ToolRefused,
    ToolTimedOut,
    Transcribed,
    TurnEnded,
    VoiceBegun,
    VoiceFailed,
    VoiceSent,
    WatchTool,
)
from realtime.messages import (
    CancelResponse,
    ClearInput,
    CommitInput,
    Hello,
    Problem,
    StopSession,
    TextInput,
    ToolOutput,
    ToolResults,
)
from realtime.session import TRANSITIONS, Session, step

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
T = TypeVar("T")
TEA = Option("opt_1", "Green tea")


class Call:
    """A session driven by hand, one event after another, 10 ms apart."""

    def __init__(self, plan: Plan | None = None, *, is_begun: bool = True) -> None:
        self.session = Session()
        self.at_ms = 1000.0
        self.effects: list[Effect] = []
        self.do(Admitted())
        if is_begun:
            self.do(Begun(plan or Plan()))
        self.effects.clear()

    def do(
        self, *events: Event, heard: str = "", heard_ms: int = 0, sounds: bool = False
    ) -> list[Effect]:
        """Carries out the events; what came of them."""
        done: list[Effect] = []
        for event in events:
            self.at_ms += 10
            self.session, effects = step(
                self.session, event, Moment(self.at_ms, NOON, heard, heard_ms, sounds)
            )
            done += effects
        self.effects += done
        return done

    @property
    def phase(self) -> str:
        return self.session.phase

    def speak(self, text: str) -> list[Effect]:
        """A whole spoken turn, understood as the text."""
        done = self.do(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(1000.0, self.at_ms))
        return done + self.do(Transcribed(self.session.utterance, text))


def sent(effects: list[Effect], kind: type[T]) -> list[T]:
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def of(effects: list[Effect], kind: type[T]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def kinds(effects: list[Effect]) -> list[str]:
    return [type(e.message if isinstance(e, Send) else e).__name__ for e in effects]


def called(call_id: str = "c1", *, executor: Any = "client", waits: bool = True) -> ToolCalled:
    return ToolCalled(call_id, "tool", {"a": 1}, executor, waits, 15_000)


def asked(call_id: str = "c1", *labels: str) -> ToolCalled:
    """A call that lets the user choose."""
    arguments = {"question": "Which?", "options": [*(labels or ("Green tea", "Coffee"))]}
    return ToolCalled(call_id, "text_choice_prompt", arguments, "client", True, 60_000)


def returned(call_id: str = "c1", *, code: int = 200, executor: Any = "client") -> ToolReturned:
    return ToolReturned(call_id, "tool", "out", executor, code, "ok", 5)


def test_it_answers_a_spoken_turn_from_transcript_to_final() -> None:
    call = Call()
    done = call.speak("hello")
    assert kinds(done) == [
        "InputSpeechStarted",
        "OpenUtterance",
        "InputSpeechStopped",
        "FinishUtterance",
        "TranscriptFinal",
        "Record",
        "StartReply",
    ]
    assert of(done, StartReply) == [StartReply(1, "hello", ())]
    assert call.phase == "thinking"
    done = call.do(TextMade(1, "Hi "), TextMade(1, "there."))
    done += call.do(VoiceBegun(1, 80), SegmentBegun(1, 0, "Hi there.", 0))
    done += call.do(SegmentEnded(1, 0, 500), VoiceSent(1))
    assert call.phase == "speaking"
    done += call.do(ReplyDone(1, Usage(3, 2)))
    assert kinds(done) == [
        "FirstByte",
        "ResponseDelta",
        "ResponseDelta",
        "AudioStarted",
        "FirstByte",
        "TurnTimes",
        "AudioSegment",
        "AudioSegmentEnded",
        "AudioEnded",
        "ResponseFinal",
        "Record",
    ]
    assert call.phase == "listening"
    assert sent(done, messages.ResponseFinal) == [messages.ResponseFinal(1, "Hi there.")]


def test_it_tells_the_model_of_earlier_turns() -> None:
    call = Call()
    call.speak("one")
    call.do(TextMade(1, "first"), ReplyDone(1, Usage()))
    start = of(call.speak("two"), StartReply)[0]
    assert start.history == (UserMessage("one"), AssistantMessage("first"))


def test_it_measures_a_turn_from_the_last_voiced_sample() -> None:
    call = Call()
    call.do(SpeechStarted(0.9), SpeechStopped(0.1))
    ended_at = call.at_ms - 200
    call.do(TurnEnded(1000.0, ended_at), Transcribed(1, "hello"))
    done = call.do(TextMade(1, "Hi."), VoiceBegun(1, 7))
    times = sent(done, messages.TurnTimes)[0]
    assert times == messages.TurnTimes(1, 210, 10, 10, 7, 240)


def test_an_interruption_clears_sound_first_and_keeps_only_what_was_heard() -> None:
    call = Call()
    call.speak("tell me")
    call.do(TextMade(1, "One two three."), VoiceBegun(1, 80))
    call.do(SpeechStarted(0.9))
    assert call.phase == "speaking"
    done = call.do(SpeechSustained(), heard="One two", heard_ms=700)
    assert kinds(done) == ["StopReply", "AudioCleared", "Interrupted", "Record", "OpenUtterance"]
    interrupted = sent(done, messages.Interrupted)[0]
    assert interrupted == messages.Interrupted(1, "barge_in", "One two", 700, "One two three.")
    entry = of(done, Record)[0].entry
    assert (entry.text, entry.generated_text) == ("One two", "One two three.")
    assert entry.is_interrupted
    assert call.phase == "user_speaking"
    assert call.session.turn == 2
    call.do(TurnEnded(0, 0))
    start = of(call.do(Transcribed(2, "stop")), StartReply)[0]
    assert start.turn == 2
    assert start.history == (
        UserMessage("tell me"),
        AssistantMessage("One two [interrupted by the user here]"),
    )


def test_nothing_of_an_interrupted_reply_is_sent_later() -> None:
    call = Call()
    call.speak("tell me")
    call.do(TextMade(1, "One two three."), VoiceBegun(1, 80), SpeechStarted(0.9))
    call.do(SpeechSustained())
    late = call.do(
        TextMade(1, "four"), SegmentBegun(1, 1, "x", 5), VoiceSent(1), ReplyDone(1, Usage())
    )
    assert late == []
    assert not call.session.may_sound(1)


def test_short_speech_over_a_reply_is_ignored() -> None:
    call = Call()
    call.speak("tell me")
    call.do(TextMade(1, "One two three."), VoiceBegun(1, 80))
    done = call.do(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(0, 0))
    assert kinds(done) == ["InputSpeechStarted", "InputSpeechStopped"]
    assert call.phase == "speaking"
    assert "ResponseFinal" in kinds(call.do(ReplyDone(1, Usage())))


def test_speech_that_outlasts_a_reply_becomes_a_turn() -> None:
    call = Call()
    call.speak("tell me")
    call.do(TextMade(1, "One."), VoiceBegun(1, 80), SpeechStarted(0.9))
    done = call.do(ReplyDone(1, Usage()))
    assert of(done, OpenUtterance) == [OpenUtterance(2)]
    assert call.phase == "user_speaking"


def test_a_bot_that_cannot_be_interrupted_is_not() -> None:
    call = Call(Plan(can_be_interrupted=False))
    call.speak("tell me")
    call.do(TextMade(1, "One."), VoiceBegun(1, 80))
    assert kinds(call.do(SpeechStarted(0.9), SpeechSustained())) == ["InputSpeechStarted"]
    assert call.phase == "speaking"


def test_a_commit_by_hand_over_a_reply_takes_the_turn() -> None:
    call = Call()
    call.speak("tell me")
    call.do(TextMade(1, "One."), VoiceBegun(1, 80), SpeechStarted(0.9))
    done = call.do(TurnEnded(0, 0, is_by_hand=True), heard="One.")
    assert of(done, FinishUtterance) == [FinishUtterance(2)]
    assert call.phase == "thinking"


def test_speech_before_the_reply_is_heard_joins_the_question() -> None:
    call = Call()
    call.speak("I want")
    call.do(TextMade(1, "You "))
    done = call.do(SpeechStarted(0.9))
    assert sent(done, messages.Interrupted)[0].heard_text == ""
    call.do(TurnEnded(0, 0))
    start = of(call.do(Transcribed(2, "a dog")), StartReply)[0]
    assert (start.turn, start.text, start.history) == (2, "I want a dog", ())


def test_speech_while_words_are_being_recognised_waits_for_both() -> None:
    call = Call()
    call.do(SpeechStarted(0.9), TurnEnded(0, 0), SpeechStarted(0.9))
    assert of(call.do(Transcribed(1, "你好")), StartReply) == []
    start = of(call.do(TurnEnded(0, 0), Transcribed(2, "请问")), StartReply)[0]
    assert start.text == "你好请问"


def test_words_are_answered_after_a_cough() -> None:
    call = Call()
    call.speak("I want")
    call.do(SpeechStarted(0.9), TurnEnded(0, 0))
    start = of(call.do(Transcribed(2, " ")), StartReply)[0]
    assert (start.turn, start.text) == (2, "I want")


def test_an_empty_transcript_leads_back_to_listening() -> None:
    call = Call()
    done = call.speak("  ")
    assert "TranscriptFinal" not in kinds(done)
    assert call.phase == "listening"


def test_a_failed_recognition_is_reported_and_the_call_goes_on() -> None:
    call = Call()
    call.do(SpeechStarted(0.9), TurnEnded(0, 0))
    done = call.do(RecognitionFailed(1, "The recogniser failed.", True))
    problem = sent(done, Problem)[0]
    assert (problem.code, problem.stage, problem.is_retryable) == ("asr.failed", "asr", True)
    assert call.phase == "listening"
    assert of(call.speak("again"), StartReply)


def test_a_failed_model_ends_the_reply_once() -> None:
    call = Call()
    call.speak("hello")
    failure = Problem("llm.failed", "No.", "llm", turn=1)
    done = call.do(ReplyDone(1, Usage(), failure))
    assert sent(done, Problem) == [failure]
    assert sent(done, messages.ResponseFinal) == []
    assert call.phase == "listening"


def broken(turn: int) -> Problem:
    return Problem("internal", "No.", "llm", turn=turn)


def test_a_reply_that_breaks_while_it_sounds_is_cut_off() -> None:
    call = Call()
    call.speak("hello")
    call.do(TextMade(1, "One two three."), VoiceBegun(1, 80))
    done = call.do(ReplyDone(1, Usage(), broken(1)), heard="One two", heard_ms=700)
    assert kinds(done) == ["Problem", "StopReply", "AudioCleared", "Interrupted", "Record"]
    interrupted = sent(done, messages.Interrupted)[0]
    assert (interrupted.reason, interrupted.heard_text) == ("failed", "One two")
    entry = of(done, Record)[0].entry
    assert (entry.text, entry.is_interrupted, entry.error) == ("One two", True, "No.")
    assert call.phase == "listening"


def test_a_failed_reply_lets_go_of_the_tool_it_waited_for() -> None:
    call = Call()
    call.speak("choose")
    call.do(ToolAsked(1, called()))
    done = call.do(ReplyDone(1, Usage(), broken(1)))
    assert of(done, WatchTool) == [WatchTool("c1", 14_990)]
    result = ToolOutput("c1", "tool", "yes", 200, "ok")
    assert len(sent(call.do(ToolResults((result,))), messages.ToolSettled)) == 1


def test_words_understood_during_another_reply_are_answered_after_it() -> None:
    call = Call()
    call.do(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(0, 0))
    call.do(TextInput("typed"), TextMade(2, "Answer."), VoiceBegun(2, 80))
    assert of(call.do(Transcribed(1, "spoken")), StartReply) == []
    done = call.do(VoiceSent(2), ReplyDone(2, Usage()))
    (start,) = of(done, StartReply)
    assert (start.turn, start.text) == (3, "spoken")
    assert call.phase == "thinking"


def test_an_answer_that_was_heard_is_stored_once() -> None:
    call = Call()
    call.speak("hello")
    done = call.do(TextMade(1, "One."), VoiceBegun(1, 8), VoiceSent(1), ReplyDone(1, Usage()))
    entry = of(done, Record)[0].entry
    assert (entry.text, entry.generated_text) == ("One.", "")


def test_a_failed_voice_leaves_the_text() -> None:
    call = Call()
    call.speak("hello")
    done = call.do(TextMade(1, "Hi. "), VoiceFailed(1, "No voice.", True), TextMade(1, "You."))
    done += call.do(ReplyDone(1, Usage()))
    assert sent(done, Problem)[0].code == "tts.failed"
    assert sent(done, messages.ResponseFinal) == [messages.ResponseFinal(1, "Hi. You.")]


def test_text_interrupts_and_is_answered() -> None:
    call = Call()
    call.speak("tell me")
    call.do(TextMade(1, "One two."), VoiceBegun(1, 80))
    done = call.do(TextInput("stop"), heard="One", heard_ms=300)
    assert kinds(done) == [
        "StopReply",
        "AudioCleared",
        "Interrupted",
        "Record",
        "Record",
        "StartReply",
    ]
    assert sent(done, messages.Interrupted)[0].reason == "input_text"
    assert of(done, StartReply)[0].turn == 2


def test_text_while_the_user_speaks_drops_the_utterance() -> None:
    call = Call()
    call.do(SpeechStarted(0.9))
    done = call.do(TextInput("typed"))
    assert of(done, DropUtterance) == [DropUtterance(1)]
    assert of(done, StartReply)[0].text == "typed"


def test_a_cancel_with_nothing_running_does_nothing() -> None:
    call = Call()
    assert call.do(CancelResponse()) == []
    assert call.phase == "listening"


def test_a_cancelled_question_is_not_answered_later() -> None:
    call = Call()
    call.speak("tell me")
    done = call.do(CancelResponse())
    assert sent(done, messages.Interrupted)[0].reason == "client_cancel"
    assert of(call.speak("other"), StartReply)[0].text == "other"


def test_a_graceful_cancel_ends_with_the_sentence() -> None:
    call = Call()
    call.speak("tell me")
    call.do(TextMade(1, "One. Two."), VoiceBegun(1, 80))
    assert call.do(CancelResponse(is_graceful=True)) == [FinishSentence(1)]
    assert call.session.may_sound(1)
    done = call.do(VoiceSent(1), ReplyDone(1, Usage()), heard="One. ", heard_ms=500)
    assert kinds(done) == ["AudioEnded", "Interrupted", "Record"]
    assert sent(done, messages.Interrupted)[0].heard_text == "One. "


def test_the_opener_is_turn_zero_and_speech_before_its_sound_cancels_it() -> None:
    call = Call(is_begun=False)
    done = call.do(Begun(Plan(has_opener=True, has_opener_calls=True)))
    assert of(done, StartReply) == [StartReply(0, "", ())]
    done = call.do(SpeechStarted(0.9))
    assert sent(done, messages.Interrupted)[0].turn == 0
    assert call.phase == "user_speaking"


def test_opener_calls_run_once_after_the_opener() -> None:
    call = Call(is_begun=False)
    done = call.do(Begun(Plan(has_opener=True, has_opener_calls=True)))
    assert of(done, RunOpenerCalls) == []
    done = call.do(TextMade(0, "Hi."), ReplyDone(0, Usage()))
    assert kinds(done)[-1] == "RunOpenerCalls"
    call.speak("hello")
    assert of(call.do(ReplyDone(1, Usage())), RunOpenerCalls) == []


def test_text_mode_speaks_with_deltas_and_counts_them_as_heard() -> None:
    call = Call(Plan(output="text"))
    call.do(TextInput("hi"))
    call.do(TextMade(1, "One two"))
    assert call.phase == "speaking"
    done = call.do(CancelResponse())
    assert sent(done, messages.Interrupted)[0].heard_text == "One two"
    assert sent(done, messages.AudioCleared) == []


def test_a_waiting_client_tool_is_answered_once() -> None:
    call = Call()
    call.speak("choose")
    call.do(ToolAsked(1, called()))
    result = ToolOutput("c1", "tool", "yes", 200, "ok")
    assert call.do(ToolResults((result,))) == [ResolveTool(result)]
    assert sent(call.do(ToolResults((result,))), Problem)[0].code == "tool.unknown_call"
    done = call.do(ToolAnswered(returned()))
    assert len(sent(done, messages.ToolSettled)) == 1
    assert call.do(ToolAnswered(returned())) == []


def test_a_call_that_was_refused_is_told_and_written_down() -> None:
    call = Call()
    call.speak("do it")
    refused = ToolReturned("c1", "nothing", "", "server", 404, "No such tool.", 0, "{oops")
    done = call.do(TextMade(1, "Let me see."), ToolRefused(1, refused))
    (request,) = sent(done, messages.ToolRequested)
    assert (request.name, request.refused_arguments, request.executor) == (
        "nothing",
        "{oops",
        "server",
    )
    assert sent(done, messages.ToolSettled)[0].result.code == 404
    assert call.do(ToolRefused(9, refused)) == []  # of a turn that is over
    done = call.do(TextMade(1, "\nI cannot."), ReplyDone(1, Usage()))
    kept = [effect.entry for effect in of(done, Record)]
    assert [entry.role for entry in kept[-3:]] == ["assistant", "tool", "assistant"]
    assert kept[-3].tool_calls == (ToolCall("c1", "nothing", "{oops"),)
    assert kept[-2].outcome is not None
    assert kept[-2].outcome.code == 404


def test_a_tool_that_was_sent_keeps_its_result_after_a_barge_in() -> None:
    call = Call()
    call.speak("choose")
    call.do(ToolAsked(1, called()))
    done = call.do(SpeechStarted(0.9))
    assert of(done, WatchTool) == [WatchTool("c1", 14_990)]
    result = ToolOutput("c1", "tool", "yes", 200, "ok")
    done = call.do(ToolResults((result,)))
    assert sent(done, messages.ToolSettled)[0].result == result
    call.do(TurnEnded(0, 0))
    start = of(call.do(Transcribed(2, "well")), StartReply)[0]
    assert start.text == "well"
    assert start.history[0] == UserMessage("choose")
    assert isinstance(start.history[-1], ToolMessage)


def test_a_tool_that_nobody_waits_for_times_out_once() -> None:
    call = Call()
    call.speak("choose")
    call.do(ToolAsked(1, called()), SpeechStarted(0.9))
    done = call.do(ToolTimedOut("c1"))
    assert sent(done, messages.ToolSettled)[0].result.code == 504
    assert sent(done, Problem)[0].code == "tool.timeout"
    assert call.do(ToolTimedOut("c1")) == []


def test_a_device_may_report_on_an_accepted_call_once() -> None:
    call = Call()
    call.speak("louder")
    call.do(ToolAsked(1, called(waits=False)), ToolAnswered(returned()))
    result = ToolResults((ToolOutput("c1", "tool", "", 200, "ok"),))
    assert call.do(result) == []
    assert sent(call.do(result), Problem)[0].code == "tool.unknown_call"


@pytest.mark.parametrize(
    "event",
    [
        TextInput("x"),
        CancelResponse(),
        ToolResults(()),
        CommitInput(),
        ClearInput(),
        StopSession(),
    ],
)
def test_nothing_comes_before_the_start(event: Event) -> None:
    call = Call(is_begun=False)
    assert [problem.code for problem in sent(call.do(event), Problem)] == ["protocol.order"]
    assert kinds(call.do(Hello())) == ["HelloAcknowledged"]
    assert kinds(call.do(Begun(Plan()))) == ["SessionStarted"]
    assert [p.code for p in sent(call.do(Begun(Plan())), Problem)] == ["protocol.order"]


def test_stopping_ends_what_runs_and_closes() -> None:
    call = Call()
    call.speak("choose")
    call.do(ToolAsked(1, called()))
    done = call.do(StopSession("bye"))
    assert [m.reason for m in sent(done, messages.SessionStopped)] == ["bye"]
    assert len(sent(done, messages.Interrupted)) == 1
    assert sent(done, messages.ToolSettled)[0].result.code == 499
    assert of(done, Close) == [Close(1000, None)]
    assert call.do(TextInput("x"), Stopped("again")) == []


def test_it_tells_of_sources_and_keeps_them_with_the_answer() -> None:
    call = Call()
    call.speak("when?")
    one, two = (Citation(index, "a.pdf", "text", "kb", "doc", "7", 3, 0.5) for index in (1, 2))
    done = call.do(Searched(1, Cited((one,), "By words only.", 20)), Searched(1, Cited((), "", 5)))
    assert sent(done, messages.SourcesFound) == [messages.SourcesFound(1, (one,))]
    done = call.do(TextMade(1, "At nine."))
    done += call.do(Searched(1, Cited((two,), "By words only.", 5)), VoiceBegun(1, 80))
    assert sent(done, messages.SourcesFound) == [messages.SourcesFound(1, (two,))]
    assert sent(done, messages.TurnTimes)[0].knowledge_ms == 30
    (entry,) = (effect.entry for effect in of(call.do(ReplyDone(1, Usage())), Record))
    assert (entry.citations, entry.knowledge_note) == ((one, two), "By words only.")
    assert entry.metrics["knowledge_ms"] == 30


def test_the_time_of_a_search_is_not_the_models() -> None:
    call = Call()
    call.speak("when?")
    call.at_ms += 500
    done = call.do(Searched(1, Cited((), "", 500)), TextMade(1, "At nine."))
    assert [(m.stage, m.latency_ms) for m in sent(done, messages.FirstByte)] == [("llm", 20)]


def test_sources_of_an_interrupted_reply_are_dropped() -> None:
    call = Call()
    call.speak("when?")
    call.do(CancelResponse())
    citation = Citation(1, "a.pdf", "text", "kb", "doc", "7", 3, 0.5)
    assert call.do(Searched(1, Cited((citation,), "", 20))) == []


def test_every_transition_belongs_to_a_known_event() -> None:
    from typing import get_args

    assert {event for _phase, event in TRANSITIONS} <= set(get_args(Event))
    assert set(get_args(Event)) <= {event for _phase, event in TRANSITIONS}


# --- whatever happens ----------------------------------------------------------------------------
TURNS = st.integers(0, 5)
UTTERANCES = st.integers(0, 4)
TEXTS = st.sampled_from(["", "a", "Hello. ", "你好。", " x", "coffee"])
CALL_IDS = st.sampled_from(["c1", "c2", "c3"])
ANY_EVENT: st.SearchStrategy[Any] = st.one_of(
    st.just(Admitted()),
    st.builds(SpeechStarted, st.just(0.9)),
    st.just(SpeechSustained()),
    st.builds(SpeechStopped, st.just(0.1)),
    st.builds(TurnEnded, st.just(1.0), st.just(2.0), st.booleans()),
    st.builds(PartlyTranscribed, UTTERANCES, TEXTS),
    st.builds(Transcribed, UTTERANCES, TEXTS),
    st.builds(RecognitionFailed, UTTERANCES, st.just("no"), st.booleans()),
    st.builds(TextMade, TURNS, TEXTS),
    st.builds(
        ToolAsked,
        TURNS,
        st.builds(
            called, CALL_IDS, executor=st.sampled_from(["client", "server"]), waits=st.booleans()
        ),
        st.booleans(),
    ),
    st.builds(
        ToolAsked, TURNS, st.builds(asked, CALL_IDS), st.booleans(), st.sampled_from(["", "Say."])
    ),
    st.builds(ToolAnswered, st.builds(returned, CALL_IDS, code=st.sampled_from([200, 504]))),
    st.builds(ToolTimedOut, CALL_IDS),
    st.builds(
        ToolResults,
        st.tuples(st.builds(ToolOutput, CALL_IDS, st.just("t"), TEXTS, st.just(200), st.just(""))),
    ),
    st.builds(VoiceBegun, TURNS, st.none()),
    st.builds(SegmentBegun, TURNS, st.just(0), TEXTS, st.just(0)),
    st.builds(SegmentEnded, TURNS, st.just(0), st.just(0)),
    st.builds(VoiceSent, TURNS),
    st.builds(VoiceFailed, TURNS, st.just("no"), st.booleans()),
    st.builds(ReplyDone, TURNS, st.just(Usage())),
    TURNS.map(lambda turn: ReplyDone(turn, Usage(), broken(turn))),
    st.builds(TextInput, st.sampled_from(["typed", "also"])),
    st.builds(CancelResponse, st.booleans()),
    st.just(ClearInput()),
    st.just(CommitInput()),
)
# Half of the time, what really belongs to the live turn, so that runs get somewhere.
NEXT = st.one_of(
    ANY_EVENT,
    st.sampled_from(
        [
            *("speak", "speak_over", "understand", "write", "voice", "segment", "sent", "done"),
            *("fail", "ask", "choose", "click", "type"),
        ]
    ),
)
PLANS = st.builds(
    Plan,
    output=st.sampled_from(["audio", "text"]),
    can_be_interrupted=st.booleans(),
    has_opener=st.booleans(),
    has_opener_calls=st.booleans(),
)


def fitting(session: Session, name: str) -> list[Event]:
    """What a word of the plan means in this state."""
    turn = session.reply.turn if session.reply else session.turn
    failure = Problem("llm.failed", "no", "llm", turn=turn)
    meanings: dict[str, list[Event]] = {
        "speak": [SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(1, 2)],
        "speak_over": [SpeechStarted(0.9), SpeechSustained()],
        "understand": [Transcribed(a.utterance, f"words{a.utterance}") for a in session.awaited],
        "write": [TextMade(turn, "Some text. ")],
        "voice": [VoiceBegun(turn, 5)],
        "segment": [SegmentBegun(turn, 0, "Some text. ", 0), SegmentEnded(turn, 0, 700)],
        "sent": [VoiceSent(turn)],
        "done": [ReplyDone(turn, Usage())],
        "ask": [ToolAsked(turn, asked())],
        "choose": [
            *(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(session.began_at_ms, 1e9)),
            *(Transcribed(session.utterance + step, "coffee") for step in (0, 1)),
        ],
        "click": [ToolResults((ToolOutput("c1", "t", Choice(TEA).output, 200, "ok"),))],
        "type": [TextInput("coffee")],
        "fail": [ReplyDone(turn, Usage(), failure)],
    }
    return meanings[name]


@dataclasses.dataclass
class Witness:
    """Watches the effects of one call and objects to what must never happen."""

    live: int | None = None
    started: list[int] = dataclasses.field(default_factory=list)
    ends: Counter[int] = dataclasses.field(default_factory=Counter)
    written: dict[int, str] = dataclasses.field(default_factory=dict)
    silent: set[int] = dataclasses.field(default_factory=set)
    sounding: set[int] = dataclasses.field(default_factory=set)
    open_tools: list[str] = dataclasses.field(default_factory=list)
    open_utterances: set[int] = dataclasses.field(default_factory=set)
    unended: set[int] = dataclasses.field(default_factory=set)
    is_closed: bool = False

    def see(self, effect: Effect) -> None:
        assert not self.is_closed
        match effect:
            case StartReply(turn):
                assert self.live is None, "two replies at once"
                assert not self.started or turn > self.started[-1]
                self.started.append(turn)
                self.live = turn
                self.written[turn] = ""
            case StopReply(turn) | FinishSentence(turn):
                assert turn == self.live
            case OpenUtterance(number):
                self.open_utterances.add(number)
            case FinishUtterance(number):
                assert number in self.open_utterances
            case DropUtterance(number):
                assert number in self.open_utterances
            case Close():
                self.is_closed = True
            case Send(message):
                self.see_message(message)

    def see_message(self, message: object) -> None:
        match message:
            case messages.ResponseDelta(turn, text):
                assert turn == self.live
                self.written[turn] += text
            case messages.ResponseFinal(turn, text):
                assert text == self.written[turn]
                self.end(turn)
            case messages.Interrupted(turn, _reason, heard, _heard_ms, generated):
                assert generated == self.written[turn]
                assert generated.startswith(heard)
                self.end(turn)
            case Problem(code="llm.failed" | "internal", turn=int(turn)):
                # One that still sounds is cut off, and that is its end.
                if turn not in self.sounding:
                    self.end(turn)
            case messages.AudioStarted(turn):
                assert turn == self.live
                assert turn not in self.sounding | self.silent
                self.sounding.add(turn)
                self.unended.add(turn)
            case (
                messages.AudioSegment(turn)
                | messages.AudioSegmentEnded(turn)
                | messages.AudioEnded(turn)
            ):
                assert turn in self.sounding - self.silent
                if isinstance(message, messages.AudioEnded):
                    self.sounding.discard(turn)
                    self.unended.discard(turn)
            case messages.AudioCleared(turn):
                assert turn not in self.silent
                self.silent.add(turn)
                self.unended.discard(turn)
            case messages.ToolRequested(call_id=call_id):
                assert call_id not in self.open_tools
                self.open_tools.append(call_id)
            case messages.ToolSettled(result=result):
                self.open_tools.remove(result.call_id)

    def end(self, turn: int) -> None:
        assert turn == self.live, "an end without a start"
        self.ends[turn] += 1
        self.silent.add(turn)
        self.live = None


@settings(max_examples=400, deadline=None)
@given(plan=PLANS, events=st.lists(NEXT, max_size=40), sounds=st.booleans())
def test_whatever_happens_the_rules_of_a_call_hold(
    plan: Plan, events: list[Any], sounds: bool
) -> None:
    call, witness = Call(is_begun=False), Witness()
    script: list[Any] = [Begun(plan), *events, Stopped("end"), *events]
    for item in script:
        for event in fitting(call.session, item) if isinstance(item, str) else [item]:
            heard = witness.written.get(witness.live or 0, "")[:7]
            for effect in call.do(event, heard=heard, heard_ms=3, sounds=sounds):
                witness.see(effect)
            reply = call.session.reply
            assert (reply.turn if reply else None) == witness.live
            assert all(not call.session.may_sound(turn) for turn in witness.silent)
            if call.phase == "listening":
                assert not call.session.awaited
                assert not call.session.words
                assert call.session.reply is None
            if call.phase == "thinking":
                assert call.session.awaited or call.session.reply
            assert (call.phase == "speaking") <= (reply is not None)
            assert (call.phase == "user_speaking") <= (reply is None)
            assert call.session.is_heard <= call.session.in_utterance
    assert witness.is_closed
    assert all(witness.ends[turn] == 1 for turn in witness.started)
    assert witness.sounding <= witness.silent
    assert not witness.unended
    assert witness.open_tools == []


@settings(max_examples=200, deadline=None)
@given(plan=PLANS, events=st.lists(NEXT, max_size=40), sounds=st.booleans())
def test_no_word_of_the_user_is_lost(plan: Plan, events: list[Any], sounds: bool) -> None:
    call = Call(plan)
    for item in events:
        for event in fitting(call.session, item) if isinstance(item, str) else [item]:
            call.do(event, sounds=sounds)
    # What made a choice is in its result.
    said = [
        record.entry.text
        for record in of(call.effects, Record)
        if record.entry.role == "user" and record.entry.text != "coffee"
    ]
    asked = " ".join(start.text for start in of(call.effects, StartReply))
    waiting = " ".join(entry.text for entry in call.session.words)
    assert all(text in asked or text in waiting for text in said)
