from __future__ import annotations

import contextlib
import time

import pytest

from tooling.builtin.calculator import calculate, run
from tooling.types import ToolContext

CONTEXT = ToolContext(owner_id=1, assistant_id="a", language="en", time_zone="UTC")


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", "14"),
        ("0.1 + 0.2", "0.3"),
        ("2^10", "1024"),
        ("5² + 1", "26"),
        ("(1 + 2) × 3 ÷ 2 =", "4.5"),
        ("１＋２", "3"),
        ("（1＋2）＊3", "9"),
        ("-7 // 2", "-4"),
        ("10 % 4", "2"),
        ("sqrt(16) + abs(-1)", "5"),
        ("round(2.456, 2)", "2.46"),
        ("max(1, 2, 3)", "3"),
        ("2 ** 0.5", "1.4142135623731"),
        ("-" * 199 + "1", "-1"),
        ("(" * 99 + "1" + ")" * 99, "1"),
    ],
)
def test_it_works_out_arithmetic_however_it_is_spelled(expression: str, value: str) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("1 / 0", "Division by zero"),
        ("9 ** 9 ** 9", "too large"),
        ("1001 ** 2", "too large"),
        ("2 ** 1001", "too large"),
        ("exp(1000)", "too large"),
        ("1e999", "not a number"),
        ("(-8) ** 0.5", "not a number"),
        ("2 +", "Not an arithmetic expression"),
        ("", "Not an arithmetic expression"),
        ("x + 1", "not defined"),
        ("'a' * 9", "only numbers"),
        ("'%1000000000d' % 1", "only numbers"),
        ("[1] * 9", "only numbers"),
        ("__import__('os')", "only numbers"),
        ("(1).__class__", "only numbers"),
        ("1 if 1 else 2", "only numbers"),
        ("sqrt", "not a number"),
        ("1" * 201, "longer than 200"),
        ("sqrt(1, 2)", "Not an arithmetic expression"),
        ("abs(x=1)", "Not an arithmetic expression"),
        ("1\x00", "Not an arithmetic expression"),
    ],
)
def test_it_tells_what_is_wrong_as_text(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        calculate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "round(1, -999999999)",
        "*".join(["999**999"] * 20),
        "(" + "*".join(["999**999"] * 15) + ")%" + "9" * 30,
        "((999**999)//7)%1000*(999**999)",
        "log(" + "9" * 190 + ")",
    ],
)
def test_it_takes_no_time_over_large_numbers(expression: str) -> None:
    started = time.perf_counter()
    with contextlib.suppress(ValueError):
        calculate(expression)
    assert time.perf_counter() - started < 0.5


async def test_it_gives_a_result_for_mistakes_and_values_alike() -> None:
    good, bad = (
        await run({"expression": "6 * 7"}, CONTEXT),
        await run({"expression": "6 /"}, CONTEXT),
    )
    assert (good.output, good.code) == ("42", 200)
    assert (bad.output, bad.code) == ("", 400)
    assert "6 /" in bad.message
