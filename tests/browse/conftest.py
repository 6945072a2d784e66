"""A run, a viewer and a browser, each started once."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import viewer

from hpc_curate import cli


@pytest.fixture(scope="session")
def make_clip(ffmpeg: str) -> Callable[..., None]:
    """Makes a small video that browsers play, or would, if its container were another."""

    def make(path: Path, source: str, *more: str) -> None:
        command = [ffmpeg, "-v", "error", "-nostdin", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-g", "12"]
        subprocess.run([*command, "-threads", "1", *more, f"file:{path}"], check=True)

    return make


@pytest.fixture(scope="session")
def judged_run(make_clip: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to select over four videos: two that look alike, one that hardly moves, one that is like no other."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "videos").mkdir()
    sources = {
        "fractal.mp4": "mandelbrot=s=640x360:r=24,trim=duration=3",
        "fractal again.mp4": "mandelbrot=s=640x360:r=24,trim=duration=3,eq=brightness=0.02",
        "bars.mp4": "smptebars=s=640x360:r=24:d=3",
        "life.mp4": "life=s=640x360:r=24:mold=10:ratio=0.3:seed=1,trim=duration=3",
    }
    for name, source in sources.items():
        make_clip(folder / "videos" / name, source)
    words = [f"input={folder / 'videos'}", f"run_dir={folder / 'run'}", "launch=inline", "gate=none", "select=none"]
    words += ["stage=[scan,shots,gate,embed,dedup,select]", "+stage.select.rules.motion.min=0.002"]
    assert cli.main(["run", *words]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with viewer.chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
