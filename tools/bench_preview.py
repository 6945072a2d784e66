#!/usr/bin/env python3
"""What a grid of playing videos costs by its size: memory is that of some whole pictures, and those are bounded.

    tools/bench_preview.py FOLDER [--sides 5 10 20] [--seconds 5]

FOLDER has a few videos; each grid of side x side tiles shows copies (hard links) of them. Last line: the memory of the
largest grid over that of the smallest.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# A process of its own per grid: the largest memory of any process that it waited for is that grid's alone.
_CHILD = "import resource, sys; from hpc_curate.cli import main; code = main(sys.argv[1:]); \
own, of = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN; \
print(resource.getrusage(own).ru_maxrss, resource.getrusage(of).ru_maxrss); sys.exit(code)"


def grid(videos: list[Path], side: int, seconds: float, folder: Path) -> tuple[int, int]:
    """KiB at most of our process, and of any of its children."""
    source = folder / f"{side}"
    source.mkdir()
    for number, video in zip(range(side * side), itertools.cycle(videos), strict=False):
        os.link(video, source / f"{number:04}{video.suffix}")
    words = ["preview", str(source), "-o", str(folder / f"{side}.mp4"), "--cols", str(side), "--rows", str(side)]
    command = [sys.executable, "-c", _CHILD, *words, "--seconds", str(seconds)]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    own, children = said.split()[-2:]
    return int(own), int(children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args()
    originals = sorted(path for path in given.folder.iterdir() if path.is_file())
    seen = []
    with tempfile.TemporaryDirectory(dir=given.folder.parent) as place:  # links stay on one file system
        for side in given.sides:
            began = time.monotonic()
            seen.append(grid(originals, side, given.seconds, Path(place)))
            own, children = (kib >> 10 for kib in seen[-1])
            print(f"{side:3} x {side:<3} {time.monotonic() - began:6.1f} s  {own} MiB, its children {children} MiB")
    print(f"memory: {seen[-1][0] / seen[0][0]:.2f} x, of its children {seen[-1][1] / seen[0][1]:.2f} x")


if __name__ == "__main__":
    main()
