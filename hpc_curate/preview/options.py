"""What can be said to `hpc-curate preview`, and to the tool that does the same."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """What both the verb and the tool of the same name take."""
    parser.add_argument("--cols", type=int, default=10, help="tiles beside each other; default: 10")
    parser.add_argument("--rows", type=int, default=10, help="and below each other; default: 10")
    parser.add_argument("--fps", type=int, default=30, help="frames per second of the grid; default: 30")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; default: 0")
    parser.add_argument("--tile_px", type=int, default=192, help="width of a tile, at most; default: 192")
    parser.add_argument("--endpoint", help="URL of the object store, for s3://")
    parser.add_argument("--profile", help="in the credentials file, for s3://")


def add_verb(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument("of", metavar="RUN|INPUT", help="a run folder, or what input= takes: a folder, a list, s3://…")
    parser.add_argument("-o", "--output", type=Path, required=True, help=".mp4, or .png for a contact sheet alone")
    parser.add_argument("--seconds", type=float, default=5, help="that play; default: 5")
    parser.add_argument("--by", metavar="WHAT", help="evenly over: folder (of videos), or any column of a run's clips")
    parser.add_argument(
        "--where", nargs="+", default=[], metavar="COLUMN=VALUE", help="clips like that only, such as state=kept"
    )
    add_options(parser)
