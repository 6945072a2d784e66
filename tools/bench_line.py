#!/usr/bin/env python3
"""What the whole line costs, against PySceneDetect splitting the same video with re-encoding, in the same run.

    tools/bench_line.py VIDEO [--rounds 2] [--seconds 120]

The first seconds of the video are cut off by stream copy; then, in turn: a bare decode, PySceneDetect's adaptive
detector with `split-video` (x264 veryfast, crf 22: scenes as files, no scores, no tars), and `hpc-curate run` with
launch=local, every rule switched off so that it keeps what PySceneDetect keeps, at the same encoder settings (all
measures, embeddings, dedup, verified clips, tars). The last line is the ratio of CPU seconds to PySceneDetect's.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import meter

from hpc_curate.io import child

ALIKE = ("stage.cut.crf=22", "stage.cut.preset=veryfast", "stage.select.duplicates=false", "stage.shots.longer=split")
NO_RULES = ("gate=none", "select=none")


def scenedetect(program: str, path: Path, folder: Path) -> None:
    # It calls `ffmpeg` by that name.
    (folder / "bin").mkdir(exist_ok=True)
    if not (folder / "bin" / "ffmpeg").exists():
        (folder / "bin" / "ffmpeg").symlink_to(child.ffmpeg())
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    out = Path(tempfile.mkdtemp(dir=folder))
    command = [program, "-q", "-i", str(path), "-o", str(out), "detect-adaptive", "split-video", "-p", "veryfast"]
    subprocess.run([*command, "-crf", "22"], check=True, stdout=subprocess.DEVNULL, env=environment)
    print(f"  PySceneDetect: {len(list(out.glob('*.mp4')))} files")


def line(path: Path, run: Path) -> None:
    command = [sys.executable, "-m", "hpc_curate", "run", f"input={path}", f"run_dir={run}", "launch=local"]
    subprocess.run([*command, *ALIKE, *NO_RULES], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    samples = sum(len(sums.read_text().splitlines()) for sums in run.glob("pack/*/tars/sha256sums.txt"))
    print(f"  the line: {samples} tars in {run.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=120)
    given = parser.parse_args()
    program = shutil.which("scenedetect") or sys.exit("scenedetect is not installed: pip install 'hpc_curate[cpu]'")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        short = folder / f"short{given.video.suffix}"
        command = [child.ffmpeg(), *child.DEMUX, "-i", child.source(given.video), "-t", str(given.seconds)]
        subprocess.run([*command, "-map", "0:V:0", "-c", "copy", str(short)], check=True)
        numbers = itertools.count()
        jobs = {
            "bare decode": lambda: meter.bare_decode(short),
            "PySceneDetect, split": lambda: scenedetect(program, short, folder),
            "the line, launch=local": lambda: line(short, folder / f"run{next(numbers)}"),
        }
        results = meter.in_turn(jobs, given.rounds)
    meter.show(results, "bare decode")
    print(f"ratio {results['the line, launch=local'][0] / results['PySceneDetect, split'][0]:.2f}")


if __name__ == "__main__":
    main()
