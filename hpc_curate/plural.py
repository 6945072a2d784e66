"""Counts as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, one: str, many: str = "") -> str:
    """`1 unit`, `2 units`, `1,000 units`; `many` where an s is not enough."""
    return f"{number:,} {noun(number, one, many)}"


def noun(number: int, one: str, many: str = "") -> str:
    """`unit` or `units`, where the number stands elsewhere."""
    return one if number == 1 else many or one + "s"


def listed(numbers: Sequence[int], most: int = 10) -> str:
    """`1, 2, 3`; of many the first ones."""
    return ", ".join(map(str, numbers[:most])) + (" ..." if len(numbers) > most else "")
