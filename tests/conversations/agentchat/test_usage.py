"""`/usage*`: what a user's answers took."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from conversations.models import Channel, Conversation, Message
from tests.conftest import client_with, make_key
from tests.conversations.agentchat.conftest import ROOT, data_of, refusal_of

USAGE, COUNT = f"{ROOT}/usage", f"{ROOT}/usage_count"


def tokens(read: int, written: int) -> dict[str, int]:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


@pytest.fixture
def days(alice: User, bob: User) -> list[str]:
    """Three days of alice's and bob's answers, oldest first."""
    now = timezone.now()
    moments = [now - timedelta(days=back) for back in (40, 1, 0)]

    def answered(
        owner: User, agent: str, model: str, at: int, read: int, channel: Channel = Channel.CHAT
    ) -> None:
        row = Conversation.objects.create(
            owner=owner, assistant_key=agent, assistant_name=agent, channel=channel
        )
        for seq, role in enumerate(("user", "assistant", "tool", "assistant")):
            is_last = seq == 3
            Message.objects.create(
                conversation=row, turn=1, seq=seq, role=role, created_at=moments[at],
                model_name=model if is_last else "",
                input_tokens=read if is_last else 0, output_tokens=1 if is_last else 0,
            )  # fmt: skip

    answered(alice, "Ada", "small", 0, 10)
    answered(alice, "Ada", "small", 1, 20)
    answered(alice, "Ada", "large", 1, 30, Channel.VOICE)
    answered(alice, "Bob's", "large", 1, 40, Channel.TASK)
    answered(alice, "Ada", "small", 2, 50)
    answered(bob, "Secret", "hidden", 2, 1000)
    return [timezone.localtime(moment).date().isoformat() for moment in moments]


def test_it_sums_tokens_by_day_agent_and_model(alice_api: APIClient, days: list[str]) -> None:
    old, yesterday, today = days
    used = data_of(alice_api.post(USAGE, {}))
    assert list(used) == days
    assert used[yesterday] == {
        "agent": {"Ada": tokens(50, 2), "Bob's": tokens(40, 1)},
        "model": {"small": tokens(20, 1), "large": tokens(70, 2)},
    }
    assert used[old]["agent"] == {"Ada": tokens(10, 1)}
    assert used[today]["model"] == {"small": tokens(50, 1)}


def test_it_counts_answers(alice_api: APIClient, days: list[str]) -> None:
    counted = data_of(alice_api.post(COUNT, {}))
    assert counted[days[1]] == {"agent": {"Ada": 2, "Bob's": 1}, "model": {"small": 1, "large": 2}}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"delta_days": 7}, 4),
        ({"delta_days": 0}, 0),
        ({"agent": "Ada"}, 4),
        ({"model": "large"}, 2),
        ({"agent": "Ada", "model": "large", "delta_days": 7}, 1),
        ({"agent": "Secret"}, 0),
        ({"model": ""}, 5),
        ({"agent": None}, 5),
    ],
)
def test_it_can_be_narrowed(
    alice_api: APIClient, days: list[str], asked: dict[str, Any], expected: int
) -> None:
    counted = data_of(alice_api.post(COUNT, asked))
    assert sum(sum(day["agent"].values()) for day in counted.values()) == expected


def test_each_sees_only_their_own(
    alice_api: APIClient, bob_api: APIClient, carol_api: APIClient, days: list[str]
) -> None:
    def names(client: APIClient) -> list[list[str]]:
        words = ("usage/agents_list", "usage/models_list")
        return [data_of(client.get(f"{ROOT}/{word}")) for word in words]

    assert names(alice_api) == [["Ada", "Bob's"], ["large", "small"]]
    assert names(bob_api) == [["Secret"], ["hidden"]]
    # Operators have the console for everybody's.
    assert names(carol_api) == [[], []]
    for path in (USAGE, COUNT):
        assert list(data_of(bob_api.post(path, {}))) == days[2:]
        assert data_of(carol_api.post(path, {})) == {}


@pytest.mark.parametrize("days_back", [-1, 100_000, "x"])
def test_it_refuses_a_span_that_is_none(alice_api: APIClient, days_back: Any) -> None:
    for path in (USAGE, COUNT):
        refused = alice_api.post(path, {"delta_days": days_back})
        assert "delta_days" in refusal_of(refused, 422)
        data_of(alice_api.post(path, {"delta_days": 36_500}))


def test_it_needs_the_scope_to_manage(alice: User) -> None:
    client = client_with(make_key(alice, scopes=["chat"]))
    refusal_of(client.post(USAGE, {}), 403)
    refusal_of(client.get(f"{USAGE}/models_list"), 403)
