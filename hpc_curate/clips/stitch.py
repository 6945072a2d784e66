"""Over-split repair: a hard cut between pictures that are the same is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hpc_curate.clips.spans import united
from hpc_curate.cutters import Cutter
from hpc_curate.measures import Series

_LOOK_S = 0.5  # of each shot, next to the cut


def transitions(
    cutters: Mapping[str, Cutter], series: Mapping[str, Series], stitch_below: float | None
) -> list[tuple[int, int]]:
    """What the cutters find together, stitched if one of them stores pictures that can be compared.

    Boundaries of cutters that look at times only are meant to lie within shots: they stay.
    """
    seen = united(cutter.transitions(series[name]) for name, cutter in cutters.items() if cutter.needs_frames)
    timed = united(cutter.transitions(series[name]) for name, cutter in cutters.items() if not cutter.needs_frames)
    comparing = next(((name, cutter.signature) for name, cutter in cutters.items() if cutter.signature), None)
    if stitch_below is not None and comparing is not None:
        name, signature = comparing
        seen = stitched(seen, series[name].values[signature], series[name].times_s, stitch_below)
    return united([seen, timed])


def stitched(
    found: Sequence[tuple[int, int]], pictures: np.ndarray, times_s: np.ndarray, below: float
) -> list[tuple[int, int]]:
    """The transitions without the hard cuts between shots whose ends look alike.

    What a shot looks like at its end is the median over half a second, so that a flash or a bird before the lens, which
    a cutter takes for a cut, counts for nothing. Gradual transitions stay: a fade to black and back is no part of a
    clip, whatever it joins.

    Args:
        pictures: float32 [N, dim], what `Cutter.signature` names, of every frame.
        times_s: float64 [N].
        below: mean difference of the medians, in the unit of the pictures, under which they are alike.
    """
    kept: list[tuple[int, int]] = []
    for number, (end, start) in enumerate(found):
        if end == start and 0 < start < len(pictures):
            begin = kept[-1][1] if kept else 0
            stop = found[number + 1][0] if number + 1 < len(found) else len(pictures)
            old = pictures[begin:end][times_s[begin:end] >= times_s[end] - _LOOK_S]
            new = pictures[start:stop][times_s[start:stop] < times_s[start] + _LOOK_S]
            if np.abs(np.median(old, axis=0) - np.median(new, axis=0)).mean() < below:
                continue
        kept.append((end, start))
    return kept
