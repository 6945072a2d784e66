#!/usr/bin/env python3
"""How well cutters find shot boundaries, with their default settings, and what they cost in scan.

    tools/bench_cuts.py FOLDER [--cutter NAME[+NAME] ...] [--reels 10] [--seed 2] [--tolerance FRAMES]

FOLDER holds the clips of tools/sample_footage.py --set tests. Two sets are measured: the clips with labels made by hand
(tests/data/cuts.json), and reels composed from shots of the footage with transitions known to the frame
(compose_cuts.py). Names joined by a plus are united and, with gradual among them, stitched, as the stage shots does;
the line above says what they find without.

A hard cut is found if a reported transition lies within the tolerance of the first frame of the new shot; each
transition finds one cut. A gradual transition is found if one is reported anywhere in it, give or take the 2 frames to
which the labels are exact; `covers` is the share of its frames that are kept out of clips. What is reported inside a
gradual transition or an ambiguous stretch is never called false; anything else is, as a hard cut or as a gradual one,
whichever it claims to be. What is reported at a flash or a pan counts as an alarm, too.

The candidates for the labels came from detectors of the same families (and an eye), so recall may read a little high:
compare cutters and versions with it, and quote it for nothing else. No default was tuned to these labels. The
thresholds of `gradual` were chosen on reels of seed 1; an even seed shares no shot with them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compose_cuts
import numpy as np

from hpc_curate import registry
from hpc_curate.clips.stitch import transitions
from hpc_curate.cutters import Cutter
from hpc_curate.errors import ConfigError
from hpc_curate.io import video
from hpc_curate.io.child import Limits
from hpc_curate.measures import Frames, Series
from hpc_curate.stages.shots import Shots

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
UNITED = ("adaptive+gradual", "content+gradual", "transnetv2+gradual")

Transition = tuple[int, int]


@dataclass(frozen=True)
class Score:
    """Counts; they add up over clips."""

    found: int = 0
    missed: int = 0
    false: int = 0
    gradual_found: int = 0
    gradual: int = 0
    gradual_false: int = 0
    gradual_frames: int = 0
    covered_frames: int = 0
    flash_alarms: int = 0
    flashes: int = 0
    pan_alarms: int = 0
    pans: int = 0

    def __add__(self, other: Score) -> Score:
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Score(*(left + right for left, right in pairs))

    def __str__(self) -> str:
        cuts = self.found + self.missed
        hard = _shares(self.found, cuts, self.found + self.false)
        gradual = _shares(self.gradual_found, self.gradual, self.gradual_found + self.gradual_false)
        covered = _share(self.covered_frames, self.gradual_frames)
        both = self.found + self.gradual_found
        any_kind = _share(2 * both, cuts + self.gradual + both + self.false + self.gradual_false)
        alarms = f"{self.flash_alarms:>5}/{self.flashes:<3}{self.pan_alarms:>4}/{self.pans:<3}"
        shares = f"{gradual}{covered}{any_kind}"
        return f"{cuts:>5}{self.false:>6}{hard}{self.gradual:>6}{self.gradual_false:>6}{shares}{alarms}"


HEADER = (
    f"{'cuts':>5}{'false':>6}{'P':>7}{'R':>7}{'F1':>7}{'grad.':>6}{'false':>6}{'P':>7}{'R':>7}{'F1':>7}{'covers':>7}"
)
HEADER += f"{'F1 all':>7}{'flash':>7}{'pan':>8}{'CPU s/min':>11}"


def _shares(found: int, wanted: int, reported: int) -> str:
    """Precision, recall and F1."""
    parts = _share(found, reported), _share(found, wanted), _share(2 * found, wanted + reported)
    return "".join(parts)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:>7.3f}" if whole else f"{'-':>7}"


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
    hard_false = sum(end == start for end, start in false)
    inside = {frame for first, last in gradual for frame in range(first, last + 1)}
    left_out = {frame for end, start in transitions for frame in range(end, start)}
    return Score(
        found,
        len(labels["hard_cuts"]) - found,
        hard_false,
        seen,
        len(gradual),
        len(false) - hard_false,
        len(inside),
        len(inside & left_out),
        *_alarms(false, labels, "flash"),
        *_alarms(false, labels, "pan"),
    )


def _alarms(false: Sequence[Transition], labels: dict[str, Any], kind: str) -> tuple[int, int]:
    """How many of the stretches of a kind have a false transition, and how many there are."""
    stretches = [tuple(one["range"]) for one in labels.get("distractors", []) if one["type"] == kind]
    return sum(any(_touches(one, stretch, GRADUAL_SLACK) for one in false) for stretch in stretches), len(stretches)


def _touches(transition: Transition, stretch: Transition, slack: int) -> bool:
    return transition[0] <= stretch[1] + slack and transition[1] >= stretch[0] - slack


def scanned(path: Path, cutters: dict[str, Cutter], long_side_px: int) -> tuple[dict[str, Series], dict[str, float]]:
    """Decode a clip once and let every cutter see its small frames: their series, and the CPU seconds of each."""
    facts = video.probe(path)
    feeders = {name: cutter.start(facts.facts()) for name, cutter in cutters.items() if cutter.needs_frames}
    spent = dict.fromkeys(cutters, 0.0)
    pts, times_s = [], []
    policy = video.Policy(Limits(memory_gb=video.memory_gb(facts, 1), cpu_s=3600, wall_s=3600, file_gb=1.0))
    with video.Decoding(path, facts, [video.small_grid(facts, long_side_px)], policy) as decoding:
        for _, frames in decoding:
            assert isinstance(frames, Frames)
            pts.append(frames.pts)
            times_s.append(frames.times_s)
            for name, feeder in feeders.items():
                before = time.process_time()
                feeder.feed(frames)
                spent[name] += time.process_time() - before
    times = np.concatenate(pts), np.concatenate(times_s)
    series = {}
    for name in cutters:
        before = time.process_time()
        series[name] = Series(*times, feeders[name].finish() if name in feeders else {})
        spent[name] += time.process_time() - before
    return series, spent


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


def measure(clips: Mapping[Path, dict[str, Any]], choices: Sequence[str], tolerance: int, long_side_px: int) -> None:
    """Print a line for every choice of cutters, over all clips; two where stitching makes a difference."""
    cutters = usable(sorted({name for choice in choices for name in choice.split("+")}))
    chosen = {choice: {name: cutters[name] for name in choice.split("+") if name in cutters} for choice in choices}
    chosen = {choice: some for choice, some in chosen.items() if len(some) == len(choice.split("+"))}
    totals = {(choice, stitch_below): Score() for choice in chosen for stitch_below in (None, Shots.stitch_below)}
    spent, minutes = dict.fromkeys(cutters, 0.0), 0.0
    for path, labels in clips.items():
        series, seconds = scanned(path, cutters, long_side_px)
        times_s = next(iter(series.values())).times_s
        if len(times_s) != labels["frames"]:
            sys.exit(f"{path.name} has {len(times_s)} frames, the labels are of {labels['frames']}")
        minutes += times_s[-1] / 60
        for name in cutters:
            spent[name] += seconds[name]
        for choice, stitch_below in totals:
            found = transitions(chosen[choice], series, stitch_below)
            totals[choice, stitch_below] += score(found, labels, tolerance)
    for choice, some in chosen.items():
        plain, stitched = totals[choice, None], totals[choice, Shots.stitch_below]
        cost = f"{sum(spent[name] for name in some) / minutes:>11.2f}"
        if plain != stitched:
            print(f"{choice:26}{plain}{cost}")
        print(f"{choice + (', stitched' if plain != stitched else ''):26}{stitched}{cost}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tolerance", type=int, default=1, help="frames (default 1)")
    parser.add_argument("--long-side", type=int, default=64, help="of the small frames, in pixels (default 64)")
    parser.add_argument("--cutter", nargs="+", default=[*registry.names("cutter"), *UNITED], metavar="NAME[+NAME]")
    parser.add_argument("--reels", type=int, default=10, help="composed ones (default 10; 0: the labelled clips only)")
    parser.add_argument("--seed", type=int, default=2, help="of the composed reels (default 2)")
    parser.add_argument("--keep", type=Path, help="a folder for the composed reels; default: a temporary one")
    arguments = parser.parse_args()
    clips = labelled(arguments.folder)
    print(f"hard cuts found within {arguments.tolerance} frames; gradual transitions found at all")
    print(f"{f'labelled: {len(clips)} clips':26}{HEADER}")
    measure(clips, arguments.cutter, arguments.tolerance, arguments.long_side)
    if not arguments.reels:
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        shots = compose_cuts.shots(clips, arguments.folder, arguments.seed)
        reels = compose_cuts.compose(shots, arguments.seed, arguments.reels, folder)
        print(f"{f'{len(reels)} reels of seed {arguments.seed}':26}{HEADER}")
        measure(reels, arguments.cutter, arguments.tolerance, arguments.long_side)


if __name__ == "__main__":
    main()
