"""Captions of the kept clips by a vision-language model: several prompts, and windows of time, as wanted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hpc_curate.chat.asker import Asker, preface
from hpc_curate.chat.questions import Answer, Question
from hpc_curate.errors import BadInput
from hpc_curate.stage import Clip

CAPTION = pa.struct(
    [
        ("variant", pa.string()),  # the name of the prompt
        ("start_s", pa.float64()),  # seconds after the start of the clip
        ("end_s", pa.float64()),
        ("text", pa.string()),
    ]
)
_VARIANT = re.compile(r"[a-z0-9_]{1,32}\Z")
_EVERY_FRAME = 4096  # more than a clip has in the frame pack


@dataclass(frozen=True)
class Caption(Asker):
    """One caption per prompt, and per window where `window_s` is given.

    Columns: `caption`, by the first prompt, a line per window: the txt of a sample; `captions`, all of them, in its
    json; `caption_model`; `caption_input_tokens` and `caption_output_tokens`, of all answers, unreadable ones too. A
    clip of which one caption could not be had has failed.
    """

    name: ClassVar[str] = "caption"
    columns: ClassVar[pa.Schema] = pa.schema([("caption", pa.string()), ("captions", pa.list_(CAPTION))])

    # By name, from the group `prompt`: {text: …}, and max_tokens where it differs. The first makes the txt.
    prompts: dict[str, Any] = field(default_factory=dict)
    window_s: float | None = None  # one caption per so many seconds; Cosmos-Predict2.5 takes 5. null: per clip

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prompts:
            raise ValueError("it needs a prompt: prompt=[default], or several")
        for name, prompt in self.prompts.items():
            known = isinstance(prompt, Mapping) and set(prompt) <= {"text", "max_tokens"}
            if not known or not str(prompt.get("text") or "").strip() or not _VARIANT.match(str(name)):
                raise ValueError(
                    f"prompts.{name} must be a name of a-z, 0-9 and _, with text, and max_tokens if wanted"
                )
        if self.window_s is not None and self.window_s <= 0:
            raise ValueError("window_s must be above 0, or null")

    def settings(self) -> dict[str, Any]:
        # A list, because the first prompt is the one that makes the txt.
        return {**super().settings(), "prompts": [[name, prompt] for name, prompt in self.prompts.items()]}

    def writes(self) -> dict[str, pa.Schema]:
        return {"rows": pa.schema([("clip_id", pa.string()), *self.columns, *self.told(), ("error", pa.string())])}

    def _frames(self) -> int:
        return self.frames_per_clip if self.window_s is None else _EVERY_FRAME

    def questions(self, clip: Clip) -> Iterator[Question]:
        for start_s, end_s in windows(clip.columns["duration_s"], self.window_s):
            frames = self._of_window(clip, start_s, end_s)
            intro = preface(len(frames), end_s - start_s)
            for variant, prompt in self.prompts.items():
                text = f"{intro}\n\n{prompt['text'].strip()}"
                question = self._question(clip, f"{variant} {start_s:g} {end_s:g}", text, frames)
                yield question.limited(prompt.get("max_tokens"))

    def _of_window(self, clip: Clip, start_s: float, end_s: float) -> np.ndarray:
        """Frames of the window, uint8 [N, H, W, 3], at most `frames_per_clip`."""
        if self.window_s is None:
            return clip.frames
        inside = np.flatnonzero((clip.times_s >= start_s) & (clip.times_s < end_s))
        if not len(inside):
            raise BadInput(
                f"no frame of the frame pack lies between {start_s:g} and {end_s:g} s; raise stage.scan.pack_per_s"
            )
        count = self.frames_per_clip
        return clip.frames[inside[np.unique(((np.arange(count) + 0.5) * len(inside) / count).astype(int))]]

    def read(self, question: Question, answer: Answer) -> str:
        answer.refuse_cut_off("caption", question)
        text = " ".join((answer.text or "").split())
        if not text:
            raise BadInput("the caption is empty")
        return text

    def row(self, values: Mapping[str, str]) -> dict[str, Any]:
        captions = [_caption(part, text) for part, text in values.items()]
        first = next(iter(self.prompts))
        lines = [caption["text"] for caption in captions if caption["variant"] == first]
        return {"caption": "\n".join(lines), "captions": captions}


def _caption(part: str, text: str) -> dict[str, Any]:
    variant, start_s, end_s = part.split(" ")
    return {"variant": variant, "start_s": float(start_s), "end_s": float(end_s), "text": text}


def windows(duration_s: float, window_s: float | None) -> list[tuple[float, float]]:
    """Start and end of each window; a rest of less than half a window belongs to the last one."""
    if window_s is None:
        return [(0.0, duration_s)]
    count = max(1, int(duration_s / window_s + 0.5))
    starts = [round(window_s * number, 6) for number in range(count)]
    return list(zip(starts, [*starts[1:], duration_s], strict=True))


FACTS = ("caption", "caption_model", "caption_input_tokens", "caption_output_tokens")


def facts(clips: pa.Table) -> pa.Table:
    """For card and report: how many clips each model has captioned, and what it took.

    Args:
        clips: the columns `FACTS` of the kept clips.
    """
    told = clips.append_column("captioned", pc.cast(pc.is_valid(clips["caption"]), pa.int64()))
    sums = [("captioned", "sum"), ("caption_input_tokens", "sum"), ("caption_output_tokens", "sum")]
    by = told.group_by("caption_model", use_threads=False).aggregate(sums).sort_by("caption_model")
    columns = ["caption_model", *(f"{name}_sum" for name, _ in sums)]
    return by.select(columns).rename_columns(["model", "clips", "input tokens", "output tokens"])


def prompts(question: Mapping[str, Any]) -> dict[str, str]:
    """What the model was asked, each on one line, by its name; `question` is that of the run."""
    asked = question["stage"].get("caption", {}).get("prompts", {})
    return {name: " ".join(prompt["text"].split()) for name, prompt in asked.items()}
