"""Every path of a run. No other module joins paths inside a run folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


def is_run(folder: Path) -> bool:
    """Whether it is the folder of a run, of whatever kind."""
    return RunPaths(folder).plans.is_dir()


def _as_name(user: str) -> str:
    return re.sub(r"[^\w.@-]", "_", user)


@dataclass(frozen=True)
class DoneFolder:
    """The records of a stage: one small JSON per unit, and the tables that these are folded into.

    The tables have a folder of their own, so that looking for one does not take as long as there are loose records.
    """

    folder: Path

    def loose(self, unit: int) -> Path:
        return self.loose_in(self.folder, unit)

    def loose_in(self, folder: Path, unit: int) -> Path:
        return folder / f"{unit:05d}.json"

    def folding_of(self, token: str) -> Path:
        """Where a fold gathers what it is about to fold."""
        return self.folder / "folding" / token

    def folding(self) -> list[Path]:
        return sorted((self.folder / "folding").glob("*"))

    def fold(self, token: str) -> Path:
        return self.folder / "folds" / f"{token}.parquet"

    def folds(self) -> list[Path]:
        return sorted((self.folder / "folds").glob("*.parquet"))

    def every_folder(self) -> list[Path]:
        """Where records may lie."""
        return [self.folder, self.folder / "folds", *self.folding()]


@dataclass(frozen=True)
class RunPaths:
    """The run folder: `stage / signature / unit` for rows and ledger, plans and units beside them."""

    root: Path

    def named(self, path: Path) -> str:
        """A path as a record names it: below the run folder, so that this can be moved; absolute elsewhere."""
        return str(path.relative_to(self.root) if path.is_relative_to(self.root) else path)

    @classmethod
    def of_plan(cls, file: Path) -> RunPaths:
        """The run folder that a plan's file is in."""
        return cls(file.parent.parent)

    @property
    def plans(self) -> Path:
        return self.root / "plans"

    def plan(self, plan_hash: str) -> Path:
        return self.plans / f"{plan_hash}.yaml"

    def weights(self, plan_hash: str) -> Path:
        """What the plan has noted of the files that it names."""
        return self.plans / f"{plan_hash}.weights.json"

    @property
    def latest(self) -> Path:
        """A small text file that names the last plan."""
        return self.root / "latest"

    @property
    def pilot(self) -> RunPaths:
        """A run of its own over a sample of this one's videos."""
        return RunPaths(self.root / "pilot")

    @property
    def whole(self) -> RunPaths:
        """The run that this one is the pilot of."""
        return RunPaths(self.root.parent)

    @property
    def units(self) -> Path:
        return self.root / "units"

    def units_file(self, generation: int) -> Path:
        return self.units / f"{generation:05d}.parquet"

    def stage(self, stage: str, signature: str) -> Path:
        return self.root.joinpath(stage, signature)

    def signatures(self, stage: str) -> list[str]:
        """Of all that the stage was ever asked for here."""
        return sorted(path.parent.name for path in self.root.glob(f"{stage}/*/done"))

    def rows(self, stage: str, signature: str, unit: int, table: str = "rows", part: int = 1) -> Path:
        """`00007.parquet`, `00007.frames.parquet`; rows asked for later: `00007.2.parquet`."""
        pieces = [f"{unit:05d}"] + ([str(part)] if part > 1 else []) + ([table] if table != "rows" else [])
        return self.root.joinpath(stage, signature, ".".join(pieces) + ".parquet")  # in one step: it is asked often

    def done(self, stage: str, signature: str, unit: int) -> Path:
        return self.done_folder(stage, signature).loose(unit)

    def done_folder(self, stage: str, signature: str) -> DoneFolder:
        return DoneFolder(self.stage(stage, signature) / "done")

    def merged(self, stage: str, question: str) -> Path:
        """The signature that a merge was found to have, for the tasks behind it."""
        return self.merged_folder(stage) / f"{question}.json"

    def merged_folder(self, stage: str) -> Path:
        return self.root / stage / "merged"

    def attempts(self, stage: str, signature: str, unit: int) -> Path:
        """What is known of a unit that is not done: attempts, the item in flight, strikes, the last failure."""
        return self.stage(stage, signature) / "attempts" / f"{unit:05d}.json"

    def claims(self, stage: str, signature: str, unit: int) -> Path:
        """Who is at a unit: a folder each, so that the look at one unit is short however many there are."""
        return self.stage(stage, signature) / "claims" / f"{unit:05d}"

    def fetched(self, stage: str, signature: str, sha256: str, suffix: str) -> Path:
        """A source that was fetched, under the name of its content."""
        return self.stage(stage, signature) / "files" / sha256[:2] / f"{sha256}{suffix}"

    @property
    def turns(self) -> Path:
        """Where tasks take turns at the hosts that they fetch from."""
        return self.root / "turns"

    def parts(self, stage: str, signature: str, unit: int) -> Path:
        return self.stage(stage, signature) / "parts" / f"{unit:05d}"

    def answers(self, stage: str, signature: str, unit: int, token: str) -> Path:
        """What a model has answered about a unit, as one attempt at it writes it down."""
        return self.stage(stage, signature) / "answers" / f"{unit:05d}.{token}.jsonl"

    def answers_of(self, stage: str, unit: int) -> list[Path]:
        """All of these, under every signature of the stage."""
        return sorted(self.root.glob(f"{stage}/*/answers/{unit:05d}.*.jsonl"))

    def tars(self, signature: str) -> Path:
        return self.stage("pack", signature) / "tars"

    def receipts(self, signature: str) -> Path:
        """What was uploaded, where the data set goes to an object store."""
        return self.stage("pack", signature) / "receipts"

    def report(self, plan_hash: str) -> Path:
        return self.root / "report" / plan_hash

    @property
    def submissions(self) -> Path:
        return self.root / "submissions"

    def submission(self, name: str) -> Path:
        return self.submissions / f"{name}.json"

    def logs(self, stage: str, user: str = "") -> Path:
        """Of a stage; in a run that several may go on with, each of them has a folder in there."""
        return self.root / "logs" / stage / _as_name(user)

    def logs_of(self, stage: str, job: str) -> list[Path]:
        """Of one job, or of one element of an array: `123_4`; whoever queued it."""
        name = f"{job}_*_log.out"
        return sorted([*self.logs(stage).glob(name), *self.logs(stage).glob(f"*/{name}")])

    def logs_by_job(self, stage: str) -> dict[str, list[Path]]:
        """The same of all jobs of a stage by one look; of an element several, if it had several workers."""
        found: dict[str, list[Path]] = {}
        folder, name = self.logs(stage), "*_log.out"
        for path in sorted([*folder.glob(name), *folder.glob(f"*/{name}")]):
            found.setdefault(path.name.removesuffix("_log.out").rpartition("_")[0], []).append(path)
        return found

    def again(self, logs: Path, job: str) -> Path:
        """There while a worker of a job wants it to be started again."""
        return logs / f"{job}.again"

    def verdicts(self, user: str) -> Path:
        """What a person said of clips."""
        return self.root / "verdicts" / f"{_as_name(user)}.parquet"

    def verdicts_of_plan(self, content: str) -> Path:
        """What all had said when a plan was made."""
        return self.plans / "verdicts" / f"{content}.parquet"

    @property
    def hydra(self) -> Path:
        return self.root / "logs" / "hydra"
