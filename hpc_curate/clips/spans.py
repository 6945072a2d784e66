"""From the transitions of a video to the spans of its clips, exact in the stream's own ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np

from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.records import Span

Longer = Literal["split", "truncate", "drop"]


@dataclass(frozen=True)
class Rules:
    """What becomes of a shot; seconds."""

    min_duration_s: float
    max_duration_s: float
    longer: Longer
    trim_start_s: float
    trim_end_s: float

    def __post_init__(self) -> None:
        if not 0 <= self.min_duration_s <= self.max_duration_s or self.max_duration_s <= 0:
            raise ConfigError(
                f"min_duration_s={self.min_duration_s} and max_duration_s={self.max_duration_s}: "
                "the first must be at least 0 and at most the second"
            )
        if self.trim_start_s < 0 or self.trim_end_s < 0:
            raise ConfigError("trim_start_s and trim_end_s must not be negative")


@dataclass
class Cut:
    """The clips of one video and what became of the rest of it; ticks. All of it adds up to the whole video."""

    shots: int = 0
    clips: list[Span] = field(default_factory=list)
    short_spans: int = 0
    short: int = 0  # too short, as a shot, or after trimming or splitting
    trimmed: int = 0
    long_dropped: int = 0  # beyond the maximum
    transition: int = 0  # inside gradual transitions


def united(found: Iterable[Sequence[tuple[int, int]]]) -> list[tuple[int, int]]:
    """The transitions that several cutters found, as one list: those that touch or overlap are one."""
    result: list[tuple[int, int]] = []
    for end, start in sorted(transition for transitions in found for transition in transitions):
        if result and end <= result[-1][1]:
            result[-1] = (result[-1][0], max(start, result[-1][1]))
        else:
            result.append((end, start))
    return result


def cut(bounds: np.ndarray, transitions: Sequence[tuple[int, int]], rules: Rules, time_base: Fraction) -> Cut:
    """Apply the rules to every shot. A clip is a shot or a piece of one, and begins at a frame.

    Args:
        bounds: int64 [N + 1], strictly rising: the ticks of the N frames, then the end of the last one.
        transitions: as `Cutter.transitions` returns them.

    Raises:
        BadInput: the times do not rise.
    """
    if len(bounds) < 2 or np.any(np.diff(bounds) <= 0):
        raise BadInput("the frame times of the video do not rise")
    result = Cut()
    ticks = _Ticks.of(rules, time_base)
    begin = 0
    for end, start in [*transitions, (len(bounds) - 1, len(bounds) - 1)]:
        if end > begin:
            result.shots += 1
            _cut_shot(bounds[begin : end + 1], ticks, rules.longer, result)
        result.transition += int(bounds[start] - bounds[max(begin, end)])
        begin = start
    return result


@dataclass(frozen=True)
class _Ticks:
    """The rules in ticks, rounded so that no rule is bent by a part of a tick."""

    shortest: int
    longest: int
    trim_start: int
    trim_end: int

    @classmethod
    def of(cls, rules: Rules, time_base: Fraction) -> _Ticks:
        # By way of the decimal text: the float 0.1 is a little more than a tenth.
        exact = [
            Fraction(str(value)) / time_base
            for value in (rules.min_duration_s, rules.max_duration_s, rules.trim_start_s, rules.trim_end_s)
        ]
        return cls(math.ceil(exact[0]), math.floor(exact[1]), math.ceil(exact[2]), math.ceil(exact[3]))


def _cut_shot(bounds: np.ndarray, ticks: _Ticks, longer: Longer, result: Cut) -> None:
    start = _at_or_after(bounds, int(bounds[0]) + ticks.trim_start)
    end = _at_or_before(bounds, int(bounds[-1]) - ticks.trim_end)
    whole = int(bounds[-1] - bounds[0])
    if end <= start or bounds[end] - bounds[start] < ticks.shortest:
        result.short_spans += 1
        result.short += whole
        return
    result.trimmed += whole - int(bounds[end] - bounds[start])
    pieces = [(start, end)]
    if bounds[end] - bounds[start] > ticks.longest:
        pieces = _LONGER[longer](bounds, start, end, ticks.longest)
    kept = 0
    for first, last in pieces:
        span = Span(int(bounds[first]), int(bounds[last]))
        length = span.end_pts - span.start_pts
        if length > ticks.longest:  # one frame that is shown for longer than a clip may last
            continue
        kept += length
        if length < ticks.shortest:
            result.short_spans += 1
            result.short += length
        else:
            result.clips.append(span)
    result.long_dropped += int(bounds[end] - bounds[start]) - kept


def _split(bounds: np.ndarray, start: int, end: int, longest: int) -> list[tuple[int, int]]:
    """As few pieces as the maximum allows, as equal as the frames allow."""
    pieces = []
    while start < end:
        remaining = int(bounds[end] - bounds[start])
        count = -(-remaining // longest)
        last = end if count == 1 else _at_or_before(bounds, int(bounds[start]) + remaining // count)
        last = min(max(last, start + 1), end)
        pieces.append((start, last))
        start = last
    return pieces


def _truncate(bounds: np.ndarray, start: int, end: int, longest: int) -> list[tuple[int, int]]:
    """The beginning."""
    last = _at_or_before(bounds, int(bounds[start]) + longest)
    return [(start, last)] if last > start else []


def _drop(bounds: np.ndarray, start: int, end: int, longest: int) -> list[tuple[int, int]]:
    return []


_LONGER = {"split": _split, "truncate": _truncate, "drop": _drop}


def _at_or_after(bounds: np.ndarray, tick: int) -> int:
    return int(np.searchsorted(bounds, tick, side="left"))


def _at_or_before(bounds: np.ndarray, tick: int) -> int:
    return int(np.searchsorted(bounds, tick, side="right")) - 1
