"""Names in both cases."""

from __future__ import annotations

import pytest

from core.casing import to_snake, with_field_names


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("name", "name"),
        ("modelName", "model_name"),
        ("model_name", "model_name"),
        ("baseURL", "base_url"),
        ("endOfTurnSilenceMs", "end_of_turn_silence_ms"),
        ("HTTPHeaders", "http_headers"),
        ("", ""),
    ],
)
def test_it_knows_the_name_behind_either_case(name: str, snake: str) -> None:
    assert to_snake(name) == snake


def test_it_puts_values_under_the_declared_names() -> None:
    data = {"voice_key": 1, "userId": 2, "unknownName": {"innerName": 3}}
    assert with_field_names(data, ["voiceKey", "user_id"]) == {
        "voiceKey": 1,
        "user_id": 2,
        "unknownName": {"innerName": 3},
    }


@pytest.mark.parametrize("order", [("baseUrl", "base_url"), ("base_url", "baseUrl")])
def test_it_prefers_the_declared_case_when_both_come(order: tuple[str, str]) -> None:
    data = {name: name for name in order}
    assert with_field_names(data, ["base_url"]) == {"base_url": "base_url"}
