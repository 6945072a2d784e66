"""Where a plan stands: full signatures, what is asked of each unit, and which units are missing.

A merge's signature holds what it has read, so it is known only when its inputs are complete; the signatures of the
stages behind it follow. Everything here is derived from the ledger and can be thrown away.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from hpc_curate import config, units
from hpc_curate.io import delivery
from hpc_curate.plan import Plan, Step
from hpc_curate.records import digest, digest_of_texts
from hpc_curate.run_folder.ledger import Attempt, Ledger, Record
from hpc_curate.stage import Merge, PerUnit


@dataclass
class State:
    """One look at the ledger through a plan. Records are read once per stage; make a new one to look again."""

    plan: Plan
    ledger: Ledger
    verify: bool = True  # also stat the outputs
    one_by_one: bool = False  # read the records of single units: for a task that looks at few
    fold: bool = False  # gather loose records before they are read
    seen: dict[str, tuple[str, str]] = field(default_factory=dict)  # of a stage: signature, fingerprint of its records
    _signatures: dict[str, str | None] = field(default_factory=dict)
    _records: dict[str, dict[int, Record]] = field(default_factory=dict)
    _kept: dict[str, list[str]] = field(default_factory=dict)
    _pieces: dict[str, str | None] = field(default_factory=dict)
    _asked: dict[tuple[str, int], str | None] = field(default_factory=dict)
    _done: dict[tuple[str, int], Record | None] = field(default_factory=dict)

    @property
    def allow_failed(self) -> bool:
        return self.plan.limits.allow_failed_units

    def signature(self, name: str) -> str | None:
        """The full signature; None while a merge that it depends on has not all its inputs."""
        if name not in self._signatures:
            self._signatures[name] = self._signature(self.plan.steps[name])
        return self._signatures[name]

    def attempts_signature(self, name: str) -> str:
        """The signature that attempts at a stage lie under: the full one, or as much of it as can be known yet."""
        return self.signature(name) or self.plan.static_signature(name)

    def data_set(self) -> str | None:
        """Where the tars are; None for a recipe without pack, and before it is known what it packs."""
        signature = self.signature("pack") if "pack" in self.plan.steps else None
        return signature and delivery.place(config.output(self.plan.settings), self.plan.paths, signature)

    def report(self) -> Path | None:
        """The page of the report; it may have been made for an earlier plan that asked the same."""
        record = self.done("report", 0) if "report" in self.plan.steps else None
        return self.plan.paths.root / record.files[0][0] if record and record.files else None

    def _signature(self, step: Step) -> str | None:
        upstream: list[str] = []
        for name in step.upstream:
            signature = self.signature(name)
            if signature is None:
                return None
            upstream.append(signature)
        own = step.stage.signature(upstream, self.plan.noted)
        if not isinstance(step.stage, Merge):
            return own
        read = [self._read_by_merge(name) for name in step.waits_for]
        if any(part is None for part in read):
            return None
        return digest(own, read, self._input)

    @cached_property
    def _input(self) -> str:
        return units.content(self.plan.paths, self.plan.units)

    def _read_by_merge(self, name: str) -> list[object] | None:
        """What a merge reads of a stage, unit by unit; None if a unit is not accounted for."""
        signature = self.signature(name)
        if signature is None:
            return None
        parts: list[object] = [name, signature]
        for unit in range(self.plan.steps[name].units):
            record = self.done(name, unit)
            if record:
                parts.append([self.asked(name, unit), record.failures, record.kept])
            elif self.allow_failed and self.failed(name, unit):
                parts.append("failed")
            else:
                return None
        return parts

    def asked(self, name: str, unit: int) -> str | None:
        """The hash of what the plan asks of a unit; None while the filter before it has not spoken."""
        key = (name, unit)
        if key not in self._asked:
            self._asked[key] = self._hash_of_asked(self.plan.steps[name], unit)
        return self._asked[key]

    def _hash_of_asked(self, step: Step, unit: int) -> str | None:
        stage = step.stage
        if not isinstance(stage, PerUnit) or stage.units_from is not None:
            return "all"
        if stage.name not in self._pieces:
            pieces = stage.pieces(self.plan.noted)
            self._pieces[stage.name] = piece_hash(pieces) if pieces else None
        if self._pieces[stage.name]:
            return self._pieces[stage.name]
        if stage.incremental and step.asked_by is not None:
            return self._hash_of_kept(step.asked_by, unit)
        upstream = [name for name in step.upstream if self._same_units(name)]
        records = [self.done(name, unit) for name in upstream]
        if any(record is None for record in records):
            return None
        return digest([[self.asked(n, unit), r.failures] for n, r in zip(upstream, records, strict=True) if r])

    def _hash_of_kept(self, name: str, unit: int) -> str | None:
        stage = self.plan.steps[name].stage
        merged = isinstance(stage, Merge)
        record = self.done(name, 0 if merged else unit)
        if record is None:
            return None
        if merged:
            return self._kept_by_merge(name, record, unit)
        return record.kept[1] if record.kept else digest(self.asked(name, unit), record.failures)

    def _kept_by_merge(self, name: str, record: Record, unit: int) -> str:
        """The hash of what a merge keeps of a unit: its file is sorted by unit, so a task reads its own rows only."""
        keep = pc.field(self.plan.steps[name].stage.keep_column)  # type: ignore[attr-defined]
        rows = ds.dataset(self.ledger.outputs(record, "rows"))
        if self.one_by_one:
            return kept_hash(rows.to_table(["clip_id"], keep & (pc.field("unit") == unit))["clip_id"])
        if name not in self._kept:
            kept = rows.to_table(["unit", "clip_id"], keep)
            ends = np.searchsorted(kept["unit"].to_numpy(), np.arange(self.plan.units + 1))
            clips = kept["clip_id"].combine_chunks()
            self._kept[name] = [kept_hash(clips[start:end]) for start, end in itertools.pairwise(ends.tolist())]
        return self._kept[name][unit]

    def _same_units(self, name: str) -> bool:
        stage = self.plan.steps[name].stage
        return isinstance(stage, PerUnit) and stage.units_from is None

    def done(self, name: str, unit: int) -> Record | None:
        """The record of a unit if it is done for what this plan asks, else None."""
        key = (name, unit)
        if key not in self._done:
            self._done[key] = self._done_record(name, unit)
        return self._done[key]

    def _done_record(self, name: str, unit: int) -> Record | None:
        record = self.record(name, unit)
        if record is None or self.asked(name, unit) not in record.asked:
            return None
        return record if not self.verify or self.ledger.valid(record) else None

    def look_again(self, name: str, unit: int) -> None:
        """Forget what was seen of one unit's record; everything else stays as it was."""
        self._done.pop((name, unit), None)
        signature = self.signature(name)
        if name in self._records and signature is not None:
            record = self.ledger.record(name, signature, unit)
            self._records[name].update({unit: record} if record else {})

    def record(self, name: str, unit: int) -> Record | None:
        """The record of a unit, whatever set it was made for."""
        signature = self.signature(name)
        if signature is None:
            return None
        if self.one_by_one:
            return self.ledger.record(name, signature, unit)
        if name not in self._records:
            if self.fold:
                self.ledger.fold(name, signature)
            # Before they are read: a record that comes while they are is not in this fingerprint.
            self.seen[name] = (signature, self.ledger.fingerprint(name, signature))
            self._records[name] = self.ledger.records(name, signature)
        return self._records[name].get(unit)

    def finished(self, name: str) -> list[Record]:
        """The records of all units of a stage that are done."""
        every = (self.done(name, unit) for unit in range(self.plan.steps[name].units))
        return [record for record in every if record]

    def missing(self, name: str, among: Sequence[int] | None = None) -> list[int]:
        """Units that are not done; of those that are named, or of all."""
        every = range(self.plan.steps[name].units) if among is None else among
        return [unit for unit in every if self.done(name, unit) is None]

    def failed(self, name: str, unit: int) -> Attempt | None:
        """What is known of a unit that ended in failure."""
        signature = self.signature(name)
        if signature is None or self.done(name, unit):
            return None
        attempt = self.ledger.attempt(name, signature, unit)
        return attempt if attempt.failure == "failed" else None

    def failed_units(self, name: str) -> dict[int, Attempt]:
        """The units of a stage that ended in failure."""
        every = ((unit, self.failed(name, unit)) for unit in range(self.plan.steps[name].units))
        return {unit: attempt for unit, attempt in every if attempt}

    def in_the_way(self, name: str, unit: int) -> list[str]:
        """Why a task of this stage cannot start: the stages and units that it waits for, in words."""
        reasons, alone = [], self._same_units(name)
        for before in self.plan.steps[name].waits_for:
            # Who looks at its own unit only must not look at a hundred thousand others to say so.
            among = [unit] if alone and self._same_units(before) else None
            missing = [] if self.signature(before) is None else self.missing(before, among)
            open_units = [u for u in missing if not (self.allow_failed and self.failed(before, u))]
            if self.signature(before) is None or open_units:
                units = ", ".join(map(str, open_units[:10])) + (" ..." if len(open_units) > 10 else "")
                failed = sum(self.failed(before, unit) is not None for unit in open_units)
                reasons.append(f"{before}: {f'units {units} are missing ({failed} failed)' if units else 'not begun'}")
        return reasons


def piece_hash(pieces: Mapping[str, str]) -> str:
    """The hash of all pieces of a stage that is asked for pieces, by name."""
    return digest(sorted(f"{name}:{signature}" for name, signature in pieces.items()))


def kept_hash(ids: Sequence[str] | pa.Array | pa.ChunkedArray) -> str:
    """The hash of a set of clips."""
    return digest_of_texts(ids if isinstance(ids, pa.Array | pa.ChunkedArray) else pa.array(ids, pa.string()))
