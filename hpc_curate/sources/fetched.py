"""A run folder that fetched videos: what came, with licence and provenance."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate import sources
from hpc_curate.errors import ConfigError, UnitFailed
from hpc_curate.io import tables
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.plural import counted
from hpc_curate.records import local_path, local_uri
from hpc_curate.stages.fetch import said_of

if TYPE_CHECKING:
    from hpc_curate.plan import Plan

_KINDS = 5  # of reasons and of errors, that the summary has a line for
_PLAIN = re.compile(r"(?<!\S)(?:[a-z'-]+|\d{3})(?=[,;:.]?(?:\s|\Z))")
_PROVENANCE = ("source_uri", "licence", "sha256", "fetched_at", "fetched_with")


def accepts(source: str, settings: SourceSettings) -> bool:
    return "://" not in source and (Path(local_path(source)) / "latest").is_file()


def entries(source: str, settings: SourceSettings) -> pa.Table:
    """The videos that came, by name; what the input of the fetch said of them travels on.

    Raises:
        ConfigError: it fetched nothing, or is not done.
    """
    from hpc_curate import plan as plans  # which builds stages, which know sources

    root = sources.absolute(source)
    plan = plans.load_latest(root)
    if "fetch" not in plan.steps:
        raise ConfigError(f"input={source} is a run folder that fetched nothing; its tars are what it made")
    found, missing = rows(plan)
    if missing:
        raise ConfigError(
            f"input={source}: {missing} of {plan.units} units are not fetched; hpc-curate status {source}"
        )
    came = _came(found).sort_by("name").to_pylist()
    if not came:
        raise ConfigError(f"input={source}: {summary(plan)}")
    extras = [{**json.loads(row["extra"]), **{name: row[name] for name in _PROVENANCE if row[name]}} for row in came]
    uris = [local_uri(Path(root, row["path"])) for row in came]
    sizes = [(row["bytes"], "") for row in came]
    names = [row["name"] for row in came]
    return sources.tabulate(uris, names, sizes, [json.dumps(extra) for extra in extras])


def rows(plan: Plan) -> tuple[pa.Table, int]:
    """What the stage fetch has written of each video so far, and how many units it has still to do."""
    from hpc_curate.run_folder.ledger import Ledger
    from hpc_curate.run_folder.state import State

    state, step = State(plan, Ledger(plan.paths)), plan.steps["fetch"]
    done = state.finished("fetch")
    files = [path for record in done for path in state.ledger.outputs(record, "videos")]
    return tables.read_table(files, schema=step.stage.writes()["videos"]), step.units - len(done)


def by_uri(root: Path) -> dict[str, dict[str, Any]]:
    """The videos that came into a run folder: `file`, and what was `said` of each, by the URI of its source."""
    from hpc_curate import plan as plans

    found, _ = rows(plans.load_latest(root))
    return {
        row["source_uri"]: {
            "file": Path(root, row["path"]).absolute(),
            "said": said_of(row),
        }
        for row in _came(found).to_pylist()
    }


def _came(found: pa.Table) -> pa.Table:
    return found.filter(pc.and_(pc.is_null(found["error"]), pc.is_null(found["reason"])))


def summary(plan: Plan) -> str:
    """How many came, why others did not, and what to do about it."""
    found, _ = rows(plan)
    lines = [f"{_came(found).num_rows} of {counted(found.num_rows, 'video')} came"]
    for column, what in (("reason", "not asked for"), ("error", "could not be had")):
        lines += [f"  {line}" for line in _by_kind(found.filter(pc.is_valid(found[column])), column, what)]
    if found["error"].null_count < found.num_rows:
        lines.append(f"  all of them: hpc-curate table {plan.paths.root} --videos -o videos.csv")
    if again := pc.sum(found["again"]).as_py():
        lines.append(f"  {again} of them may come another time: hpc-curate retry {plan.paths.root}")
    return "\n".join(lines)


def refuse_if_nothing_came(plan: Plan) -> None:
    """Some videos of a list never come; a list of which none does is a failure.

    Raises:
        UnitFailed: with what to do.
    """
    found, _ = rows(plan)
    if not _came(found).num_rows:
        again = pc.sum(found["again"]).as_py()
        retry = f"hpc-curate retry {plan.paths.root} asks again for {counted(again or 0, 'video')}"
        raise UnitFailed(f"nothing came; {retry if again else 'the same command again changes nothing about that'}")


def _by_kind(found: pa.Table, column: str, what: str) -> list[str]:
    """How many rows say the same in other names and numbers, with one of each kind; the most frequent first."""
    kinds: dict[str, list[str]] = {}
    for row in found.select(["name", column]).to_pylist():
        kinds.setdefault(_kind(row[column], row["name"] or ""), []).append(row[column])
    ordered = sorted(kinds.values(), key=len, reverse=True)
    shown, rest = ordered[:_KINDS], sum(map(len, ordered[_KINDS:]))
    lines = [f"{len(said)} {what}{', such as' if len({*said}) > 1 else ''}: {said[0]}" for said in shown]
    return [*lines, f"{rest} {what} for other reasons"] if rest else lines


def _kind(said: str, name: str) -> str:
    """The plain words of a message, and what may be a status: no names, addresses, sizes or checksums."""
    return " ".join(_PLAIN.findall(said.replace(name, "").lower()))
