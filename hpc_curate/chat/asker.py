"""The kind of stage whose columns are answers of a vision-language model about frames of a clip."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from hpc_curate.chat.asking import Asking, Result
from hpc_curate.chat.http_channel import Http
from hpc_curate.chat.local_channel import Local
from hpc_curate.chat.questions import Answer, Channel, Question, Sampling
from hpc_curate.chat.server import Server
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.models import folders
from hpc_curate.stage import Clip, Item, PerClip, Resources, Tables

if TYPE_CHECKING:
    from hpc_curate.inputs import Inputs

_JPEG_QUALITY = 90
_CROP = ("crop_x", "crop_y", "crop_w", "crop_h")


@dataclass(frozen=True)
class Asker(PerClip):
    """Write `questions`, `read` and `row`, nothing else.

    The model's name, revision and sampling are settings; where it is reached is not (`resources.<stage>.endpoint`).
    Answers of such models are not the same from run to run, even at temperature 0, so neither are these columns.
    """

    # Every answer is kept as it comes, so a kill costs those on their way, however large the item. Between two items
    # the model waits for the slowest answer.
    items_of: ClassVar[int] = 512

    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"  # as the server names it; the model of Cosmos-Predict2.5, Apache-2.0
    revision: str | None = None  # of the model, for the record and for a server of our own
    # endpoint: any server that speaks the OpenAI protocol. transformers: a model in this process, from weights_path.
    backend: Literal["endpoint", "transformers"] = "endpoint"
    weights_path: str | None = None  # of transformers: a local folder
    frames_per_clip: int = 8  # as Cosmos 1.0 (arXiv 2501.03575)
    picture_px: int = 640  # long side at most
    crop: bool = True  # away what the measure `borders` found, as in the mp4
    temperature: float = 0.1
    seed: int = 0
    max_tokens: int = 512  # of an answer
    options: dict[str, Any] = field(default_factory=dict)  # more of the request's body, such as {top_p: 0.9}
    tries: int = 3  # for an answer that can be read

    def __post_init__(self) -> None:
        if self.backend == "transformers" and self.weights_path is None:
            raise ValueError("backend=transformers needs weights_path, a local folder")
        if self.frames_per_clip < 1 or self.tries < 1:
            raise ValueError("frames_per_clip and tries must be at least 1")

    def questions(self, clip: Clip) -> Iterator[Question]:
        """What is asked about a clip.

        Raises:
            BadInput: nothing can be.
        """
        raise NotImplementedError

    def read(self, question: Question, answer: Answer) -> Any:
        """What the answer says.

        Raises:
            BadInput: it says nothing of the kind that was asked for.
        """
        raise NotImplementedError

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The columns of a clip from what was read, by the part of the question."""
        raise NotImplementedError

    def reads(self) -> tuple[str, ...]:
        return ("frames", "duration_s", *(("width", *(f"{name}?" for name in _CROP)) if self.crop else ()))

    def settings(self) -> dict[str, Any]:
        # The path of the weights is nobody's business but this machine's: their checksum counts.
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del own["weights_path"]
        return own

    def weights(self) -> Sequence[Path]:
        if self.weights_path is None:
            return []
        return folders.files(self.weights_path, f"stage.{self.name}.weights_path")

    def check(self, resources: Resources) -> None:
        end = resources.endpoint
        if self.backend == "endpoint" and (end is None or (end.url is None and end.serve is None)):
            place = f"resources.{self.name}.endpoint"
            raise ConfigError(
                f"stage {self.name} asks a model: say where it is, {place}.url=http://host:8000/v1, or how to start "
                f'it, \'{place}.serve=[vllm,serve,"{{model}}",--port,"{{port}}"]\''
            )

    def load(self, resources: Resources) -> Channel:
        if self.backend == "transformers":
            from hpc_curate.models import transformers_vlm

            return Local(transformers_vlm.load(Path(str(self.weights_path)), resources))
        end = resources.endpoint
        assert end is not None
        return Http(end, Server(end, self.model, self.revision) if end.serve else None)

    def unload(self, model: Channel) -> None:
        model.close()

    def process(self, model: Channel, inputs: Inputs, item: Item) -> Tables:
        asked: dict[str, list[str]] = {}
        bad: dict[str, str] = {}
        found: dict[str, dict[str, Result]] = {clip_id: {} for clip_id in item.ids}
        asking = Asking(model, inputs.answers(), self.read, self.tries)
        for result in asking.ask(self._asked(inputs, item, asked, bad)):
            # To the clip that the question was about, whoever was asked before or after it.
            found[result.question.clip_id][result.question.part] = result
        rows = [self._row(clip_id, asked.get(clip_id, []), found[clip_id], bad.get(clip_id)) for clip_id in item.ids]
        return {"rows": pa.Table.from_pylist(rows, schema=self.writes()["rows"])}

    def _asked(
        self, inputs: Inputs, item: Item, asked: dict[str, list[str]], bad: dict[str, str]
    ) -> Iterator[Question]:
        """The questions about all clips, made as there is room for them: pictures are large."""
        columns = [name.removesuffix("?") for name in self.reads() if name != "frames"]
        columns = [name for name in columns if inputs.has(name)]
        for clip_id, clip in inputs.frames(item.ids, self._frames(), columns):
            try:
                if isinstance(clip, BadInput):
                    raise clip
                mine = list(self.questions(clip))
            except BadInput as error:
                bad[clip_id] = str(error)
                continue
            asked[clip_id] = [question.part for question in mine]
            yield from mine

    def _frames(self) -> int:
        return self.frames_per_clip

    def _row(self, clip_id: str, asked: Sequence[str], found: Mapping[str, Result], bad: str | None) -> dict[str, Any]:
        tokens = {
            f"{self.name}_{kind}": sum(getattr(result, kind) for result in found.values())
            for kind in ("input_tokens", "output_tokens")
        }
        errors = [bad] if bad else [f"{part}: {found[part].error}" for part in asked if found[part].error]
        if errors:
            return {"clip_id": clip_id, **tokens, "error": errors[0]}
        # A model may be named by a path of one machine, which says nothing to others.
        name = Path(self.model).name if self.model.startswith("/") else self.model
        named = f"{name}@{self.revision}" if self.revision else name
        columns = self.row({part: found[part].value for part in asked})
        return {"clip_id": clip_id, f"{self.name}_model": named, **columns, **tokens}

    def told(self) -> list[pa.Field]:
        """The columns that every stage of this kind has."""
        tokens = [pa.field(f"{self.name}_{kind}_tokens", pa.int32()) for kind in ("input", "output")]
        return [pa.field(f"{self.name}_model", pa.string()), *tokens]

    def _question(self, clip: Clip, part: str, text: str, frames: np.ndarray) -> Question:
        """A question about some frames of a clip, uint8 [N, H, W, 3]."""
        jpegs = tuple(self._jpeg(frame, clip.columns) for frame in frames)
        sampling = Sampling(self.temperature, self.seed, self.max_tokens, self.options)
        return Question(clip.clip_id, part, self.model, text, jpegs, sampling)

    def _jpeg(self, frame: np.ndarray, columns: Mapping[str, Any]) -> bytes:
        """A frame, uint8 [H, W, 3], as the model sees it."""
        from PIL import Image

        picture, file = Image.fromarray(frame), io.BytesIO()
        if columns.get("crop_w") is not None:
            scale = picture.width / columns["width"]
            x, y, width, height = (columns[name] * scale for name in _CROP)
            picture = picture.crop((round(x), round(y), max(round(x + width), 1), max(round(y + height), 1)))
        picture.thumbnail((self.picture_px, self.picture_px))
        picture.save(file, "JPEG", quality=_JPEG_QUALITY)
        return file.getvalue()


def preface(frames: int, seconds: float) -> str:
    """What a model must know of the pictures before it is asked about them."""
    if frames == 1:
        return f"The picture is a frame of a video clip of {seconds:.1f} seconds."
    return (
        f"The {frames} pictures are frames of one video clip of {seconds:.1f} seconds, evenly spread, in their order."
    )
