#!/usr/bin/env python3
"""What a frame pack costs and what can still be read in it, by its long side: for choosing `pack_long_side_px`.

    pip install rapidocr && tools/bench_pack.py VIDEO [--sizes 336 640 960] [--per-s 0.2]

Makes the pack of a video with text at each size, and at its own, and reads all of them with PP-OCR (RapidOCR ships its
weights). Last line: the share of the words read at full size that is still read at each size.
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hpc_curate.io import child, video


def pack(path: Path, facts: video.VideoFacts, long_side_px: int, per_s: float) -> list[bytes]:
    limits = child.Limits(memory_gb=4, cpu_s=3600, wall_s=3600, file_gb=1)
    grid = video.pack_grid(facts, per_s, long_side_px)
    with video.Decoding(path, facts, [grid], video.Policy(limits)) as decoding:
        return [picture.jpeg for _, run in decoding for picture in run]  # type: ignore[union-attr]


def words(ocr: Any, jpeg: bytes) -> set[str]:
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))[:, :, ::-1]
    found = ocr(np.ascontiguousarray(pixels))
    return set(re.findall(r"\w{3,}", " ".join(found.txts or ()).lower()))


def main() -> None:
    from rapidocr import RapidOCR

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[336, 640, 960])
    parser.add_argument("--per-s", type=float, default=0.2)
    given = parser.parse_args()
    ocr: Any = RapidOCR(params={"Global.log_level": "error"})
    facts = video.probe(given.video)
    own = max(facts.width, facts.height)
    read: dict[int, list[set[str]]] = {}
    for size in [*given.sizes, own]:
        jpegs = pack(given.video, facts, size, given.per_s)
        read[size] = [words(ocr, jpeg) for jpeg in jpegs]
        print(f"{size:5} px: {len(jpegs)} JPEGs of {np.mean([len(jpeg) for jpeg in jpegs]) / 1e3:.1f} kB")
    all_words = sum(len(found) for found in read[own])
    shares = {size: sum(len(a & b) for a, b in zip(read[size], read[own], strict=True)) for size in given.sizes}
    print(f"{all_words} words at {own} px; " + ", ".join(f"{n / all_words:.2f} at {s} px" for s, n in shares.items()))


if __name__ == "__main__":
    main()
