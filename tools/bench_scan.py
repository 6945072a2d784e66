#!/usr/bin/env python3
"""What scan costs over a bare decode of the same file, in CPU seconds and wall, measured in the same run.

    tools/bench_scan.py VIDEO [--rounds 3] [--decoder ffmpeg|decord] [--pack-long-side-px 640] [--measures motion ...]

Rounds are interleaved: the bare decode (`ffmpeg -f null`, as many threads), scan with the measures of the default
recipe (or those named, or `all`), the default cutters and the frame pack, and, where it is installed, PySceneDetect's
command line making its cut list alone. Medians; the last line is the ratio of CPU seconds. Scan is measured in a warm
process, as a worker is from its second video on.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import meter
import yaml

from hpc_curate import config, registry
from hpc_curate.io import child
from hpc_curate.measures import Measure
from hpc_curate.records import Video, video_id
from hpc_curate.stage import Resources, Tables
from hpc_curate.stages.scan import Scan


@dataclass
class OneVideo:
    """The inputs of a unit that holds one local video."""

    path: Path
    resources: Resources = field(default_factory=lambda: Resources(cpus=2))

    def videos(self) -> list[Video]:
        return [Video(video_id(str(self.path)), str(self.path), self.path.name, self.path.stat().st_size, "")]

    def source(self, video: Video) -> Path:
        return self.path


def scan(path: Path, stage: Scan) -> Tables:
    inputs: Any = OneVideo(path)
    (item,) = stage.items(inputs, [f"{name}:{sign}" for name, sign in stage.pieces().items()])
    return stage.process(None, inputs, item)


def scenedetect(program: str, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "-q", "-i", str(path.absolute()), "-o", folder, "detect-adaptive", "list-scenes"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def warm_up(path: Path, stage: Scan) -> None:
    """Import what measures import, on the first second of the file."""
    with tempfile.TemporaryDirectory() as folder:
        short = Path(folder) / f"short{path.suffix}"
        command = [child.ffmpeg(), *child.DEMUX, "-i", child.source(path), "-t", "1", "-map", "0:V:0", "-c", "copy"]
        subprocess.run([*command, str(short)], check=True)
        scan(short, stage)


def describe(tables: Tables) -> str:
    (video,) = tables["videos"].to_pylist()
    if video["error"]:
        raise SystemExit(video["error"])
    jpegs = [len(jpeg) for jpeg in tables["frames"]["jpeg"].to_pylist()]
    return (
        f"{video['frames']} frames {video['width']}x{video['height']} {video['codec']}, {video['duration_s']:.1f} s; "
        f"pack: {len(jpegs)} JPEGs, {statistics.mean(jpegs) / 1e3:.1f} kB each, "
        f"{sum(jpegs) / 1e6:.1f} MB = {sum(jpegs) / video['bytes']:.3f} of the source"
    )


def of_the_default_recipe() -> list[str]:
    recipe = yaml.safe_load((config.conf_dir() / "recipe" / "default.yaml").read_text())
    return next(group["/measure"] for group in recipe["defaults"] if "/measure" in group)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decoder", choices=["ffmpeg", "decord"], default="ffmpeg")
    parser.add_argument("--pack-long-side-px", type=int, default=Scan.pack_long_side_px)
    parser.add_argument("--measures", nargs="*", default=of_the_default_recipe(), metavar="NAME")
    args = parser.parse_args()
    names = registry.names("measure") if args.measures == ["all"] else args.measures
    measures: dict[str, Measure] = {name: registry.load("measure", name)() for name in names}
    cutters = {name: registry.load("cutter", name)() for name in ("adaptive", "gradual")}
    stage = Scan(measures, cutters, decoder=args.decoder, pack_long_side_px=args.pack_long_side_px)

    made: list[Tables] = []
    jobs: dict[str, Callable[[], object]] = {
        "bare decode": lambda: meter.bare_decode(args.video),
        # Only the last tables are kept: a film's pack is large.
        f"scan ({args.decoder})": lambda: made.__setitem__(slice(None), [scan(args.video, stage)]),
    }
    if program := shutil.which("scenedetect"):
        jobs["PySceneDetect"] = lambda: scenedetect(program, args.video)
    warm_up(args.video, stage)
    results = meter.in_turn(jobs, args.rounds)
    made_of = f"measures {', '.join(measures)}; cutters {', '.join(cutters)}"
    print(f"ffmpeg {child.ffmpeg_version()}; {made_of}; {args.rounds} rounds")
    print(describe(made[-1]))
    meter.show(results, "bare decode")
    print(f"ratio {results[f'scan ({args.decoder})'][0] / results['bare decode'][0]:.2f}")


if __name__ == "__main__":
    main()
