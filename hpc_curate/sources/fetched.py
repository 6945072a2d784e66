"""A run folder that fetched videos: what came, with licence and provenance."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import sources
from hpc_curate.errors import ConfigError
from hpc_curate.io import tables
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.records import local_path, local_uri

_PROVENANCE = ("source_uri", "licence", "sha256", "fetched_at", "fetched_with")


def accepts(source: str, settings: SourceSettings) -> bool:
    return "://" not in source and (Path(local_path(source)) / "latest").is_file()


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """The videos that came, by name; what the input of the fetch said of them travels on.

    Raises:
        ConfigError: it fetched nothing, or is not done.
    """
    from hpc_curate import plan as plans  # which builds stages, which know sources
    from hpc_curate.run_folder.ledger import Ledger
    from hpc_curate.run_folder.state import State

    root = sources.absolute(source)
    plan = plans.load_latest(root)
    if "fetch" not in plan.steps:
        raise ConfigError(f"input={source} is a run folder that fetched nothing; its tars are what it made")
    state, steps = State(plan, Ledger(plan.paths)), plan.steps["fetch"]
    records = [state.done("fetch", unit) for unit in range(steps.units)]
    done = [record for record in records if record is not None]
    if len(done) < len(records):
        raise ConfigError(
            f"input={source}: {len(records) - len(done)} of {len(records)} units are not fetched; "
            f"hpc-curate status {source}"
        )
    found = tables.read_table([path for record in done for path in state.ledger.outputs(record, "videos")])
    came = found.filter(pc.and_(pc.is_null(found["error"]), pc.is_null(found["reason"]))).sort_by("name")
    if not came.num_rows:
        raise ConfigError(f"input={source}: none of its {found.num_rows} videos came; hpc-curate logs {source}")
    rows = came.to_pylist()
    extras = [{**json.loads(row["extra"]), **{name: row[name] for name in _PROVENANCE if row[name]}} for row in rows]
    uris = [local_uri(Path(root, row["path"])) for row in rows]
    sizes = [(row["bytes"], "") for row in rows]
    names = [row["name"] for row in rows]
    return sources.tabulate(uris, names, sizes, [json.dumps(extra) for extra in extras])
