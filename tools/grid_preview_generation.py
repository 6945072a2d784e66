#!/usr/bin/env python3
"""A grid of sampled videos that play at once: `hpc-curate preview`, under the options of a well-known script.

    tools/grid_preview_generation.py --input_dir FOLDER|s3://BUCKET/PREFIX --output_video grid.mp4

Beside the video: its middle as .png, and which file plays in which tile as .json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hpc_curate.errors import CurateError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.preview import command, options
from hpc_curate.preview.mosaic import Layout
from hpc_curate.preview.tiles import Wanted


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--input_dir", required=True, help="a folder, a list, or s3://bucket/prefix")
    parser.add_argument("--output_video", type=Path, required=True, help="a .mp4 file; its folder is made")
    parser.add_argument("--video_length", type=float, default=5, help="seconds that play; default: 5")
    options.add_options(parser)
    given = parser.parse_args()
    layout = Layout(given.cols, given.rows, given.video_length, given.fps, given.tile_px)
    settings = SourceSettings(endpoint=given.endpoint, profile=given.profile)
    try:
        print(command.make(given.input_dir, Wanted(given.seed), layout, given.output_video, settings))
    except CurateError as error:
        print(f"grid_preview_generation: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
