"""Many small pictures at once, as an H.264 video that browsers play, and one of its moments as a PNG.

Memory grows with the size of the whole picture, which is bounded, and not with tiles or seconds: each tile's pictures
wait on disk, as JPEGs, until all tiles are there.
"""

from __future__ import annotations

import io
import math
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from hpc_curate.errors import ConfigError, EnvironmentFault
from hpc_curate.io import child

if TYPE_CHECKING:
    from PIL import Image, ImageFont

_LABEL_PX = 16
_GAP_PX = 4
_INK, _PAPER = (225, 225, 225), (24, 24, 24)
_QUALITY = 88
_SIDE_PX, _MACROBLOCKS = 4096, 36_864  # of a frame, by level 5.1 of H.264: few browsers decode more by hardware
LEAST_TILE_PX = 32

Label = tuple[str, str]  # what a tile was taken for, such as a reason, or nothing; and its name


@dataclass(frozen=True)
class Layout:
    """A grid and its clock. Tiles are 16:9; a picture of another shape keeps its own, with bars beside it."""

    columns: int
    rows: int
    seconds: float
    fps: int
    tile_px: int = 192  # wide

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * self.fps))

    @property
    def tile(self) -> tuple[int, int]:
        """Width and height of the picture in a tile, both even."""
        return self.tile_px // 2 * 2, round(self.tile_px * 9 / 32) * 2

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole, both even."""
        width, height = self.tile
        return self.columns * (width + _GAP_PX) + _GAP_PX, self.rows * (height + _LABEL_PX + _GAP_PX) + _GAP_PX

    def corner(self, number: int) -> tuple[int, int]:
        """x and y of a tile's picture."""
        row, column = divmod(number, self.columns)
        width, height = self.tile
        return _GAP_PX + column * (width + _GAP_PX), _GAP_PX + row * (height + _LABEL_PX + _GAP_PX)

    def for_tiles(self, count: int) -> Layout:
        """The smallest part of this grid that holds so many tiles: no row or column of it is empty."""
        columns = min(self.columns, max(1, count))
        return replace(self, columns=columns, rows=math.ceil(max(1, count) / columns))

    def for_browsers(self) -> Layout:
        """The same with tiles so small that every browser plays the whole.

        Raises:
            ConfigError: there are too many of them.
        """
        found = self
        while max(found.size) > _SIDE_PX or math.prod(-(-side // 16) for side in found.size) > _MACROBLOCKS:
            if found.tile_px <= LEAST_TILE_PX:
                raise ConfigError(f"{self.columns} x {self.rows} tiles are too many for a video; write a .png instead")
            found = replace(found, tile_px=found.tile_px - 2)
        return found


class Shelf:
    """The pictures of all tiles, on disk."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tiles: list[list[tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self._tiles)

    def put(self, pictures: Iterable[np.ndarray]) -> None:
        """One tile: uint8 [H, W, 3] each, in the order in which they are shown; the last one stays."""
        from PIL import Image

        places = []
        for picture in pictures:
            start = self._file.tell()
            Image.fromarray(picture).save(self._file, "JPEG", quality=_QUALITY)
            places.append((start, self._file.tell() - start))
        self._tiles.append(places)

    def get(self, tile: int, frame: int) -> Image.Image:
        """The picture of a tile at a frame of the whole; what is shorter begins again."""
        from PIL import Image

        places = self._tiles[tile]
        start, size = places[frame % len(places)]
        return Image.open(io.BytesIO(os.pread(self._file.fileno(), size, start)))


def write(shelf: Shelf, labels: Sequence[Label], layout: Layout, output: Path, told: Callable[[int], None]) -> None:
    """The video, and its middle beside it as `.png` (many begin black); an output that is a .png is that alone.

    Args:
        told: called after each frame with their number.

    Raises:
        EnvironmentFault: ffmpeg cannot write it.
    """
    ground = _ground(labels, layout)
    _frame(ground, shelf, layout, layout.frames // 2).save(output.with_suffix(".png"))
    if output.suffix.lower() == ".png":
        return
    width, height = layout.size
    command = [child.ffmpeg(), "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(layout.fps), "-i", "pipe:0", "-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "23"]
    # Each thread of x264 holds frames of its own, and by default there are more than cores.
    command += ["-threads", "2", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", "-y"]
    with tempfile.NamedTemporaryFile(dir=output.parent, prefix=".grid-", suffix=".mp4", delete=False) as part:
        target = Path(part.name)
    try:
        with subprocess.Popen([*command, target], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            _, said = _feed(process, (_frame(ground, shelf, layout, at) for at in range(layout.frames)), told)
        if process.returncode:
            raise EnvironmentFault(f"ffmpeg could not write {output}: {said.decode(errors='replace').strip()[-300:]}")
        target.chmod(0o666 & ~_umask())
        target.replace(output)
    finally:
        target.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _feed(
    process: subprocess.Popen[bytes], frames: Iterable[Image.Image], told: Callable[[int], None]
) -> tuple[bytes, bytes]:
    assert process.stdin is not None
    try:
        for number, frame in enumerate(frames, 1):
            process.stdin.write(frame.tobytes())
            told(number)
    except BrokenPipeError:
        pass  # its last words say why
    return process.communicate()


def _frame(ground: Image.Image, shelf: Shelf, layout: Layout, at: int) -> Image.Image:
    whole = ground.copy()
    for tile in range(len(shelf)):
        whole.paste(shelf.get(tile, at), layout.corner(tile))
    return whole


def _ground(labels: Sequence[Label], layout: Layout) -> Image.Image:
    """What does not move: the paper, and the labels on it."""
    from PIL import Image, ImageDraw, ImageFont

    ground = Image.new("RGB", layout.size, _PAPER)
    pen, font = ImageDraw.Draw(ground), ImageFont.load_default(11)
    width, height = layout.tile
    for tile, label in enumerate(labels):
        x, y = layout.corner(tile)
        pen.text((x + 2, y + height + 1), _fitted(label, font, width - 4), fill=_INK, font=font)
    return ground


def _fitted(label: Label, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The label with as much of the end of its name as there is room for: names of files differ there."""
    stratum, name = label
    start = f"{stratum}: " if stratum else ""
    if font.getlength(start + name) <= width:
        return start + name
    while name and font.getlength(f"{start}…{name}") > width:
        name = name[1:]
    return f"{start}…{name}" if name else stratum
