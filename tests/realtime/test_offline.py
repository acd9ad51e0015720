"""A whole conversation with nothing but what is built in: no key, no network."""

from __future__ import annotations

from accounts.models import User
from assistants.models import Assistant
from core.db import in_db
from tests.realtime.conftest import Connect, spoken


async def test_the_built_in_models_hold_a_spoken_conversation(
    connect_to: Connect, builtin: None, alice: User, alice_key: str
) -> None:
    def make() -> Assistant:
        return Assistant.objects.create(
            owner=alice, name="Demo", language="en", opener="Hello, I am listening."
        )

    assistant = await in_db(make)
    question = await spoken("Hello. How are you?")
    async with connect_to(assistant, key=alice_key) as client:
        await client.start()
        opener = await client.wait("assistant.response.final")
        heard_of_opener = len(client.audio)
        await client.say(question)
        transcript = await client.wait("transcript.final")
        answer = await client.wait("assistant.response.final")
        await client.send("session.stop")
        assert await client.closed() == 1000
    assert opener["text"] == "Hello, I am listening."
    assert heard_of_opener > 32_000
    assert transcript["text"]
    assert answer["text"]
    assert len(client.audio) > heard_of_opener + 16_000
    assert client.of("error") == []
