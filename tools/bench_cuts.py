#!/usr/bin/env python3
"""How well every cutter finds the shot boundaries of hand-labelled footage, with its default settings.

    tools/bench_cuts.py FOLDER [--tolerance FRAMES] [--cutter NAME ...]

FOLDER holds clips of tools/sample_footage.py; those with labels in tests/data/cuts.json are decoded once each. A hard
cut is found if a reported transition lies within the tolerance of the first frame of the new shot; each transition
finds one cut. A gradual transition is found if one is reported anywhere in it, give or take the 2 frames to which the
labels are exact. What is reported inside a gradual transition or an ambiguous stretch is never called false.

The candidates for the labels came from detectors of the same families (and an eye), so recall may read a little high:
compare cutters and versions with it, and quote it for nothing else. No default was tuned to these labels.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_curate import registry
from hpc_curate.cutters import Cutter
from hpc_curate.errors import ConfigError
from hpc_curate.io import video
from hpc_curate.io.child import Limits
from hpc_curate.measures import Frames, Series

LABELS = Path(__file__).resolve().parent.parent / "tests" / "data" / "cuts.json"
# The names of the clips here, and how the labels call them.
CLIPS = {
    "bbb.mp4": "bbb.mp4",
    "bikes.mp4": "bikes.mp4",
    "city.mpg": "cityCC0.mpg",
    "face_noface.mov": "face_noface.mov",
    "walking.mp4": "Sports2D/Demo/demo.mp4",
}
GRADUAL_SLACK = 2

Transition = tuple[int, int]


@dataclass(frozen=True)
class Score:
    """Counts; they add up over clips."""

    found: int = 0
    missed: int = 0
    false: int = 0
    gradual_found: int = 0
    gradual: int = 0

    def __add__(self, other: Score) -> Score:
        return Score(*(left + right for left, right in zip(self.row(), other.row(), strict=True)))

    def row(self) -> tuple[int, ...]:
        return self.found, self.missed, self.false, self.gradual_found, self.gradual

    def __str__(self) -> str:
        cuts = self.found + self.missed
        shares = (
            _share(self.found, self.found + self.false),
            _share(self.found, cuts),
            _share(2 * self.found, 2 * self.found + self.false + self.missed),
        )
        return f"{self.found:>5}{cuts:>6}{self.false:>7}{''.join(shares)}{self.gradual_found:>9}{self.gradual:>4}"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:>11.3f}" if whole else f"{'-':>11}"


def score(transitions: Sequence[Transition], labels: dict[str, Any], tolerance: int) -> Score:
    """Compare the transitions of one clip with its labels."""
    unused = list(transitions)
    found = 0
    for cut in labels["hard_cuts"]:
        near = [one for one in unused if _touches(one, (cut, cut), tolerance)]
        if near:
            unused.remove(min(near, key=lambda one: abs(one[0] - cut) + abs(one[1] - cut)))
            found += 1
    gradual = [tuple(one["range"]) for one in labels["gradual"]]
    seen = sum(any(_touches(one, stretch, GRADUAL_SLACK) for one in transitions) for stretch in gradual)
    excused = [*gradual, *(tuple(stretch) for stretch in labels["ignore"])]
    false = [one for one in unused if not any(_touches(one, stretch, GRADUAL_SLACK) for stretch in excused)]
    return Score(found, len(labels["hard_cuts"]) - found, len(false), seen, len(gradual))


def _touches(transition: Transition, stretch: Transition, slack: int) -> bool:
    return transition[0] <= stretch[1] + slack and transition[1] >= stretch[0] - slack


def scanned(path: Path, cutters: dict[str, Cutter], long_side_px: int) -> dict[str, Series]:
    """Decode a clip once and let every cutter see its small frames."""
    facts = video.probe(path)
    feeders = {name: cutter.start(facts.facts()) for name, cutter in cutters.items() if cutter.needs_frames}
    pts, times_s = [], []
    policy = video.Policy(Limits(memory_gb=video.memory_gb(facts, 1), cpu_s=3600, wall_s=3600, file_gb=1.0))
    with video.Decoding(path, facts, [video.small_grid(facts, long_side_px)], policy) as decoding:
        for _, frames in decoding:
            assert isinstance(frames, Frames)
            pts.append(frames.pts)
            times_s.append(frames.times_s)
            for feeder in feeders.values():
                feeder.feed(frames)
    times = np.concatenate(pts), np.concatenate(times_s)
    return {name: Series(*times, feeders[name].finish() if name in feeders else {}) for name in cutters}


def usable(names: Sequence[str]) -> dict[str, Cutter]:
    """The cutters whose packages are installed."""
    cutters = {}
    for name in names:
        cutter = registry.load("cutter", name)()
        try:
            cutter.weights()
        except ConfigError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        cutters[name] = cutter
    return cutters


def labelled(folder: Path) -> dict[Path, dict[str, Any]]:
    """The clips of the folder that have labels."""
    labels = json.loads(LABELS.read_text())
    found = {}
    for name, ending in CLIPS.items():
        if not (folder / name).is_file():
            print(f"skipped: {name} is not in {folder}", file=sys.stderr)
            continue
        found[folder / name] = next(value for key, value in labels.items() if key.endswith(ending))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tolerance", type=int, default=1, help="frames (default 1)")
    parser.add_argument("--long-side", type=int, default=64, help="of the small frames, in pixels (default 64)")
    parser.add_argument("--cutter", nargs="+", default=registry.names("cutter"))
    arguments = parser.parse_args()
    cutters = usable(arguments.cutter)
    clips = labelled(arguments.folder)
    totals = dict.fromkeys(cutters, Score())
    print(f"hard cuts found within {arguments.tolerance} frames; gradual transitions found at all")
    print(f"{'':28}found    of  false  precision     recall         F1  gradual  of")
    for path, labels in clips.items():
        for name, series in scanned(path, cutters, arguments.long_side).items():
            if len(series.pts) != labels["frames"]:
                sys.exit(f"{path.name} has {len(series.pts)} frames, the labels are of {labels['frames']}")
            one = score(cutters[name].transitions(series), labels, arguments.tolerance)
            totals[name] += one
            print(f"{path.name:16} {name:11}{one}")
    for name, total in totals.items():
        print(f"{'all':16} {name:11}{total}")


if __name__ == "__main__":
    main()
