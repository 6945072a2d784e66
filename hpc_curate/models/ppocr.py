"""PP-OCRv6, which finds and reads text in pictures, by the pipeline of the package rapidocr and the weights it ships.

Model: PP-OCRv6 small, detection (DBNet) and recognition (arXiv 2507.05595 is its report of PP-OCRv5), Apache-2.0.
Revision: the checksums of the files. Normalisation: rapidocr's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpc_curate.models.packaged import shipped
from hpc_curate.models.sessions import has_cuda
from hpc_curate.stage import Resources


@dataclass(frozen=True)
class Line:
    """A line of text in a picture."""

    corners: np.ndarray  # float64 [4, 2], pixels right and down, clockwise from the upper left
    text: str
    score: float  # of the reading, 0 to 1


def weights() -> Sequence[Path]:
    """Detection and recognition.

    Raises:
        ConfigError: rapidocr is not installed.
    """
    names = ("PP-OCRv6_det_small.onnx", "PP-OCRv6_rec_small.onnx")
    return [shipped("rapidocr", f"models/{name}", "rapidocr") for name in names]


def load(long_side_px: int, resources: Resources) -> Callable[[np.ndarray], list[Line]]:
    """A function from one picture, uint8 [H, W, 3] RGB, to its lines of text, read from top to bottom.

    Args:
        long_side_px: larger pictures are made smaller before text is looked for; it is read at full size.
    """
    detection, recognition = weights()
    from rapidocr import RapidOCR

    engine: Any = RapidOCR(params=_settings(detection, recognition, long_side_px, resources))
    # It loads a network when it is first asked, and what cannot be loaded shall be known now.
    blank = np.zeros((64, 64, 3), np.uint8)
    engine(blank, use_det=True, use_rec=False)
    engine(blank, use_det=False, use_rec=True)

    def read(picture: np.ndarray) -> list[Line]:
        # It wants BGR, and remembers what it was asked for last.
        found = engine(np.ascontiguousarray(picture[..., ::-1]), use_det=True, use_rec=True)
        if found.boxes is None:
            return []
        return [
            Line(corners.astype(np.float64), text, float(score))
            for corners, text, score in zip(found.boxes, found.txts, found.scores, strict=True)
        ]

    return read


def _settings(detection: Path, recognition: Path, long_side_px: int, resources: Resources) -> dict[str, Any]:
    runtime = "EngineConfig.onnxruntime"
    return {
        "Global.log_level": "error",
        "Global.use_cls": False,  # whether lines stand upside down: hardly any do, and each costs a network more
        "Det.model_path": str(detection),
        "Rec.model_path": str(recognition),
        "Det.limit_type": "max",
        "Det.limit_side_len": long_side_px,
        f"{runtime}.intra_op_num_threads": resources.cpus,
        f"{runtime}.inter_op_num_threads": 1,
        f"{runtime}.use_cuda": has_cuda(resources, "PP-OCRv6"),
        # Lines have many widths, and an exhaustive search would begin anew for each.
        f"{runtime}.cuda_ep_cfg.cudnn_conv_algo_search": "HEURISTIC",
    }
