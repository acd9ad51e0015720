"""The built-in recogniser, listening to the built-in voice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence

import pytest

from providers import registry
from providers.builtin import sphinx
from providers.interfaces import Utterance
from providers.types import AsrSpec, Endpoint, VoiceSpec

SILENCE = bytes(32 * 300)
FRAME_BYTES = 640


async def speech(text: str, voice_key: str = "en-us+f2", speed: float = 0.9) -> bytes:
    endpoint = Endpoint("voice", "builtin", "", "", "espeak-ng")
    spec = VoiceSpec(endpoint, "Voice", "en", voice_key, speed=speed)
    async with registry.speaker(spec).speak(text) as pieces:
        return SILENCE + b"".join([piece async for piece in pieces]) + SILENCE


def recogniser_spec(hotwords: Sequence[str] = ()) -> AsrSpec:
    endpoint = Endpoint("asr", "builtin", "", "", "pocketsphinx")
    return AsrSpec(endpoint, "Recogniser", "en", tuple(hotwords))


def feed(utterance: Utterance, pcm: bytes) -> None:
    for at in range(0, len(pcm), FRAME_BYTES):
        utterance.feed(pcm[at : at + FRAME_BYTES])


async def heard(pcm: bytes, hotwords: Sequence[str] = ()) -> str:
    async with registry.recogniser(recogniser_spec(hotwords)).listen() as utterance:
        feed(utterance, pcm)
        return (await utterance.finish()).text


@pytest.mark.parametrize(
    "text", ["my name is john", "thank you", "please repeat that", "no thank you"]
)
async def test_it_recognises_simple_phrases(text: str) -> None:
    assert await heard(await speech(text)) == text


@pytest.mark.parametrize("pcm", [b"", SILENCE, SILENCE * 10], ids=["none", "short", "long"])
async def test_silence_is_no_text(pcm: bytes) -> None:
    assert await heard(pcm) == ""


async def test_a_hotword_is_preferred_where_it_fits() -> None:
    pcm = await speech("open the calendar")

    freely = await heard(pcm)
    expecting = await heard(pcm, ["turn up the volume", "Open the calendar", "kowalski's zzyzx"])

    assert freely != "open the calendar"
    assert expecting == "open the calendar"


async def test_a_hotword_is_not_forced_on_other_speech() -> None:
    hotwords = ["turn up the volume", "open the calendar", "stop", "hello"]

    assert await heard(await speech("please repeat that"), hotwords) == "please repeat that"
    assert await heard(SILENCE * 3, hotwords) == ""


async def test_a_hotword_does_not_swallow_what_is_said_after_it() -> None:
    pcm = await speech("please repeat that and tell me my name is john")

    text = await heard(pcm, ["please repeat that", "stop"])

    # Which words a long sentence gives differs between processors; that it gives some does not.
    hotword, _, said_after = text.partition("please repeat that")
    assert not hotword
    assert len(said_after.split()) >= 4


async def test_hotwords_of_one_utterance_are_not_those_of_the_next() -> None:
    pcm = await speech("open the calendar")
    freely = await heard(pcm)

    assert await heard(pcm, ["open the calendar"]) == "open the calendar"
    assert await heard(pcm) == freely
    assert await heard(pcm, ["turn up the volume"]) == freely


async def test_it_shows_what_it_has_so_far() -> None:
    pcm = await speech("my name is john and it is raining today")
    async with registry.recogniser(recogniser_spec()).listen() as utterance:
        feed(utterance, pcm[: len(pcm) * 2 // 3])
        partial = ""
        while not partial:
            partial = await utterance.partial()
            await asyncio.sleep(0)
        feed(utterance, pcm[len(pcm) * 2 // 3 :])
        final = (await utterance.finish()).text

    assert partial.startswith("my name")
    assert len(final) > len(partial)


async def test_one_utterance_does_not_colour_the_next() -> None:
    pcm = await speech("my name is john")
    texts = []
    for _ in range(4):
        texts.append(await heard(pcm))
        await heard(await speech("what is seventeen times three", "en-us"))

    assert texts == ["my name is john"] * 4


async def test_more_speakers_than_decoders_are_all_heard() -> None:
    pcm = await speech("my name is john")
    speakers = sphinx.WORKERS.limit + 2

    texts = await asyncio.gather(*(heard(pcm) for _ in range(speakers)))

    assert texts == ["my name is john"] * speakers
    assert len(sphinx.WORKERS.pids()) <= sphinx.WORKERS.limit


async def test_leaving_early_frees_the_decoder() -> None:
    pcm = await speech("my name is john")
    for _ in range(2 * sphinx.WORKERS.limit):
        async with registry.recogniser(recogniser_spec()).listen() as utterance:
            feed(utterance, pcm)

    assert await heard(pcm) == "my name is john"


async def test_a_killed_decoder_is_replaced_and_nothing_is_lost() -> None:
    pcm = await speech("my name is john")
    async with registry.recogniser(recogniser_spec()).listen() as utterance:
        feed(utterance, pcm[: len(pcm) // 2])
        while not sphinx.WORKERS.pids():
            await asyncio.sleep(0)
        for pid in sphinx.WORKERS.pids():
            os.kill(pid, signal.SIGKILL)
        feed(utterance, pcm[len(pcm) // 2 :])

        assert (await utterance.finish()).text == "my name is john"


async def test_the_loop_goes_on_while_it_decodes() -> None:
    pcm = await speech("what is the weather in paris and when does the shop open tomorrow")
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await heard(pcm)
    counting.cancel()

    # A decoder on this thread would leave room for a handful of rounds, one for each await.
    assert rounds > 200


async def test_cancelling_finish_frees_everything() -> None:
    pcm = await speech("my name is john")
    task = asyncio.create_task(heard(pcm * 5))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await heard(pcm) == "my name is john"
