"""Choices in a call, made by voice, by writing or on the device: still no event loop, no clock."""

from __future__ import annotations

import json

import pytest

from conversations.events import ToolReturned
from providers.types import AssistantMessage, ToolMessage, Usage, UserMessage
from realtime import messages
from realtime.choices import Choice, Option
from realtime.events import (
    DropUtterance,
    FinishUtterance,
    OpenUtterance,
    PartlyTranscribed,
    Plan,
    RecognitionFailed,
    Record,
    ReplyDone,
    ResolveTool,
    SpeechStarted,
    SpeechStopped,
    SpeechSustained,
    StartReply,
    StopReply,
    TextMade,
    ToolAnswered,
    ToolAsked,
    ToolTimedOut,
    Transcribed,
    TurnEnded,
    VoiceBegun,
    WatchTool,
)
from realtime.messages import ClearInput, Problem, TextInput, ToolOutput, ToolResults
from tests.realtime.test_session import Call, asked, called, kinds, of, sent

COFFEE = Choice(Option("opt_2", "Coffee")).output
CLICKED = ToolResults((ToolOutput("c1", "text_choice_prompt", COFFEE, 200, "ok"),))


def choosing(plan: Plan | None = None) -> Call:
    """A call whose reply waits, in silence, for a choice."""
    call = Call(plan)
    call.speak("Something to drink")
    call.do(ToolAsked(1, asked()))
    return call


def sounding() -> Call:
    """A call whose reply waits for a choice, and still speaks."""
    call = Call()
    call.speak("Something to drink")
    call.do(TextMade(1, "Which would you like?"), VoiceBegun(1, 80), ToolAsked(1, asked()))
    return call


def settled(output: str = COFFEE, code: int = 200) -> ToolAnswered:
    return ToolAnswered(ToolReturned("c1", "text_choice_prompt", output, "client", code, "ok", 900))


def test_plain_options_reach_the_device_as_objects() -> None:
    call = Call()
    call.speak("Something to drink")
    request = sent(call.do(ToolAsked(1, asked())), messages.ToolRequested)[0]
    assert request.arguments["options"] == [
        {"id": "opt_1", "label": "Green tea"},
        {"id": "opt_2", "label": "Coffee"},
    ]


def test_a_spoken_choice_goes_to_the_reply_that_waits() -> None:
    call = choosing()
    done = call.do(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(1000.0, call.at_ms))
    assert kinds(done) == [
        "InputSpeechStarted",
        "OpenUtterance",
        "InputSpeechStopped",
        "FinishUtterance",
    ]
    done = call.do(Transcribed(2, "The second one, please."))
    assert kinds(done) == ["TranscriptFinal", "Record", "ResolveTool"]
    result = of(done, ResolveTool)[0].result
    assert (result.call_id, result.code, result.output) == ("c1", 200, COFFEE)
    assert sent(done, messages.TranscriptFinal)[0].turn == 1
    call.do(settled(), TextMade(1, "Coffee it is."), ReplyDone(1, Usage()))
    assert call.phase == "listening"
    start = of(call.speak("thanks"), StartReply)[0]
    assert [type(message) for message in start.history] == [
        UserMessage,
        AssistantMessage,
        ToolMessage,
        AssistantMessage,
    ]


def test_a_written_choice_does_too() -> None:
    call = choosing()
    done = call.do(TextInput("2"))
    assert kinds(done) == ["Record", "ResolveTool"]
    assert of(done, ResolveTool)[0].result.output == COFFEE


def test_cancelling_is_a_choice() -> None:
    call = choosing()
    result = of(call.speak("取消"), ResolveTool)[0].result
    assert json.loads(result.output)["cancelled"] is True


def test_a_choice_is_made_once() -> None:
    call = choosing()
    call.speak("coffee")
    assert sent(call.do(CLICKED), Problem)[0].code == "tool.unknown_call"
    assert of(call.speak("coffee"), ResolveTool) == []


def test_other_words_are_a_turn_and_leave_the_choice_open() -> None:
    call = choosing()
    done = call.speak("How much is the second one?")
    assert kinds(done)[4:] == [
        "StopReply",
        "Interrupted",
        "TurnTimes",
        "WatchTool",
        "Record",
        "TranscriptFinal",
        "Record",
        "StartReply",
    ]
    start = of(done, StartReply)[0]
    assert (start.turn, start.text) == (2, "How much is the second one?")
    call.do(TextMade(2, "Two euros."), ReplyDone(2, Usage()))
    # Chosen now, nobody waits for it: it is settled, and what was said is answered.
    done = call.speak("then the coffee")
    assert sent(done, messages.ToolSettled)[0].result.output == COFFEE
    start = of(done, StartReply)[0]
    assert start.text == "then the coffee"
    assert isinstance(start.history[-1], ToolMessage)
    assert call.do(ToolTimedOut("c1")) == []


def test_a_click_after_its_reply_is_gone_is_what_the_user_says_next() -> None:
    call = choosing()
    call.speak("How much is the second one?")
    call.do(TextMade(2, "Two euros."), ReplyDone(2, Usage()))
    done = call.do(CLICKED)
    assert kinds(done) == ["ToolSettled", "Record", "Record", "StartReply"]
    assert of(done, StartReply)[0].text == "Coffee"


def test_a_click_while_another_reply_runs_is_answered_after_it() -> None:
    call = choosing()
    call.speak("How much is the second one?")
    assert of(call.do(CLICKED), StartReply) == []
    done = call.do(TextMade(2, "Two euros."), ReplyDone(2, Usage()))
    assert of(done, StartReply)[0].text == "Coffee"


def test_nothing_is_said_for_a_late_refusal() -> None:
    call = choosing()
    call.speak("How much is the second one?")
    call.do(ReplyDone(2, Usage()))
    done = call.do(ToolResults((ToolOutput("c1", "t", Choice(None).output, 200, "ok"),)))
    assert kinds(done) == ["ToolSettled", "Record"]
    assert call.phase == "listening"


def test_a_new_question_takes_the_place_of_one_whose_reply_is_gone() -> None:
    call = choosing()
    call.speak("How much is the second one?")
    done = call.do(ToolAsked(2, asked("c2", "Tea", "Coffee")))
    assert [m.result.code for m in sent(done, messages.ToolSettled)] == [499]
    assert of(call.speak("coffee"), ResolveTool)[0].result.call_id == "c2"


def test_questions_of_one_reply_are_answered_one_after_the_other() -> None:
    call = choosing()
    call.do(ToolAsked(1, asked("c2", "Small", "Large")))
    assert of(call.speak("the first one"), ResolveTool)[0].result.call_id == "c1"
    assert of(call.speak("the first one"), ResolveTool)[0].result.call_id == "c2"


def test_silence_and_coughs_leave_the_question() -> None:
    call = choosing()
    assert kinds(call.speak(" "))[4:] == []
    failed = RecognitionFailed(3, "no", is_retryable=True)
    call.do(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(1000.0, call.at_ms))
    assert [p.code for p in sent(call.do(failed), Problem)] == ["asr.failed"]
    assert call.phase == "thinking"
    assert of(call.speak("coffee"), ResolveTool)


def test_speech_over_the_sounding_question_interrupts_and_may_still_choose() -> None:
    call = sounding()
    done = call.do(SpeechStarted(0.9), sounds=True)
    assert of(done, OpenUtterance) == [OpenUtterance(2)]
    done = call.do(SpeechSustained(), heard="Which", sounds=True)
    assert of(done, StopReply) == [StopReply(1)]
    assert of(done, OpenUtterance) == []
    call.do(SpeechStopped(0.1), TurnEnded(1000.0, call.at_ms))
    done = call.do(Transcribed(2, "coffee"))
    assert sent(done, messages.ToolSettled)[0].result.output == COFFEE
    assert of(done, StartReply)[0].text == "coffee"


def test_a_short_word_over_the_sounding_question_chooses_or_counts_for_nothing() -> None:
    for word, kinds_of_answer in (
        ("coffee", ["TranscriptFinal", "Record", "ResolveTool"]),
        ("uh-huh", []),
    ):
        call = sounding()
        call.do(SpeechStarted(0.9), SpeechStopped(0.1), sounds=True)
        assert call.do(PartlyTranscribed(2, word), sounds=True) == []
        call.do(TurnEnded(1000.0, call.at_ms), sounds=True)
        assert kinds(call.do(Transcribed(2, word), sounds=True)) == kinds_of_answer
        assert call.session.reply is not None


def test_long_speech_after_the_question_was_said_is_an_answer() -> None:
    call = sounding()
    call.do(SpeechStarted(0.9))
    assert call.do(SpeechSustained()) == []
    assert kinds(call.do(PartlyTranscribed(2, "cof"))) == ["TranscriptDelta"]
    call.do(SpeechStopped(0.1), TurnEnded(1000.0, call.at_ms))
    assert of(call.do(Transcribed(2, "coffee")), ResolveTool)


def test_a_reply_that_cannot_be_interrupted_takes_only_the_choice() -> None:
    call = choosing(Plan(can_be_interrupted=False))
    call.do(TextMade(1, "Which?"))
    assert kinds(call.speak("How much is it?"))[4:] == []
    assert of(call.speak("coffee"), ResolveTool)


def test_a_click_makes_what_is_being_said_no_answer() -> None:
    call = choosing()
    call.do(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(1000.0, call.at_ms))
    call.do(SpeechStarted(0.9))
    done = call.do(CLICKED)
    assert of(done, DropUtterance) == [DropUtterance(2), DropUtterance(3)]
    assert call.do(Transcribed(2, "coffee")) == []


def test_an_answer_that_outlasts_the_question_is_a_turn() -> None:
    call = choosing()
    call.do(SpeechStarted(0.9))
    call.do(settled("", 504), TextMade(1, "Never mind."), ReplyDone(1, Usage()))
    assert call.phase == "user_speaking"
    assert of(call.do(TurnEnded(1000.0, call.at_ms)), FinishUtterance) == [FinishUtterance(2)]
    assert of(call.do(Transcribed(2, "coffee")), StartReply)[0].text == "coffee"


def test_push_to_talk_can_forget_an_answer() -> None:
    call = choosing()
    call.do(SpeechStarted(0.9))
    assert kinds(call.do(ClearInput())) == ["InputSpeechStopped", "DropUtterance"]
    assert call.session.reply is not None
    assert call.do(ClearInput()) == []


@pytest.mark.parametrize("is_by_hand", [True, False])
def test_push_to_talk_interrupts_whatever_choice_an_earlier_reply_left_open(
    is_by_hand: bool,
) -> None:
    call = choosing()
    call.speak("How much is the second one?")
    call.do(TextMade(2, "Two euros, and the first one is three."), VoiceBegun(2, 80))
    call.do(SpeechStarted(0.9), SpeechStopped(0.1), sounds=True)
    call.do(TurnEnded(1000.0, call.at_ms, is_by_hand), sounds=True)
    done = call.do(Transcribed(3, "And a cake?"), heard="Two euros", sounds=True)
    assert of(done, StopReply) == ([StopReply(2)] if is_by_hand else [])
    assert [start.text for start in of(done, StartReply)] == (["And a cake?"] if is_by_hand else [])


def test_words_from_before_the_question_are_no_answer_to_it() -> None:
    call = Call()
    call.do(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(1000.0, call.at_ms))
    call.do(TextInput("Something to drink"), ToolAsked(2, asked()))
    assert of(call.do(Transcribed(1, "coffee")), ResolveTool) == []


def test_the_time_limit_counts_from_the_question() -> None:
    call = choosing()
    call.at_ms += 20_000
    done = call.do(TextInput("Something else"))
    assert of(done, WatchTool) == [WatchTool("c1", 39_990)]


# --- the set-up's calls ---------------------------------------------------------------------------
def test_a_choice_of_the_set_up_is_answered_by_the_assistant() -> None:
    for choice in (CLICKED, TextInput("coffee")):
        call = Call()
        call.do(ToolAsked(0, asked(), is_manual=True))
        done = call.do(choice)
        assert of(done, ResolveTool)[0].result.output == COFFEE
        assert sent(done, messages.ToolSettled)[0].result.output == COFFEE
        assert isinstance(of(done, StartReply)[0].history[-1], ToolMessage)
        assert call.do(settled()) == []


def test_a_prompt_of_the_set_up_is_a_reply_of_its_own() -> None:
    call = Call()
    done = call.do(ToolAsked(0, asked(), is_manual=True, prompt="Which?"))
    assert sent(done, messages.ToolRequested)[0].is_spoken
    assert of(done, StartReply) == [StartReply(1, "", (), "Which?")]
    call.do(TextMade(1, "Which?"), VoiceBegun(1, 5))
    done = call.do(SpeechStarted(0.9), SpeechStopped(0.1), TurnEnded(1.0, 2e6), sounds=True)
    done = call.do(Transcribed(1, "coffee"), sounds=True)
    assert sent(done, messages.ToolSettled)[0].result.output == COFFEE
    assert of(call.do(ReplyDone(1, Usage())), StartReply)[0].text == "coffee"


def test_a_prompt_of_the_set_up_does_not_talk_over_the_user() -> None:
    call = Call()
    call.do(SpeechStarted(0.9))
    done = call.do(ToolAsked(0, asked(), is_manual=True, prompt="Which?"))
    assert not sent(done, messages.ToolRequested)[0].is_spoken
    assert of(done, StartReply) == []


# --- what the device could not do ---------------------------------------------------------------
@pytest.mark.parametrize("is_over", [False, True])
def test_a_model_learns_that_an_accepted_call_failed(is_over: bool) -> None:
    call = Call()
    call.speak("camera on")
    accepted = ToolReturned("c1", "tool", "", "client", 200, "accepted", 0)
    call.do(ToolAsked(1, called(waits=False)), ToolAnswered(accepted))
    refused = ToolResults((ToolOutput("c1", "tool", "", 403, "The camera was refused."),))
    if not is_over:
        assert call.do(refused) == []
    call.do(TextMade(1, "It is on."), ReplyDone(1, Usage()))
    if is_over:
        assert call.do(refused) == []
    start = of(call.speak("I see nothing"), StartReply)[0]
    results = [message for message in start.history if isinstance(message, ToolMessage)]
    assert [(each.text, each.is_error) for each in results] == [("The camera was refused.", True)]
    stored = [r.entry for r in of(call.effects, Record) if r.entry.role == "tool"]
    assert len(stored) == 1
