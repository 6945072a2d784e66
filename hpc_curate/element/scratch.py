"""A worker's own folder for large temporary files, and the end of those that killed workers have left beside it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from hpc_curate.run_folder.claims import Holder

_PREFIX = "hpc_curate-scratch-"


@contextmanager
def scratch(holder: Holder, parent: str | None) -> Iterator[Path]:
    """An empty folder in `parent` (None: where the system keeps temporary files), gone when the context ends."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True) as folder:
        _owner(Path(folder)).write_text(json.dumps(asdict(holder)))
        _sweep(Path(folder).parent)
        yield Path(folder)


def _owner(folder: Path) -> Path:
    return folder / "owner.json"


def _sweep(parent: Path) -> None:
    """Remove the folders of workers that are known to have ended: nobody else would, before the node is full."""
    for left in parent.glob(f"{_PREFIX}*"):
        try:
            dead = Holder.parse(json.loads(_owner(left).read_text())).is_dead()
        except (OSError, ValueError, TypeError, KeyError):
            continue  # just being made or removed, or another user's
        if dead:
            shutil.rmtree(left, ignore_errors=True)
