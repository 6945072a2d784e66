"""Time and memory of planning a large table: `python tools/bench_units.py [rows]`, one million by default.

No file of the table exists, so a planner that looked at one would fail. The last line is the measurement.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hpc_curate import sources, units
from hpc_curate.io.paths import RunPaths
from hpc_curate.io.s5cmd import SourceSettings


def main(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "videos.parquet"
        _write(table, rows)
        began = time.perf_counter()
        found = sources.entries(str(table), SourceSettings())
        listed = time.perf_counter()
        paths = RunPaths(Path(folder) / "run")
        frozen = units.freeze(paths, found, unit_gb=50.0, unit_videos=256)
        planned = time.perf_counter()
        again = units.freeze(paths, found, unit_gb=50.0, unit_videos=256)
        repeated = time.perf_counter()
        units.read(paths, frozen.units // 2)
        read = time.perf_counter()
        # Peak of the whole process, the writing of the table included.
        peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
        loads = units.all_videos(paths).group_by("unit").aggregate([("bytes", "sum")])["bytes_sum"].to_numpy()
        print(f"{frozen.added} videos in {frozen.units} units; fullest unit / mean {loads.max() / loads.mean():.4f}")
        print(
            f"frozen again: {again.added} added, {repeated - planned:.1f} s; one unit read in {read - repeated:.3f} s"
        )
        print(f"entries {listed - began:.1f} s, freeze {planned - listed:.1f} s, peak {peak_gib:.2f} GiB")


def _write(path: Path, rows: int) -> None:
    random = np.random.default_rng(0)
    sizes = random.lognormal(17.0, 1.2, rows).astype(np.int64)  # bytes; median 24 MB
    schema = pa.schema([("uri", pa.string()), ("size", pa.int64()), ("label", pa.string()), ("year", pa.int32())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, 1 << 16):
            part = range(start, min(rows, start + (1 << 16)))
            uris = [f"/lustre/project/videos/{number % 4096:04d}/recording_{number:09d}.mp4" for number in part]
            columns = [uris, sizes[start : part.stop], ["street"] * len(part), [2000 + number % 25 for number in part]]
            writer.write_table(pa.table([pa.array(c) for c in columns], names=schema.names).cast(schema))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
