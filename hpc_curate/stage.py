"""The kinds of stage and their contract.

A stage is a frozen dataclass; its fields are the settings that change its results. One file in `stages/` holds one
stage, and file, Hydra choice, test and output folder share its name.

- `PerUnit`   one task per unit: `items` cuts the work into pieces that survive a kill, `process` does one piece.
- `PerClip`   a `PerUnit` that adds columns to clips. Three kinds:
  `Scorer`    from the frame pack: write `load` and `score`, nothing else;
  `Derived`   from columns of other stages: write `reads` and `derive`, nothing else;
  `Asker`     (chat/asker.py) from answers of a vision-language model: write `questions`, `read` and `row`.
- `Filter`    a `PerUnit` or `Merge` whose rows say which clips later stages are asked for (`keep`, `reason`).
- `Merge`     one task over all units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.chat.endpoint import Endpoint
from hpc_curate.errors import BadInput, UnitFailed
from hpc_curate.records import digest
from hpc_curate.weights import NOTHING, Noted

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

Tables = dict[str, pa.Table]


@dataclass(frozen=True)
class Resources:
    """What a task is given. Never part of a signature: tuning invalidates no work."""

    cpus: int = 2
    gpus: int = 0
    memory_gb: float = 8.0
    minutes: int = 240
    batch_size: int = 32  # clips that a scorer takes at once
    partition: str | None = None  # the Slurm partition; null: the launch group's for CPU or GPU stages
    units_per_element: int = 1  # that each of its workers takes
    workers_per_element: int = 1  # on one node, each with the resources above: for sites that give whole nodes
    scratch: str | None = None  # node-local folder for large temporary files; null: the system's
    endpoint: Endpoint | None = None  # where a stage that asks a model finds it


@dataclass(frozen=True)
class Item:
    """A piece of a unit's work that survives a kill: a video, or a batch of clips."""

    key: str
    ids: tuple[str, ...]  # the rows it will make


@dataclass(frozen=True)
class Clip:
    """What a scorer sees of one clip."""

    clip_id: str
    frames: np.ndarray  # uint8 [N, H, W, 3], RGB, from the frame pack
    times_s: np.ndarray  # float64 [N], seconds after the start of the clip
    columns: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """What all stages share. Tables are named; a name is written by one stage only."""

    name: ClassVar[str]
    version: ClassVar[int] = 1

    def reads(self) -> tuple[str, ...]:
        """Names of clip columns and of tables (`videos`, `series`, `frames`, `store` ...) that are computed from.

        `caption?` is read where a stage before writes `caption`, and not missed elsewhere; `Inputs.has` tells.
        """
        return ()

    def writes(self) -> dict[str, pa.Schema]:
        """Schemas by table name; `rows` holds clip rows, its columns are what others may read."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What enters the signature: every field, unless a stage knows better."""
        return dataclasses.asdict(self)

    def weights(self) -> Sequence[Path]:
        """Files whose content changes results; their checksums enter the signature."""
        return ()

    def parts(self) -> tuple[Any, ...]:
        """Itself, and the measures and cutters that are plugged into it."""
        return (self, *getattr(self, "measures", {}).values(), *getattr(self, "cutters", {}).values())

    def signature(self, upstream: Sequence[str], noted: Noted = NOTHING) -> str:
        """16 hex digits over all that changes the content of the rows, and nothing else."""
        return digest(self.name, self.version, self.settings(), noted.of_weights(self), sorted(upstream))

    def load(self, resources: Resources) -> Any:
        """The model: heavy imports happen here and nowhere else. What it returns is handed to the work."""
        return None

    def check(self, resources: Resources) -> None:
        """Say before anything is queued what the stage needs of its resources and has not.

        Raises:
            ConfigError: naming the setting.
        """

    def unload(self, model: Any) -> None:
        """Give back what `load` took beside memory, such as a server that it started."""

    def publishes(self, inputs: Inputs) -> Sequence[Path]:
        """Files beside the tables that this unit has made; the ledger names them too."""
        return ()


@dataclass(frozen=True)
class PerUnit(Stage):
    """One task per unit."""

    # Rows asked for later are added as a part; False: the whole unit is made anew.
    incremental: ClassVar[bool] = False
    # Its units are the `groups` of this stage; None: the units of the run.
    units_from: ClassVar[str | None] = None
    # Rows per group of a table that holds large blobs, so that one blob can be read alone.
    row_group: ClassVar[dict[str, int]] = {}

    def pieces(self, noted: Noted = NOTHING) -> dict[str, str]:
        """Signatures by name, for a stage (scan) that is asked for pieces and not for clips."""
        return {}

    def items(self, inputs: Inputs, asked: Sequence[str]) -> Iterable[Item]:
        """Cut what is asked for and not yet here into items, in a fixed order."""
        return [Item("all", ())]

    def process(self, model: Any, inputs: Inputs, item: Item) -> Tables:
        """Do one item. `BadInput` is for the whole item: `failed` then says what is written instead."""
        raise NotImplementedError

    def failed(self, item: Item, error: str) -> Tables:
        """The rows that stand for an item which could not be used."""
        raise UnitFailed(error)


@dataclass(frozen=True)
class Merge(Stage):
    """One task over all units, behind the coverage rule."""

    def run(self, model: Any, inputs: Inputs) -> Tables:
        """Read all units, return the tables."""
        raise NotImplementedError


class Filter:
    """Mixin: later stages are asked for the clips only whose `keep_column` is true."""

    keep_column: ClassVar[str] = "keep"


@dataclass(frozen=True)
class PerClip(PerUnit):
    """Adds columns to clips. Rows in = rows out, aligned by clip_id; a bad clip is a null row with an `error`."""

    incremental: ClassVar[bool] = True
    items_of: ClassVar[int] = 64  # clips that are lost at most when a task is killed
    columns: ClassVar[pa.Schema]

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": pa.schema([("clip_id", pa.string()), *self.columns, ("error", pa.string())])}

    def items(self, inputs: Inputs, asked: Sequence[str]) -> Iterable[Item]:
        for start in range(0, len(asked), self.items_of):
            ids = tuple(asked[start : start + self.items_of])
            yield Item(digest(ids), ids)

    def failed(self, item: Item, error: str) -> Tables:
        rows = [{"clip_id": clip_id, "error": error} for clip_id in item.ids]
        return {"rows": pa.Table.from_pylist(rows, schema=self.writes()["rows"])}


@dataclass(frozen=True)
class Derived(PerClip):
    """A `PerClip` whose columns follow from columns of other stages: write `reads` and `derive`, nothing else."""

    items_of: ClassVar[int] = 1 << 14

    def derive(self, model: Any, clips: pa.Table) -> pa.Table:
        """The columns of these clips, in their order; a clip that cannot have any has nulls and a text in `error`.

        Args:
            clips: `clip_id` and the columns of `reads`.
        """
        raise NotImplementedError

    def process(self, model: Any, inputs: Inputs, item: Item) -> Tables:
        clips = inputs.clips(self.reads(), item.ids)
        schema = self.writes()["rows"]
        found = self.derive(model, clips.combine_chunks())
        absent = [name for name in schema.names if name not in (*found.column_names, "clip_id")]
        for name in absent:
            found = found.append_column(name, pa.nulls(len(clips), schema.field(name).type))
        return {"rows": found.append_column("clip_id", clips["clip_id"]).select(schema.names).cast(schema)}


@dataclass(frozen=True)
class Scorer(PerClip):
    """A `PerClip` that looks at frames of the frame pack: write `load` and `score`, nothing else."""

    frames_per_clip: int = 4

    def reads(self) -> tuple[str, ...]:
        return ("frames",)

    def score(self, model: Any, clips: Sequence[Clip]) -> list[dict[str, Any] | BadInput]:
        """One dict of columns per clip, in the order of `clips`; a `BadInput` stands for a clip that is bad."""
        raise NotImplementedError

    def process(self, model: Any, inputs: Inputs, item: Item) -> Tables:
        return {"rows": pa.Table.from_pylist(self.scores(model, inputs, item), schema=self.writes()["rows"])}

    def scores(self, model: Any, inputs: Inputs, item: Item) -> list[dict[str, Any]]:
        """What `score` says of each clip of an item, as rows."""
        columns = tuple(name for name in self.reads() if name != "frames")
        rows: list[dict[str, Any]] = []
        batch: list[Clip] = []
        for clip_id, clip in inputs.frames(item.ids, self.frames_per_clip, columns):
            if isinstance(clip, BadInput):
                rows.append({"clip_id": clip_id, "error": str(clip)})
            else:
                batch.append(clip)
            if len(batch) >= inputs.resources.batch_size:
                rows += self._scored(model, batch)
                batch = []
        if batch:
            rows += self._scored(model, batch)
        return rows

    def _scored(self, model: Any, clips: Sequence[Clip]) -> list[dict[str, Any]]:
        scores = self.score(model, clips)
        if len(scores) != len(clips):
            raise UnitFailed(f"{self.name}: {len(clips)} clips went in, {len(scores)} scores came out")
        return [
            {"clip_id": clip.clip_id, "error": str(score)}
            if isinstance(score, BadInput)
            else {"clip_id": clip.clip_id, **score}
            for clip, score in zip(clips, scores, strict=True)
        ]
