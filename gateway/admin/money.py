"""Sums of money as the console shows them. They are in whatever currency prices were entered in."""

from __future__ import annotations

from decimal import Decimal


def money(amount: Decimal | float) -> str:
    """With two places; small sums with as many as show two digits: `12.50`, `0.0034`, `0`."""
    value = Decimal(amount)
    if not value:
        return "0"
    places = max(2, 1 - value.adjusted()) if abs(value) < 1 else 2
    return f"{value:,.{min(places, 8)}f}"
