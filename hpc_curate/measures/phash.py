"""Perceptual hash over time: near-copies of a clip have hashes with a small Hamming distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from hpc_curate.measures import Collector, Facts, Feeder, Frames, Measure, Series
from hpc_curate.records import Span

_SIDE = 8  # 8 x 8 frequencies: 64 bits
_SCALE = 1024  # of the integer cosine table
_WORDS = 4  # a float32 holds a 16-bit integer exactly, so a hash is stored as four of them


@dataclass(frozen=True)
class PerceptualHash(Measure):
    """64 bits of DCT signs per position (pHash: Zauner 2010), at evenly spread positions of the clip.

    The lowest 8 x 8 frequencies of the small luma frame, without the mean; a bit says whether a coefficient is above
    their median. The cosine table is made of integers, so that every machine computes the same bits. Hashes are stored
    for every frame, so that the positions may change without a decode. A flat frame has the hash 0.

    Column: `phash`, list of `positions` uint64, in order of time: the frames nearest to (i + 1/2) / positions of the
    clip. Two clips are compared position by position; the distance is the mean Hamming distance, 0 to 64.
    """

    name: ClassVar[str] = "phash"
    columns: ClassVar[pa.Schema] = pa.schema([("phash", pa.list_(pa.uint64()))])
    positions: int = 5

    def start(self, facts: Facts) -> Feeder:
        return Collector("phash", hash_words)

    def aggregate(self, series: Series, span: Span, facts: Facts) -> dict[str, Any]:
        part = series.within(span)
        if not len(part.pts):
            return {"phash": None}
        wanted = span.start_pts + (span.end_pts - span.start_pts) * (np.arange(self.positions) + 0.5) / self.positions
        nearest = np.abs(part.pts[None, :] - wanted[:, None]).argmin(axis=1)
        return {"phash": join_words(part.values["phash"][nearest]).tolist()}


def hash_words(frames: Frames) -> np.ndarray:
    """The hashes of frames as 16-bit words, most significant first: float32 [N, 4]."""
    luma = frames.luma()
    rows, columns = cosines(luma.shape[1]), cosines(luma.shape[2])
    # Integers below 2**53 in float64: exact whatever the order of the sums. The first row and column hold the mean.
    frequencies = (rows @ luma.astype(np.float64) @ columns.T).reshape(len(luma), -1)
    frequencies[:, 0] = 0
    bits = frequencies > np.median(frequencies[:, 1:], axis=1, keepdims=True)
    bits[:, 0] = False
    return np.packbits(bits, axis=1).view(">u2").astype(np.float32)


def join_words(words: np.ndarray) -> np.ndarray:
    """float32 [N, 4] to uint64 [N]."""
    return np.ascontiguousarray(words.astype(">u2")).view(">u8")[:, 0].astype(np.uint64)


def cosines(size: int) -> np.ndarray:
    """The lowest rows of a DCT-II table as whole numbers: float64 [8, size]."""
    angles = np.outer(np.arange(_SIDE), np.arange(size) + 0.5) * np.pi / size
    return np.round(np.cos(angles) * _SCALE)
