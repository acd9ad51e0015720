"""The tool `calculator`: arithmetic with bounded numbers, never Python's own eval."""

from __future__ import annotations

import ast
import math
import operator
import unicodedata
from collections.abc import Callable
from typing import Any

import simpleeval

from tooling.types import ToolContext, ToolResult

MAX_LENGTH = 200
MAX_POWER = 1000
MAX_DIGITS = 1000
# Of a product: as long as the largest power, and some more.
MAX_BITS = 16_000

# How people and models write operators; full-width characters are normalised before.
_SPELLINGS = str.maketrans(
    {"×": "*", "÷": "/", "−": "-", "^": "**", "²": "**2", "³": "**3"},
)
_ALLOWED_NODES = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.operator,
    ast.unaryop,
)


class _TooLarge(ValueError):
    """A number that would take too long to work out, or to read."""


def _power(base: float, exponent: float) -> float:
    if abs(base) > MAX_POWER or abs(exponent) > MAX_POWER:
        raise _TooLarge
    result: float = base**exponent
    return result


def _product(one: float, other: float) -> float:
    whole = [number for number in (one, other) if isinstance(number, int)]
    if sum(number.bit_length() for number in whole) > MAX_BITS:
        raise _TooLarge
    return one * other


def _round(number: float, digits: int = 0) -> float:
    # Python works out 10 to the power of -digits, however large that is.
    return (
        round(number, max(-MAX_DIGITS, min(int(digits), MAX_DIGITS))) if digits else round(number)
    )


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: _product,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "round": _round,
    "min": min,
    "max": max,
    "pow": _power,
    **{
        name: getattr(math, name)
        for name in (
            *("floor", "ceil", "sqrt", "exp", "log", "log10", "log2", "degrees", "radians"),
            *("sin", "cos", "tan", "asin", "acos", "atan"),
        )
    },
}


def calculate(expression: str) -> str:
    """The value as text, within a millisecond or two. Raises ValueError, which tells the model."""
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"The expression is longer than {MAX_LENGTH} characters.")
    try:
        value = _value(_spelled(expression))
    except ZeroDivisionError:
        raise ValueError("Division by zero.") from None
    except (_TooLarge, OverflowError):
        raise ValueError("A number in it is too large.") from None
    except simpleeval.InvalidExpression as error:
        raise ValueError(f"Not an arithmetic expression: {error}") from None
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"Not an arithmetic expression: {expression!r}") from None
    return _written(value)


def _spelled(expression: str) -> str:
    plain = unicodedata.normalize("NFKC", expression.translate(_SPELLINGS))
    return plain.strip().rstrip("=").strip()


def _value(expression: str) -> object:
    tree = ast.parse(expression, mode="eval")
    for node in ast.walk(tree):
        is_number = not isinstance(node, ast.Constant) or type(node.value) in (int, float)
        if not isinstance(node, _ALLOWED_NODES) or not is_number:
            raise simpleeval.FeatureNotAvailable("only numbers, + - * / // % ** and functions")
    evaluator = simpleeval.SimpleEval(
        operators=_OPERATORS, functions=_FUNCTIONS, names={"pi": math.pi, "e": math.e}
    )
    result: object = evaluator.eval(expression, previously_parsed=tree.body)
    return result


def _written(value: object) -> str:
    if isinstance(value, int):
        if abs(value) >= 10**MAX_DIGITS:
            raise ValueError("The result is too large.")
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        # Fifteen digits are what a float holds: 0.1 + 0.2 is 0.3.
        return format(value, ".15g")
    raise ValueError("The result is not a number.")


async def run(arguments: dict[str, Any], _context: ToolContext) -> ToolResult:
    """What the expression comes to; a mistake in it is told as text."""
    expression = str(arguments.get("expression", ""))
    try:
        return ToolResult(calculate(expression))
    except ValueError as error:
        return ToolResult("", 400, str(error))
