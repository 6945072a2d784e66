"""Run folders as a large run leaves them, without a video: for tools/bench_scale.py and its test.

Names, signatures, asked sets and records are the ledger's own; only the rows are made up. Tables that no merge reads
(series, frames, clip stores) are hard links of one empty file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hpc_curate import config, plan, run, units
from hpc_curate.overrides import compose
from hpc_curate.records import digest
from hpc_curate.run_folder.ledger import Ledger, Output, Record
from hpc_curate.run_folder.state import State, kept_hash, piece_hash

VIDEOS_PER_UNIT = 4
CLIPS_PER_VIDEO = 25
CLIP_S = 4.0
TICKS = 90_000
STAGES = ("scan", "shots", "gate", "embed", "dedup", "select", "cut", "shard", "pack")
SCORED = ("scan", "shots", "gate", "embed")  # what is there before the first merge
_BLOCK = 200  # units made at once
_LINKS = 50_000  # of one file; ext4 allows 65,000
_SEED = 7


def input_table(path: Path, videos: int) -> None:
    """A table of videos that are nowhere."""
    uris = [f"/lustre/project/videos/{number % 4096:04d}/recording_{number:09d}.mp4" for number in range(videos)]
    pq.write_table(pa.table({"uri": uris, "size": np.full(videos, 40_000_000)}), path)


def planned(folder: Path, overrides: tuple[str, ...] = (), line: tuple[str, ...] = STAGES) -> plan.Plan:
    """The saved plan of a run in `folder` over its input table."""
    weights = folder / "weights"
    weights.write_bytes(b"none")
    config.register()
    embed = ("model=open_clip", "architecture=synthetic", "dimensions=8", f"weights_path={weights}")
    own = (f"input={folder / 'videos.parquet'}", f"run_dir={folder / 'run'}", f"unit.videos={VIDEOS_PER_UNIT}")
    stages = ("launch=slurm", f"stage=[{','.join(line)}]", "stage.shard.groups=64")
    given = (*own, *stages, *(f"stage.embed.{one}" for one in embed), *overrides)
    return run.prepare(config.resolve(compose(given)))


@dataclass
class Synthetic:
    """Fills a run folder stage by stage."""

    plan: plan.Plan

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.plan.paths)
        self._empty: dict[tuple[str, int], Path] = {}

    def scored(self) -> None:
        """The stages before the first merge, with loose records."""
        state = State(self.plan, self.ledger, verify=False)
        signatures = {name: state.signature(name) or "" for name in SCORED}
        frozen = units.all_videos(self.plan.paths)
        per_block = _BLOCK * VIDEOS_PER_UNIT
        for start in range(0, frozen.num_rows, per_block):
            videos = frozen.slice(start, per_block)
            first = videos["unit"][0].as_py()
            tables = self._scored_rows(videos)
            for at in range(videos.num_rows // VIDEOS_PER_UNIT):
                self._unit(first + at, {key: _part(table, at) for key, table in tables.items()}, signatures)

    def _unit(self, unit: int, tables: dict[tuple[str, str], pa.Table], signatures: dict[str, str]) -> None:
        """One unit of the first four stages."""
        pieces = piece_hash(self.plan.steps["scan"].stage.pieces())
        shots_asked = digest([[pieces, 0]])
        gate_asked = digest([[shots_asked, 0]])
        gate = tables["gate", "rows"]
        kept = gate.filter(gate["gate_keep"])["clip_id"].to_pylist()
        asked = {"scan": pieces, "shots": shots_asked, "gate": gate_asked, "embed": kept_hash(kept)}
        chosen = tables["embed", "rows"].filter(gate["gate_keep"])
        tables = {**tables, ("embed", "rows"): chosen}
        for name in SCORED:
            mine = {table: rows for (stage, table), rows in tables.items() if stage == name}
            filtered = (len(kept), asked["embed"]) if name == "gate" else None
            self.write(Record(name, signatures[name], unit, (asked[name],), (), kept=filtered), mine)

    def _scored_rows(self, videos: pa.Table) -> dict[tuple[str, str], pa.Table]:
        """The rows of a block of units, by stage and table."""
        count = videos.num_rows
        of = np.repeat(np.arange(count), CLIPS_PER_VIDEO)
        start_s = np.tile(np.arange(CLIPS_PER_VIDEO) * CLIP_S, count)
        ids = videos["video_id"].to_numpy()[of]
        starts, ends = (start_s * TICKS).astype(np.int64), ((start_s + CLIP_S) * TICKS).astype(np.int64)
        clip_ids = [f"{video}_{start}_{end}" for video, start, end in zip(ids, starts, ends, strict=True)]
        random = np.random.default_rng([_SEED, int(videos["unit"][0].as_py())])
        same = {"fps_num": 25, "fps_den": 1, "time_base_num": 1, "time_base_den": TICKS, "start_pts": 0}
        whole = CLIPS_PER_VIDEO * CLIP_S
        facts = {**same, "duration_s": whole, "end_pts": int(whole * TICKS), "error": None}
        known = {name: videos[name] for name in ("video_id", "uri", "name", "bytes")}
        spans = {"start_pts": starts, "end_pts": ends, "start_s": start_s, "end_s": start_s + CLIP_S}
        picture = {"width": 1920, "height": 1080, "crop_w": 1920, "crop_h": 1080, "crop_x": 0, "crop_y": 0}
        rated = {"fps": 25.0, "bits_per_pixel": 0.1, "border_share": 0.0, "freeze_share": 0.0, "luma_mean": 100.0}
        moving = {"motion": random.random(len(of)).round(3) * 0.1, "sharpness": random.random(len(of)).round(6)}
        clips = {"clip_id": clip_ids, "video_id": ids, **spans, "duration_s": CLIP_S, **picture, **rated, **moving}
        counts = {"video_id": videos["video_id"], "clips": CLIPS_PER_VIDEO, "clips_s": whole}
        seconds = {name: 0.0 for name in ("short_s", "trimmed_s", "long_dropped_s", "transition_s")}
        passed = moving["motion"] >= 0.003
        gate = {"clip_id": clip_ids, "gate_keep": passed, "gate_reason": np.where(passed, None, "motion is too low")}
        embed = {"clip_id": clip_ids, "embedding_model": "open_clip:synthetic", "error": None}
        wanted = {
            ("scan", "videos"): {**known, **facts},
            ("shots", "rows"): clips,
            ("shots", "shot_counts"): {**counts, **seconds},
            ("gate", "rows"): gate,
            ("embed", "rows"): embed,
        }
        schemas = {(stage, name): self.plan.steps[stage].stage.writes()[name] for stage, name in wanted}
        sizes = {key: count if key[1] in ("videos", "shot_counts") else len(of) for key in wanted}
        return {key: filled(schemas[key], sizes[key], columns, random) for key, columns in wanted.items()}

    def cut(self) -> None:
        """What select keeps, as if it had been encoded; with loose records."""
        state = State(self.plan, self.ledger, verify=False)
        signature, record = state.signature("cut"), state.done("select", 0)
        assert signature and record
        rows = pq.read_table(self.ledger.outputs(record, "rows")[0], columns=["clip_id", "unit", "keep"])
        kept = rows.filter(rows["keep"])
        ends = np.searchsorted(kept["unit"].to_numpy(), np.arange(self.plan.units + 1))
        schema = self.plan.steps["cut"].stage.writes()["rows"]
        sizes = {"cut_width": 1920, "cut_height": 1080, "cut_frames": 100, "cut_duration_s": CLIP_S}
        for unit, (start, end) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
            mine = {
                "clip_id": kept["clip_id"].slice(start, end - start),
                "error": None,
                "cut_bytes": 2_000_000,
                **sizes,
            }
            asked = state.asked("cut", unit)
            assert asked
            table = filled(schema, int(end - start), mine, np.random.default_rng(unit))
            self.write(Record("cut", signature, unit, (asked,), ()), {"rows": table})

    def dedup(self) -> None:
        """Every fiftieth clip has a copy beside it."""
        state = State(self.plan, self.ledger, verify=False)
        signature = state.signature("dedup")
        assert signature
        records = [state.done("embed", unit) for unit in range(self.plan.steps["embed"].units)]
        paths = [self.ledger.outputs(record, "rows")[0] for record in records if record]
        ids = pa.chunked_array([pq.ParquetFile(path).read(["clip_id"])["clip_id"].combine_chunks() for path in paths])
        ids = ids.combine_chunks()
        schemas = self.plan.steps["dedup"].stage.writes()
        group = np.where(np.arange(len(ids)) % 50 < 2, np.arange(len(ids)) // 50 * 50, -1)
        rows = {"clip_id": ids, "duplicate_group": ids.take(pa.array(group, mask=group < 0))}
        first = np.arange(0, len(ids) - 1, 50)
        ends = {"clip_a": ids.take(pa.array(first)), "clip_b": ids.take(pa.array(first + 1))}
        edges = {**ends, "similarity": 0.99, "method": "embedding"}
        stats = {"method": "embedding", "statistic": "threshold", "value": 0.95}
        random = np.random.default_rng(_SEED)
        tables = {
            "rows": filled(schemas["rows"], len(ids), rows, random),
            "edges": filled(schemas["edges"], len(first), edges, random),
            "dedup_stats": filled(schemas["dedup_stats"], 1, stats, random),
        }
        self.write(Record("dedup", signature, 0, ("all",), ()), tables)

    def pack(self) -> None:
        """The index of tars that are nowhere."""
        state = State(self.plan, self.ledger, verify=False)
        signature, record = state.signature("pack"), state.done("shard", 0)
        assert signature and record
        samples = pq.read_table(self.ledger.outputs(record, "samples")[0], columns=["clip_id", "tar", "group"])
        schema = self.plan.steps["pack"].stage.writes()["tars"]
        random = np.random.default_rng(_SEED)
        for group in range(self.plan.steps["pack"].units):
            mine = samples.filter(pc.equal(samples["group"], group))
            columns = {"clip_id": mine["clip_id"], "tar": mine["tar"], "bytes": 2_010_000, "tar_bytes": 500_000_000}
            self.write(
                Record("pack", signature, group, ("all",), ()),
                {"tars": filled(schema, mine.num_rows, columns, random)},
            )

    def write(self, record: Record, tables: dict[str, pa.Table]) -> None:
        """Publish without the flushes: nobody pulls the plug here."""
        stage = self.plan.steps[record.stage].stage
        outputs = []
        for name, schema in stage.writes().items():
            path = self.plan.paths.rows(record.stage, record.signature, record.unit, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if name in tables:
                pq.write_table(tables[name], path, compression="snappy", use_dictionary=False, write_statistics=False)
            else:
                os.link(self._template(record, name, schema), path)
            rows = tables[name].num_rows if name in tables else 0
            outputs.append(Output(name, 1, path.stat().st_size, "0" * 64, rows))
        main = tables.get("rows", tables.get("videos"))
        done = self.plan.paths.done(record.stage, record.signature, record.unit)
        done.parent.mkdir(exist_ok=True)
        body = {**asdict(record), "outputs": [asdict(output) for output in outputs], "seconds": 60.0}
        done.write_text(json.dumps({**body, "rows": main.num_rows if main else 0}, indent=1, sort_keys=True))

    def _template(self, record: Record, name: str, schema: pa.Schema) -> Path:
        """An empty table to link to, before it has too many links."""
        key = (f"{record.stage}.{name}", record.unit // _LINKS)
        if key not in self._empty:
            path = self.plan.paths.root.parent / f"{key[0]}.{key[1]}.parquet"
            pq.write_table(schema.empty_table(), path)
            self._empty[key] = path
        return self._empty[key]


def _part(table: pa.Table, at: int) -> pa.Table:
    """The rows of one unit of a block."""
    rows = VIDEOS_PER_UNIT if "sar_num" in table.column_names or "shots" in table.column_names else None
    size = rows or VIDEOS_PER_UNIT * CLIPS_PER_VIDEO
    return table.slice(at * size, size)


def filled(schema: pa.Schema, rows: int, columns: dict[str, object], random: np.random.Generator) -> pa.Table:
    """A table of `schema`: the columns that are given (one value stands for all rows), the others by their type."""
    return pa.table([_column(field, rows, columns, random) for field in schema], schema=schema)


def _column(field: pa.Field, rows: int, columns: dict[str, object], random: np.random.Generator) -> pa.Array:
    kind = field.type
    if field.name in columns:
        given = columns[field.name]
        if isinstance(given, str | int | float | None):
            return pa.repeat(pa.scalar(given, kind), rows)
        return given.cast(kind) if isinstance(given, pa.Array | pa.ChunkedArray) else pa.array(given, kind)
    if pa.types.is_fixed_size_list(kind):
        values = random.standard_normal(rows * kind.list_size).astype(np.float16)
        return pa.FixedSizeListArray.from_arrays(pa.array(values), kind.list_size)
    if pa.types.is_list(kind):
        return pa.array([[]] * rows, kind)
    if pa.types.is_floating(kind):
        return pa.array(random.random(rows).round(4), kind)
    return pa.repeat(pa.scalar({pa.bool_(): False, pa.string(): "h264"}.get(kind, 1), kind), rows)
