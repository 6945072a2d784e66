"""`hpc-curate preview`: a grid of what is in a folder, in a store or in a run."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from hpc_curate import plan as plans
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.io.paths import is_run
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.transfer import Fetcher
from hpc_curate.preview import mosaic, tiles
from hpc_curate.preview.mosaic import LEAST_TILE_PX, Layout, Shelf
from hpc_curate.preview.tiles import Tile, Wanted

_OUTPUTS = (".mp4", ".png")


def preview(given: argparse.Namespace) -> int:
    """The verb."""
    if wrong := [word for word in given.where if "=" not in word]:
        raise ConfigError(f"--where {wrong[0]}: say COLUMN=VALUE, such as state=kept")
    where = tuple(word.partition("=")[::2] for word in given.where)
    wanted = Wanted(given.seed, given.by, where)
    layout = Layout(given.cols, given.rows, given.seconds, given.fps, given.tile_px)
    settings = SourceSettings(endpoint=given.endpoint, profile=given.profile)
    print(make(given.of, wanted, layout, given.output, settings))
    return 0


def make(of: str, wanted: Wanted, layout: Layout, output: Path, settings: SourceSettings) -> str:
    """Make the grid, its poster (.png) and the table of its tiles (.json); returns what to say of it.

    Args:
        of: a run folder, or what `input=` takes.

    Raises:
        ConfigError: there is nothing to show, or it cannot be written there.
    """
    if output.suffix.lower() not in _OUTPUTS:
        better = output.with_suffix(".mp4") if output.suffix else output / "grid.mp4"
        raise ConfigError(f"{output}: the name must end in .mp4, or .png for a contact sheet alone, such as {better}")
    if min(layout.columns, layout.rows, layout.fps, layout.seconds) <= 0 or layout.tile_px < LEAST_TILE_PX:
        raise ConfigError(
            f"columns, rows, seconds and fps must be above 0, a tile at least {LEAST_TILE_PX} pixels wide"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Fetcher(Path(folder), settings) as fetcher:
        every = _tiles(of, wanted, settings, fetcher)
        # Before anything is decoded, because tiles are kept at their size.
        possible = layout.for_tiles(min(len(every), layout.columns * layout.rows))
        sized = possible.for_browsers() if output.suffix.lower() == ".mp4" else possible
        with tempfile.TemporaryFile(dir=folder) as file:
            shelf = Shelf(file)
            shown, left_out = _fill(shelf, every, sized)
            if not shown:
                raise ConfigError(
                    f"nothing of {of} can be shown: {left_out[0]['error']}" if left_out else f"{of} is empty"
                )
            grid = sized.for_tiles(len(shown))
            with Bar("frames", grid.frames) as bar:
                mosaic.write(shelf, [(tile.stratum, tile.name) for tile in shown], grid, output, bar.at)
    _note(output, wanted, grid, shown, left_out)
    which = output.with_suffix(".json")
    said = f"{output}: {len(shown)} of {len(every)}, {grid.columns} x {grid.rows}; {which} says which"
    if grid.tile_px < layout.tile_px:
        said += f"\ntiles are {grid.tile_px} pixels wide, not {layout.tile_px}: few browsers play a larger whole"
    return f"{said}\n{len(left_out)} could not be shown, and are listed there" if left_out else said


def _tiles(of: str, wanted: Wanted, settings: SourceSettings, fetcher: Fetcher) -> list[Tile]:
    """Clips of a run; of one that fetched videos these, as `input=` takes them."""
    plan = plans.load_latest(Path(of)) if is_run(Path(of)) else None
    if plan is None or "fetch" in plan.steps:
        return tiles.of_videos(of, settings, fetcher, wanted)
    return tiles.of_clips(plan, wanted)


def _fill(shelf: Shelf, every: Iterable[Tile], layout: Layout) -> tuple[list[Tile], list[dict[str, Any]]]:
    """Put tiles on the shelf until the grid is full; what cannot be shown leaves no hole."""
    shown: list[Tile] = []
    left_out: list[dict[str, Any]] = []
    with Bar("tiles", layout.columns * layout.rows) as bar:
        for tile in every:
            if len(shown) == layout.columns * layout.rows:
                break
            try:
                shelf.put(tile.pictures(layout))
            except BadInput as error:
                left_out.append({**tile.facts, "error": str(error)})
            else:
                shown.append(tile)
                bar.at(len(shown))
    return shown, left_out


def _note(output: Path, wanted: Wanted, grid: Layout, shown: list[Tile], left_out: list[dict[str, Any]]) -> None:
    places = [divmod(number, grid.columns) for number in range(len(shown))]
    told = {
        "seed": wanted.seed,
        "by": wanted.by,
        "columns": grid.columns,
        "rows": grid.rows,
        "seconds": grid.seconds,
        "fps": grid.fps,
        "tiles": [{"row": r, "column": c, **tile.facts} for (r, c), tile in zip(places, shown, strict=True)],
        "left_out": left_out,
    }
    output.with_suffix(".json").write_text(json.dumps(told, indent=1, ensure_ascii=False, default=str) + "\n")


class Bar:
    """How far something is, on a terminal; nothing in a pipe or a log."""

    def __init__(self, what: str, total: int, stream: IO[str] = sys.stderr) -> None:
        self.what, self.total, self.stream = what, total, stream

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.stream.isatty():
            print(file=self.stream)

    def at(self, number: int) -> None:
        if not self.stream.isatty():
            return
        full = round(30 * number / self.total)
        bar = f"{'█' * full}{'·' * (30 - full)}"
        print(f"\r{self.what} {bar} {number}/{self.total}", end="", file=self.stream, flush=True)
