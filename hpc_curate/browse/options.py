"""What can be said to `hpc-curate browse`, and to the tool that does the same."""

from __future__ import annotations

import argparse
from pathlib import Path

LOOPBACK = "127.0.0.1"
PORT = 8501


def add_options(parser: argparse.ArgumentParser) -> None:
    """What both the verb and the tool take."""
    parser.add_argument("--nsamples", type=int, default=36, help="how many are drawn at first; default: 36")
    parser.add_argument("--seed", type=int, default=0, help="of the sample; default: 0")
    parser.add_argument(
        "--verdicts",
        type=Path,
        default=Path("verdicts.parquet"),
        help="where accept, reject, tags and notes go; default: %(default)s here; those on a run go into it",
    )
    parser.add_argument("--plan", help="of a run: a plan's hash, or its first digits; default: the last plan")
    parser.add_argument("--endpoint", help="URL of the object store, for s3://")
    parser.add_argument("--profile", help="in the credentials file, for s3://")


def add_verb(parser: argparse.ArgumentParser) -> None:
    """The options of the verb."""
    parser.add_argument(
        "of", metavar="TARGET", help="a run folder, a folder of tars, or what input= takes: a folder, a list, s3://…"
    )
    parser.add_argument("--port", type=int, help=f"this one and no other; default: {PORT}, or the next that is free")
    parser.add_argument("--address", default=LOOPBACK, help="of this machine itself; any other is refused")
    add_options(parser)
