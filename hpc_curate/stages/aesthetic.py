"""How pleasing a clip looks, or a proxy for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.clips.batches import per_clip
from hpc_curate.clips.embeddings import refuse_other, vectors
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.stage import Clip, Item, Resources, Scorer
from hpc_curate.stages.embed import Embed

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

_REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "min": np.min}
# Where each term of the proxy is at half of its range. Ours: nobody has fitted them to anything.
_HALF_COLOURFULNESS = 33.0  # "moderately colourful" in the scale of its authors
_HALF_CONTRAST = 0.2
_HALF_SHARPNESS = 200.0


@dataclass(frozen=True)
class Aesthetic(Scorer):
    """On evenly spread frames of the frame pack, black bars and all; `reduction` over the frames of a clip.

    model=open_clip: CLIP features and a head of LAION, both from local files. Column `aesthetic`, about 1 to 10 (4
    digits). The published heads were trained on architecture ViT-L-14@openai (other linear heads say theirs). Published
    thresholds are from 3.5, on the worst of several frames (Cosmos, reduction=min), to 5.3: choose on your own footage.

    With from_embed=true the network is not run again: what is scored are the vectors (float16, which moves scores by
    about 0.001) that stage embed keeps of its frames with per_frame=true; its model must be the same.

    model=proxy needs no weights, and is no aesthetic score: nobody's taste was asked, and nothing was calibrated.
    Columns: `aesthetic_proxy` (0 to 1, 4 digits), the geometric mean of how colourful, contrasty and sharp frames are,
    each as x / (x + half); `colourfulness` (Hasler and Süsstrunk, Measuring Colorfulness in Natural Images, 2003: 0
    none, 33 moderate, 59 quite, 109 extreme) and `contrast` (root mean square, Peli 1990: deviation of luma, of 0 to
    1), 4 digits. Use percentiles, within one kind of footage, or not at all.
    """

    name: ClassVar[str] = "aesthetic"

    frames_per_clip: int = 4
    model: Literal["proxy", "open_clip"] = "proxy"
    reduction: Literal["mean", "min"] = "mean"
    architecture: str | None = None  # of open_clip: ViT-L-14@openai for LAION's MLP
    weights_path: str | None = None  # of open_clip: a local file
    head_weights_path: str | None = None  # of open_clip: a local file, .pth or .safetensors
    from_embed: bool = False  # of open_clip: score the vectors of stage.embed.per_frame=true

    def __post_init__(self) -> None:
        given = (self.architecture, self.weights_path, self.head_weights_path)
        if self.model == "open_clip" and None in given:
            raise ValueError("model=open_clip needs architecture, weights_path and head_weights_path")
        if self.model == "proxy" and (any(given) or self.from_embed):
            raise ValueError("model=proxy takes no weights and no vectors; say model=open_clip")

    def reads(self) -> tuple[str, ...]:
        return ("frame_embeddings", "embedding_model") if self.from_embed else ("frames",)

    def writes(self) -> dict[str, pa.Schema]:
        columns = [(name, pa.float64()) for name in self._columns()]
        return {"rows": pa.schema([("clip_id", pa.string()), *columns, ("error", pa.string())])}

    def _columns(self) -> tuple[str, ...]:
        return ("aesthetic",) if self.model == "open_clip" else ("aesthetic_proxy", "colourfulness", "contrast")

    def settings(self) -> dict[str, Any]:
        # Checksums of the weights count, and not where they lie.
        return {key: value for key, value in super().settings().items() if not key.endswith("weights_path")}

    def weights(self) -> Sequence[Path]:
        if self.model == "proxy":
            return []
        files = [("weights_path", self.weights_path), ("head_weights_path", self.head_weights_path)]
        for setting, given in files:
            if not Path(str(given)).is_file():
                raise ConfigError(f"stage.aesthetic.{setting}={given}: no such file; models are read from local files")
        return [Path(str(given)) for _, given in files]

    def load(self, resources: Resources) -> Callable[[np.ndarray], np.ndarray]:
        if self.model == "proxy":
            return appearance
        from hpc_curate.models import laion_aesthetic, open_clip_image

        weights, head_weights = self.weights()
        head = laion_aesthetic.load(head_weights)
        if self.from_embed:
            return lambda features: head(features)[:, None]
        features = open_clip_image.load(str(self.architecture), weights, resources)
        return lambda frames: head(features(frames))[:, None]

    def score(
        self, model: Callable[[np.ndarray], np.ndarray], clips: Sequence[Clip]
    ) -> list[dict[str, Any] | BadInput]:
        """`model` gives a row of the columns for each frame: float32 [N, columns]."""
        return [self._reduced(values) for values in per_clip(model, clips)]

    def scores(self, model: Callable[[np.ndarray], np.ndarray], inputs: Inputs, item: Item) -> list[dict[str, Any]]:
        if not self.from_embed:
            return super().scores(model, inputs, item)
        refuse_other("stage.aesthetic", self._embedding_model(), inputs.clips(["embedding_model"], item.ids)[1])
        kept = inputs.table("frame_embeddings", ["clip_id", "frame_embedding"])
        kept = kept.filter(pc.is_in(kept["clip_id"], pa.array(item.ids, pa.string())))
        names = np.array(kept["clip_id"].to_pylist())
        values = model(vectors(kept["frame_embedding"])[1].astype(np.float32))
        return [{"clip_id": clip_id, **self._of_vectors(values[names == clip_id])} for clip_id in item.ids]

    def _embedding_model(self) -> str:
        """What stands beside vectors of the model whose features the head takes."""
        same = Embed(model="open_clip", architecture=self.architecture, weights_path=self.weights_path, dimensions=1)
        return str(same.about()["embedding_model"])

    def _of_vectors(self, values: np.ndarray) -> dict[str, Any]:
        found = self._reduced(values) if len(values) else BadInput("stage embed kept no vectors of its frames")
        return {"error": str(found)} if isinstance(found, BadInput) else found

    def _reduced(self, values: np.ndarray) -> dict[str, Any] | BadInput:
        if not np.isfinite(values).all():
            return BadInput("the score of a frame is not finite")
        reduced = _REDUCTIONS[self.reduction](values.astype(np.float64), axis=0)
        return dict(zip(self._columns(), np.round(reduced, 4).tolist(), strict=True))


def appearance(frames: np.ndarray) -> np.ndarray:
    """The proxy of each frame, and its colourfulness and contrast: float64 [N, 3] from uint8 [N, H, W, 3]."""
    return np.array([_appearance(frame) for frame in frames])


def _appearance(frame: np.ndarray) -> tuple[float, float, float]:
    import cv2

    luma = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    colour, contrast = colourfulness(frame), float(luma.std()) / 255
    sharpness = float(cv2.Laplacian(luma, cv2.CV_16S).var())
    terms = [(colour, _HALF_COLOURFULNESS), (contrast, _HALF_CONTRAST), (sharpness, _HALF_SHARPNESS)]
    return float(np.prod([value / (value + half) for value, half in terms])) ** (1 / len(terms)), colour, contrast


def colourfulness(frame: np.ndarray) -> float:
    """M3 of Hasler and Süsstrunk: spread and mean of the opponent colours of a frame, uint8 [H, W, 3], RGB."""
    red, green, blue = frame.astype(np.float32).transpose(2, 0, 1)
    opponents = (red - green, (red + green) / 2 - blue)
    spread = math.hypot(*(float(colour.std()) for colour in opponents))
    centre = math.hypot(*(float(colour.mean()) for colour in opponents))
    return spread + 0.3 * centre
