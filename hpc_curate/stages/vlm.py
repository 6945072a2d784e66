"""A vision-language model goes through a checklist of what makes a clip useless; `select` draws the conclusions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from hpc_curate.chat.asker import Asker, preface
from hpc_curate.chat.questions import Answer, Question
from hpc_curate.errors import BadInput
from hpc_curate.stage import Clip

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_FENCED = re.compile(r"```(?:json)?\s*(\{.*\})\s*```\Z", re.DOTALL)
_CONTENT_TYPE = "content_type"


@dataclass(frozen=True)
class Vlm(Asker):
    """Yes or no to each question of a checklist, as one JSON object, read strictly.

    Columns: `vlm_<criterion>`, true where the model says yes; `vlm_flags`, how many; `vlm_content_type`, one of
    `content_types`; `vlm_model`, `vlm_input_tokens`, `vlm_output_tokens`. An answer that is not exactly what was asked
    for is asked for again, and then the clip has failed: no value is made up.
    """

    name: ClassVar[str] = "vlm"

    criteria: dict[str, str] = field(default_factory=dict)  # from the group `checklist`: a question each, yes is bad
    content_types: dict[str, str] = field(default_factory=dict)  # what each name means; empty: not asked
    structured: bool = True  # the server is told to admit nothing but such JSON (vLLM, SGLang and OpenAI can)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.criteria:
            raise ValueError("it needs a checklist: checklist=artifacts")
        reserved = {"flags", "model", "input_tokens", "output_tokens", _CONTENT_TYPE}
        for name in (*self.criteria, *self.content_types):
            if not _NAME.match(str(name)) or name in reserved:
                raise ValueError(f"'{name}' is no name for a criterion or content type: a-z, 0-9 and _")

    def writes(self) -> dict[str, pa.Schema]:
        own = [*((f"vlm_{name}", pa.bool_()) for name in self.criteria), ("vlm_flags", pa.int32())]
        own += [(f"vlm_{_CONTENT_TYPE}", pa.string())] if self.content_types else []
        return {"rows": pa.schema([("clip_id", pa.string()), *own, *self.told(), ("error", pa.string())])}

    def questions(self, clip: Clip) -> Iterator[Question]:
        text = f"{preface(len(clip.frames), clip.columns['duration_s'])}\n\n{self._text()}"
        question = self._question(clip, "checklist", text, clip.frames)
        yield question.answered_by(self._schema()) if self.structured else question

    def _text(self) -> str:
        """The checklist in words."""
        lines = [
            "Go through this checklist for the clip. Say true only where you see it in the pictures, else false.",
            *(f"- {name}: {' '.join(question.split())}" for name, question in self.criteria.items()),
        ]
        keys = list(self.criteria)
        if self.content_types:
            meanings = [f"  - {name}: {' '.join(text.split())}" for name, text in self.content_types.items()]
            lines += [f"- {_CONTENT_TYPE}: the one of these names that fits best", *meanings]
            keys.append(_CONTENT_TYPE)
        return "\n".join([*lines, f"Answer with one JSON object with exactly these keys: {', '.join(keys)}. No prose."])

    def _schema(self) -> dict[str, Any]:
        properties: dict[str, Any] = {name: {"type": "boolean"} for name in self.criteria}
        if self.content_types:
            properties[_CONTENT_TYPE] = {"type": "string", "enum": list(self.content_types)}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def read(self, question: Question, answer: Answer) -> dict[str, Any]:
        answer.refuse_cut_off("answer", question)
        text = (answer.text or "").strip()
        fenced = _FENCED.match(text)
        try:
            told = json.loads(fenced[1] if fenced else text, object_pairs_hook=_without_repeats)
        except ValueError as error:
            raise BadInput(f"the answer is no JSON ({str(error)[:80]})") from error
        wanted = {*self.criteria, *([_CONTENT_TYPE] if self.content_types else [])}
        if not isinstance(told, dict) or set(told) != wanted:
            raise BadInput("the answer does not have exactly the keys that were asked for")
        if not all(type(told[name]) is bool for name in self.criteria):
            raise BadInput("the answer has values that are neither true nor false")
        if self.content_types and told[_CONTENT_TYPE] not in self.content_types:
            raise BadInput("the answer has a content type that was not offered")
        return told

    def row(self, values: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        [told] = values.values()
        columns = {f"vlm_{name}": value for name, value in told.items()}
        return {**columns, "vlm_flags": sum(told[name] for name in self.criteria)}


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found
