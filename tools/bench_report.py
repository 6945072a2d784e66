#!/usr/bin/env python3
"""How large the report of 10,000 clips is, and how long a browser takes to draw it.

    tools/bench_report.py [--units 100] [--folder DIR]

A synthetic run (synthetic_run.py; 100 clips to a unit) with clusters, duplicates and tars gets its report. Its pictures
are noise that has the spectrum of photographs. Each page is opened in headless Chromium, narrow and wide: elements, the
first content on the screen, everything loaded and every picture decoded, and the browser's own time for styles and
layout. The folder is kept if it is given.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import synthetic_run
from chromium import WIDTHS_PX, Chromium
from synthetic_run import Synthetic

from hpc_curate.element.worker import Allocation, Element
from hpc_curate.errors import BadInput
from hpc_curate.plan import Plan
from hpc_curate.run_folder.so_far import SoFar
from hpc_curate.stage import Clip
from hpc_curate.stages.report import PAGES, Report

_LINE = ("scan", "shots", "gate", "embed", "dedup", "clusters", "select", "cut", "shard", "pack")
_PACKED_PX = (360, 640)  # a picture of the frame pack
_ROUNDS = 3


class Pictured(SoFar):
    """A run without a frame pack: pictures are made when they are asked for."""

    def frames(
        self, ids: Sequence[str], count: int, columns: Sequence[str] = ()
    ) -> Iterator[tuple[str, Clip | BadInput]]:
        for at, name in enumerate(ids):
            yield name, Clip(name, photograph(at)[None], np.zeros(1))


def photograph(seed: int) -> np.ndarray:
    """uint8 [H, W, 3]: noise whose amplitude falls with the frequency, as that of natural pictures does."""
    height, width = _PACKED_PX
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / width)
    random = np.random.default_rng(seed)
    planes = [np.fft.irfft2(amplitude * np.fft.rfft2(random.standard_normal(_PACKED_PX)), _PACKED_PX) for _ in range(3)]
    picture = np.stack([planes[0] + 0.3 * plane for plane in planes], axis=-1)  # colours that go together
    low, high = np.percentile(picture, [1, 99])
    return (np.clip((picture - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def fill(folder: Path, units: int) -> Plan:
    """A finished run of 100 clips to a unit."""
    synthetic_run.input_table(folder / "videos.parquet", units * synthetic_run.VIDEOS_PER_UNIT)
    plan = synthetic_run.planned(folder, line=_LINE)
    made = Synthetic(plan)
    made.scored()
    made.dedup()
    for merge, after in (("clusters", None), ("select", made.cut), ("shard", made.pack)):
        assert Element(plan, merge, Allocation()).run([0]) == 0
        if after is not None:
            after()
    return plan


def drawn(browser: Chromium, page: Path) -> dict[str, float]:
    """Milliseconds, of several rounds the median, and elements."""
    rounds = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        browser.open(page)
        browser.picture()
        whole = 1000 * (time.perf_counter() - began)
        figures = browser.figures()
        first = browser.tell("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN")
        styles = 1000 * (figures["LayoutDuration"] + figures["RecalcStyleDuration"])
        elements = browser.tell("document.getElementsByTagName('*').length")
        rounds.append({"elements": elements, "first": first, "styles": styles, "whole": whole})
    return {name: float(np.median([one[name] for one in rounds])) for name in rounds[0]}


def measure(folder: Path, units: int) -> None:
    """Everything, printed."""
    plan, pages = fill(folder, units), folder / "report"
    began = time.perf_counter()
    funnel = Report().write(Pictured(plan), pages, final=False)
    clips = next(row["clips"] for row in funnel.to_pylist() if row["step"] == "clips")
    sizes = [(pages / name).stat().st_size for name in PAGES.values()]
    pictures = sum((pages / name).read_text().count("<img") for name in PAGES.values())
    print(
        f"{clips} clips: {sum(sizes) / 1e6:.1f} MB, {pictures} pictures, written in {time.perf_counter() - began:.1f} s"
    )
    print(f"{'':22} {'MB':>6} {'elements':>9} {'first ms':>9} {'styles ms':>9} {'whole ms':>9}")
    for name, size in zip(PAGES.values(), sizes, strict=True):
        for width, pixels in WIDTHS_PX.items():
            with Chromium() as browser:
                browser.look(pixels)
                seen = drawn(browser, pages / name)
            told = f"{seen['elements']:9.0f} {seen['first']:9.0f} {seen['styles']:9.0f} {seen['whole']:9.0f}"
            print(f"{name + ', ' + width:22} {size / 1e6:6.1f} {told}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=100, help="default: 100, of 100 clips each")
    parser.add_argument("--folder", type=Path, help="kept; default: a temporary one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, given.units)


if __name__ == "__main__":
    main()
