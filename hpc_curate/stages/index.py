"""Makes the tars a data set: an index, checksums, a list of URLs and a card, after every kept clip is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from hpc_curate import __version__
from hpc_curate.clips import align
from hpc_curate.errors import MergeRefused
from hpc_curate.io.tables import write_table, write_text
from hpc_curate.plural import counted
from hpc_curate.records import licence_of
from hpc_curate.stage import Merge, Tables
from hpc_curate.stages import caption
from hpc_curate.stages.shard import complete

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs
    from hpc_curate.io.delivery import Delivery

INDEX = pa.schema(
    [
        ("sample", pa.string()),
        ("tar", pa.string()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("mp4_offset", pa.int64()),
        ("mp4_bytes", pa.int64()),
    ]
)
BUCKETS = pa.schema(
    [
        ("split", pa.string()),
        ("bucket", pa.string()),
        ("tars", pa.int64()),
        ("samples", pa.int64()),
        ("bytes", pa.int64()),
        ("seconds", pa.float64()),
    ]
)

_COLUMNS = ("cut_bytes", "cut_mode", "cut_duration_s", "video_id")
_FILES = {
    "tar": (
        "WebDataset tars, one sample per clip: `mp4`, `json`, and where there is one `npy` (embedding) and `txt` "
        "(caption). `urls.txt` lists the tars per split and bucket; `index.parquet` says where each sample lies; "
        "`sha256sum --check sha256sums.txt` checks the tars."
    ),
    "folder": (
        "The folders `train` and `val` have `videos/*.mp4` and, under the same names, `metas/*.txt` (captions), as the "
        "post-training of Cosmos-Predict reads a data set. `urls.txt` and `index.parquet` list the videos; "
        "`sha256sum --check sha256sums.txt` checks them."
    ),
}
_SHOWN = 10


@dataclass(frozen=True)
class Index(Merge):
    """Refuses to make a data set of which a part is missing. Beside the tars it writes:

    - `index.parquet`   one row per sample: tar, offset, bytes, sha256; the last file, so its presence says all is here
    - `sha256sums.txt`  of the tars, for `sha256sum --check`
    - `urls.txt`        one line per split and bucket, with the numbers in braces, as WebDataset takes them: names for
      a folder, whole URLs for an object store, of which `pipe:s5cmd cat URL` is a WebDataset source
    - `README.md`       the card: counts, licences, settings

    The table `buckets` has the counts.
    """

    name: ClassVar[str] = "index"

    rehash: bool = False  # read all tars again and compare their checksums; sizes are always compared
    dedup: bool = True  # the card states what dedup measured; false for a recipe without it

    def reads(self) -> tuple[str, ...]:
        optional = tuple(f"{name}?" for name in caption.FACTS)
        return ("samples", "tars", *_COLUMNS, *optional, *(("dedup_stats",) if self.dedup else ()))

    def writes(self) -> dict[str, pa.Schema]:
        return {"buckets": BUCKETS}

    def run(self, model: None, inputs: Inputs) -> Tables:
        captions = [name for name in caption.FACTS if inputs.has(name)]
        clips = inputs.clips([*_COLUMNS, *captions])
        tars = inputs.table("tars").sort_by([("tar", "ascending"), ("offset", "ascending")])
        delivery = inputs.delivery()
        refuse_gaps(clips, inputs.table("samples"), tars)
        files, checksums = (_of_tars(tars, name) for name in ("tar_bytes", "tar_sha256"))
        refuse_files(delivery, files, checksums if self.rehash else {})

        delivery.tidy()
        buckets = _buckets(clips, inputs.table("samples"), files)
        texts = {
            "sha256sums.txt": "".join(f"{checksums[tar]}  {tar}\n" for tar in sorted(checksums)),
            "urls.txt": "".join(f"{delivery.url}{line}\n" for line in urls(sorted(files))),
            "README.md": "\n\n".join(self._card(inputs, clips, buckets, files)) + "\n",
        }
        for name, text in texts.items():
            delivery.put(name, partial(write_text, text=text))
        index = tars.rename_columns({"clip_id": "sample"}).select(INDEX.names)
        delivery.put("index.parquet", lambda path: write_table(path, index, INDEX, None))
        return {"buckets": buckets}

    def publishes(self, inputs: Inputs) -> list[Path]:
        return inputs.delivery().proofs(("index.parquet", "sha256sums.txt", "urls.txt", "README.md"))

    def _card(self, inputs: Inputs, clips: pa.Table, buckets: pa.Table, tars: Iterable[str]) -> Iterable[str]:
        """The paragraphs of README.md."""
        packed = clips.filter(complete(clips))
        sources = set(packed["video_id"].to_pylist())
        videos = inputs.videos()
        failed = clips.num_rows - packed.num_rows
        captioned = "caption" in clips.column_names
        verbs = _verbs(clips)
        place = "tar" if all(name.endswith(".tar") for name in tars) else "folder"
        hours = (pc.sum(packed["cut_duration_s"]).as_py() or 0.0) / 3600
        lost = f"; {failed:,} of them could not be {verbs}. Such clips are in no {place}" if failed else ""
        yield "# Data set card"
        yield (
            f"{counted(packed.num_rows, 'clip')}, {hours:.2f} hours, of {len(sources):,} of "
            f"{counted(len(videos), 'video')}. {counted(clips.num_rows, 'clip was', 'clips were')} kept{lost}."
        )
        yield f"Made by hpc_curate {__version__}."
        yield "## Files"
        yield _FILES[place]
        yield _markdown(buckets if place == "tar" else buckets.drop_columns(["tars"]))
        yield "## Licences"
        yield _licences(video.extra for video in videos if video.video_id in sources)
        if captioned:
            yield "## Captions"
            yield from _captions(packed, inputs.question())
        if self.dedup:
            yield "## Near-duplicates"
            yield _markdown(_dedup_facts(inputs.table("dedup_stats")))
        yield "## Settings"
        settings = yaml.safe_dump(_without_folders(inputs.question()), sort_keys=True, allow_unicode=True)
        yield f"```yaml\n{settings}```"


def refuse_gaps(clips: pa.Table, samples: pa.Table, tars: pa.Table) -> None:
    """Every kept clip is in the tar that it was dealt to and in no other, or could not be encoded.

    Raises:
        MergeRefused: naming the first of those that are missing or too many.
    """
    encoded, verbs = clips["clip_id"].filter(complete(clips)), _verbs(clips)
    dealt, packed = (
        pc.binary_join_element_wise(rows["clip_id"], " (", rows["tar"], ")", "") for rows in (samples, tars)
    )
    again = align.rows_of(packed, packed).to_numpy() != np.arange(len(packed))
    complaints = {
        f"clips were {verbs} but dealt to no tar": _absent(encoded, samples["clip_id"]),
        f"clips were dealt to a tar but are not {verbs}": _absent(samples["clip_id"], encoded),
        "clips are not in the tar they were dealt to": _absent(dealt, packed),
        "clips are in a tar they were not dealt to": _absent(packed, dealt),
        "clips are in a tar twice": set(tars["clip_id"].filter(pa.array(again)).to_pylist()),
        "clips are in a tar but were not kept": _absent(tars["clip_id"], clips["clip_id"]),
    }
    _refuse(complaints)


def _absent(names: pa.ChunkedArray, among: pa.ChunkedArray) -> set[str]:
    """Those that are not among others. There may be ten millions: only these become Python's."""
    return set(names.filter(pc.is_null(align.rows_of(names, among))).to_pylist())


def _of_tars(samples: pa.Table, column: str) -> dict[str, Any]:
    """What the samples of each tar all say of it."""
    each = samples.group_by("tar").aggregate([(column, "max")])
    return dict(zip(each["tar"].to_pylist(), each[f"{column}_max"].to_pylist(), strict=True))


def _verbs(clips: pa.Table) -> str:
    """What a kept clip must have been to make a sample."""
    return "encoded or captioned" if "caption" in clips.column_names else "encoded"


def refuse_files(delivery: Delivery, sizes: dict[str, int], checksums: dict[str, str]) -> None:
    """What is there is what pack wrote, by size, and by checksum where one is given; there are no other tars.

    Raises:
        MergeRefused: naming the first of those that are not.
    """
    found = delivery.sizes()
    wrong = {name for name, size in sizes.items() if name in found and found[name] != size}
    torn = {
        name
        for name, checksum in checksums.items()
        if name in found and name not in wrong and delivery.sha256(name) != checksum
    }
    complaints = {
        "tars are gone": set(sizes) - set(found),
        "tars do not have the size that pack wrote": wrong,
        "tars do not have the checksum that pack wrote": torn,
        "tars are there that pack did not write": set(found) - set(sizes),
    }
    _refuse(complaints)


def _refuse(complaints: dict[str, set[str]]) -> None:
    texts = []
    for complaint, names in complaints.items():
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
            texts.append(f"{len(names)} {complaint}: {shown}")
    if texts:
        raise MergeRefused("index: " + "; ".join(texts))


def urls(tars: Sequence[str]) -> list[str]:
    """`name-000000.tar` to `name-000012.tar` as `name-{000000..000012}.tar`, which WebDataset expands; others as is."""
    numbers: dict[str, list[str]] = {}
    for tar in (name for name in tars if name.endswith(".tar")):
        stem, number = tar.removesuffix(".tar").rsplit("-", 1)
        numbers.setdefault(stem, []).append(number)
    return [
        f"{stem}-{{{min(found)}..{max(found)}}}.tar" if len(found) > 1 else f"{stem}-{found[0]}.tar"
        for stem, found in numbers.items()
    ] + [name for name in tars if not name.endswith(".tar")]


def _buckets(clips: pa.Table, samples: pa.Table, sizes: dict[str, int]) -> pa.Table:
    """What each bucket of each split holds. One thread: a sum of floats depends on its order."""
    at = pc.index_in(samples["clip_id"], value_set=clips["clip_id"].combine_chunks())
    samples = samples.append_column("seconds", clips["cut_duration_s"].take(at)).sort_by("clip_id")
    of_tar = samples.group_by(["split", "bucket", "tar"], use_threads=False)
    tars = of_tar.aggregate([([], "count_all"), ("seconds", "sum")]).sort_by("tar")
    tars = tars.append_column("bytes", pa.array([sizes[tar] for tar in tars["tar"].to_pylist()], pa.int64()))
    sums = [([], "count_all"), ("count_all", "sum"), ("bytes", "sum"), ("seconds_sum", "sum")]
    totals = tars.group_by(["split", "bucket"], use_threads=False).aggregate(sums)
    columns = ["split", "bucket", "count_all", "count_all_sum", "bytes_sum", "seconds_sum_sum"]
    totals = totals.select(columns).rename_columns(BUCKETS.names).cast(BUCKETS)
    totals = totals.set_column(5, "seconds", pc.round(totals["seconds"], 3))
    return totals.sort_by([("split", "ascending"), ("bucket", "ascending")])


def _markdown(table: pa.Table) -> str:
    names = table.column_names
    rows = [[_cell(value) for value in row.values()] for row in table.to_pylist()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *rows])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _licences(extras: Iterable[dict[str, Any]]) -> str:
    found = Counter(licence_of(extra) or "unknown" for extra in extras)
    lines = [f"- {' '.join(licence.split())}: {counted(count, 'video')}" for licence, count in sorted(found.items())]
    return "\n".join(
        ["By the column `licence` of the input table; the clips have the licences of their videos.", "", *lines]
    )


def _captions(clips: pa.Table, question: dict[str, Any]) -> Iterable[str]:
    """By which model, what it took, and what it was asked."""
    yield _markdown(caption.facts(clips))
    yield "\n".join(f"- `{name}`: {text}" for name, text in caption.prompts(question).items())


def _dedup_facts(stats: pa.Table) -> pa.Table:
    """What was measured, without the histogram."""
    return stats.filter(pc.not_equal(stats["statistic"], "histogram"))


def _without_folders(value: Any) -> Any:
    """Settings may name files of one machine, such as weights: their names say enough."""
    if isinstance(value, dict):
        return {key: _without_folders(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(part) for part in value]
    return PurePath(value).name if isinstance(value, str) and value.startswith("/") else value
