"""Which sample goes into which tar: buckets, the split, the order and the sizes. Nothing is copied here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.io.tars import padded
from hpc_curate.stage import Merge, Tables

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

SAMPLES = pa.schema(
    [
        ("clip_id", pa.string()),
        ("tar", pa.string()),  # file name; where the layout has no tars, the mp4
        ("key", pa.string()),  # of the sample in the tar
        ("position", pa.int32()),  # of the sample in the tar
        ("split", pa.string()),  # train or val
        ("bucket", pa.string()),
        ("group", pa.int32()),  # the element of pack that writes the tar
    ]
)

# webdataset: tars. cosmos_predict: <split>/videos/<clip>.mp4 and <split>/metas/<clip>.txt.
Layout = Literal["webdataset", "cosmos_predict"]

_SPLITS = ("train", "val")
_HASHED = 1 << 16  # texts that are Python's at a time
_RESERVE_BYTES = 8192  # set aside in a tar for the json, the embedding and the caption of a sample


@dataclass(frozen=True)
class Shard(Merge):
    """Deals the encoded clips to tars. A clip that cut could not encode, or caption not caption, is in none.

    Tars hold one split and one bucket each. Whether a video is for training or validation follows from its id and the
    seed alone, so it stays on its side when more videos come, unless a duplicate joins two sides.
    """

    name: ClassVar[str] = "shard"

    max_tar_mb: float = 500.0  # of 10^6 bytes; a clip larger than that has a tar of its own
    max_samples: int = 10_000
    # Lower ends of all buckets but the first; an empty list makes no buckets of that kind. The bounds are those that
    # cosmos-curate uses.
    aspect_edges: tuple[float, ...] = (0.65, 0.88, 1.16, 1.55)  # width / height
    aspect_names: tuple[str, ...] = ("9x16", "3x4", "1x1", "4x3", "16x9")
    resolution_edges_px: tuple[int, ...] = (720, 1080)  # short side
    duration_edges_s: tuple[float, ...] = (5.0, 10.0, 30.0)
    val_share: float = 0.01  # of videos
    keep_together: tuple[str, ...] = (
        "video_id",
        "duplicate_group",
    )  # clips alike in one of these are on one side of the split
    seed: int = 0
    groups: int = 8  # elements that pack is spread over
    layout: Layout = "webdataset"  # by the group `pack`

    def __post_init__(self) -> None:
        if self.aspect_edges and len(self.aspect_names) != len(self.aspect_edges) + 1:
            raise ValueError(f"aspect_names needs {len(self.aspect_edges) + 1} names, one more than aspect_edges")
        if any(list(edges) != sorted(edges) for edges in self._edges()):
            raise ValueError("edges must ascend")
        if self.groups < 1 or self.max_samples < 1 or not 0 <= self.val_share <= 1:
            raise ValueError("groups and max_samples must be at least 1, val_share between 0 and 1")

    def _edges(self) -> tuple[Sequence[float], ...]:
        return self.aspect_edges, self.resolution_edges_px, self.duration_edges_s

    def reads(self) -> tuple[str, ...]:
        return (*self._columns(), "caption?")

    def _columns(self) -> tuple[str, ...]:
        return ("cut_bytes", "cut_width", "cut_height", "cut_duration_s", *self.keep_together)

    def writes(self) -> dict[str, pa.Schema]:
        return {"samples": SAMPLES}

    def run(self, model: None, inputs: Inputs) -> Tables:
        captions = ["caption"] if inputs.has("caption") else []
        return {"samples": self.samples(inputs.clips([*self._columns(), *captions]))}

    def samples(self, clips: pa.Table) -> pa.Table:
        """The tars of clips with the columns of `reads`; the same rows in any order make the same samples."""
        clips = clips.filter(complete(clips))
        ids = clips["clip_id"]
        sides = representatives(clips, self.keep_together).dictionary_encode()
        chance = hashes(sides.dictionary, f"split {self.seed}")
        train = chance[sides.indices.to_numpy()] >= self.val_share * 2.0**64
        buckets, names = self._buckets(clips)
        # One number per split and bucket, then the shuffled order inside it.
        kinds = train * len(names) + buckets
        order = np.lexsort([hashes(ids, f"order {self.seed}"), kinds])
        if self.layout != "webdataset":
            return self._folders(clips["clip_id"].take(pa.array(order)), train[order], buckets[order], names)
        sizes = padded(clips["cut_bytes"].to_numpy()[order]) + _RESERVE_BYTES

        starts, tars, totals = [], [], []
        for kind, start, end in _runs(kinds[order]):
            split, bucket = _SPLITS[1 - kind // len(names)], names[kind % len(names)]
            for number, (first, last) in enumerate(self._cut_up(sizes, start, end)):
                starts.append(first)
                tars.append((f"{split}-{bucket}-{number:06d}.tar", split, bucket))
                totals.append(int(sizes[first:last].sum()))
        groups = self._deal(totals)

        lengths = np.diff([*starts, len(ids)]).astype(np.int64)
        of = np.repeat(np.arange(len(tars)), lengths)  # int64 [N], index of the tar
        tar, split, bucket = (pa.array([row[i] for row in tars], pa.string()).take(pa.array(of)) for i in range(3))
        key = ids.take(pa.array(order))
        position = np.arange(len(ids)) - np.repeat(np.array(starts, np.int64), lengths)
        return pa.table([key, tar, key, position, split, bucket, groups[of]], names=SAMPLES.names).cast(SAMPLES)

    def _folders(self, ids: pa.ChunkedArray, train: np.ndarray, buckets: np.ndarray, names: Sequence[str]) -> pa.Table:
        """Each clip is a file of its own, in the folder of its split."""
        sides = pa.array(np.where(train, *_SPLITS), pa.string())
        path = pc.binary_join_element_wise(sides, "/videos/", pc.binary_join_element_wise(ids, ".mp4", ""), "")
        of = pa.array(names, pa.string()).take(pa.array(buckets))
        groups = np.arange(len(ids)) % self.groups
        columns = [ids, path, ids, np.zeros(len(ids), np.int32), sides, of, groups]
        return pa.table(columns, names=SAMPLES.names).cast(SAMPLES)

    def _buckets(self, clips: pa.Table) -> tuple[np.ndarray, list[str]]:
        """int64 [N], the bucket of each clip, and the names of all buckets."""
        width, height, duration = (
            clips[name].to_numpy().astype(np.float64) for name in ("cut_width", "cut_height", "cut_duration_s")
        )
        aspect, resolution, length = self._edges()
        kinds = [
            (width / height, aspect, self.aspect_names),
            (np.minimum(width, height), resolution, _labels(resolution, "p")),
            (duration, length, _labels(length, "s")),
        ]
        codes, names = np.zeros(clips.num_rows, np.int64), [""]
        for values, edges, labels in kinds:
            if len(edges):
                codes = codes * len(labels) + np.digitize(values, edges)
                names = [f"{name}-{label}" if name else label for name in names for label in labels]
        return codes, names if names != [""] else ["all"]

    def _cut_up(self, sizes: np.ndarray, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Fill one tar after another from `sizes` [N] in bytes, up to the caps; at least one sample each."""
        ends = np.cumsum(sizes[start:end])
        at, used = 0, 0
        while at < len(ends):
            # A whole number as they are: a float among integers would have all of them converted, tar by tar.
            fits = int(np.searchsorted(ends, used + int(self.max_tar_mb * 1e6), side="right"))
            upto = max(at + 1, min(fits, at + self.max_samples))
            yield start + at, start + upto
            at, used = upto, int(ends[upto - 1])

    def _deal(self, totals: Sequence[int]) -> np.ndarray:
        """int32 [tars]: the largest tars go round the groups first, so that none has much more to copy."""
        groups = np.zeros(len(totals), np.int32)
        groups[np.argsort(-np.array(totals, np.int64), kind="stable")] = np.arange(len(totals)) % self.groups
        return groups


def complete(clips: pa.Table) -> pa.ChunkedArray:
    """Which of the kept clips make a sample: those that were encoded, and captioned where the recipe captions."""
    encoded = pc.is_valid(clips["cut_bytes"])
    return pc.and_(encoded, pc.is_valid(clips["caption"])) if "caption" in clips.column_names else encoded


def _labels(edges: Sequence[float], unit: str) -> list[str]:
    """Names of buckets by their lower ends: under5s, 5s, 10s."""
    texts = [f"{edge:g}{unit}".replace(".", "_") for edge in edges]
    return [f"under{texts[0]}", *texts] if texts else []


def _runs(codes: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Code, start and end of each run of equal values."""
    bounds = np.flatnonzero(np.diff(codes, prepend=-1, append=-1)) if len(codes) else np.zeros(0, np.int64)
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield int(codes[start]), start, end


def hashes(texts: pa.Array | pa.ChunkedArray, salt: str) -> np.ndarray:
    """uint64 [N], evenly spread and the same on every machine."""
    found = np.empty(len(texts), "<u8")
    for start in range(0, len(texts), _HASHED):
        block = texts.slice(start, _HASHED).to_pylist()
        digests = [hashlib.blake2b(f"{salt} {text}".encode(), digest_size=8).digest() for text in block]
        found[start : start + len(block)] = np.frombuffer(b"".join(digests), "<u8")
    return found


def representatives(clips: pa.Table, columns: Sequence[str]) -> pa.Array:
    """For each clip one name that it shares with all clips it is linked to.

    Clips are linked that are alike in one of `columns`, and so on along the chain; null is like nothing. The name is
    the smallest value of the first column among them, or the clip_id where there are no columns.
    """
    if not columns:
        return clips["clip_id"].combine_chunks()
    values, first = _codes(clips[columns[0]])
    parents = np.arange(len(values))
    for column in columns[1:]:
        others, codes = _codes(clips[column])
        linked = codes >= 0
        parents = _merged(parents, first[linked], codes[linked], len(others))
    return values.take(pa.array(parents[first])).cast(pa.string())


def _codes(column: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """The sorted distinct values, and the index of each row's value among them (int64 [N]; -1: null)."""
    values = pc.unique(column).drop_null()
    values = values.take(pc.sort_indices(values))
    return values, pc.fill_null(pc.index_in(column, value_set=values), -1).to_numpy().astype(np.int64)


def _merged(parents: np.ndarray, left: np.ndarray, right: np.ndarray, rights: int) -> np.ndarray:
    """Connected components: each of `parents` [M] gets the smallest that it is linked to.

    Args:
        left, right: int64 [N], links between members of `parents` and of `rights` others.

    Minimum labels with pointer jumping, after Shiloach and Vishkin (1982): the rounds grow with the logarithm of the
    longest chain.
    """
    label = np.concatenate([parents, len(parents) + np.arange(rights)])
    ends = np.concatenate([left, len(parents) + right])
    while True:
        before = label.copy()
        low = np.tile(np.minimum(label[left], label[len(parents) + right]), 2)
        np.minimum.at(label, before[ends], low)  # the root hears of it too, and with it all its members
        np.minimum.at(label, ends, low)
        while not np.array_equal(label, label[label]):
            label = label[label]
        if np.array_equal(label, before):
            return label[: len(parents)]
