"""How fast a stage goes and how long it will take: arithmetic on when its units were at work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_NEVER_WHOLE = 0.95  # of a unit that takes longer than others did, nobody knows how much is left


@dataclass(frozen=True)
class Pace:
    """Of the units of one stage, while any of them was at work."""

    units: float  # done, with the finished share of those at work
    seconds: float  # during which at least one was at work

    @property
    def units_per_s(self) -> float | None:
        return self.units / self.seconds if self.units > 0 and self.seconds > 0 else None

    def left_s(self, units: float) -> float | None:
        """Until so many more units are done, at the same pace; None: nothing is known yet."""
        rate = self.units_per_s
        return None if rate is None else max(0.0, units / rate)


def measure(spans: Iterable[tuple[float, float]], done: int, shares: Sequence[float]) -> Pace:
    """The pace of a stage.

    Args:
        spans: (began, ended) of every unit that is done or at work, epoch seconds.
        done: how many units are done.
        shares: the finished share of each unit at work.
    """
    return Pace(done + sum(shares), covered_s(spans))


def covered_s(spans: Iterable[tuple[float, float]]) -> float:
    """How long at least one of the spans lasted: a run that was interrupted is not slow."""
    total, reached = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return total


def share(items_done: int, items: int, seconds: float, usual_s: float | None) -> float:
    """The finished share of a unit at work: by its items where it has several, else by the time that others took."""
    if items > 1:
        return items_done / items
    return min(seconds / usual_s, _NEVER_WHOLE) if usual_s else 0.0
