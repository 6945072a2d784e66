"""What is asked, what comes back, and the id that ties the two together."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from hpc_curate.errors import BadInput

# An answer that could not be read is asked for again with at least so much chance, or it would come again.
_TEMPERATURE_AGAIN = 0.5

ID_PREFIX = "hpcq-"  # by which an id of ours is found in whatever a server repeats


@dataclass(frozen=True)
class Sampling:
    """How the model is asked to choose its words."""

    temperature: float = 0.1
    seed: int = 0
    max_tokens: int = 512
    options: Mapping[str, Any] = field(default_factory=dict)  # more of the request's body; null takes a key out


@dataclass(frozen=True)
class Question:
    """One question about one clip."""

    clip_id: str
    part: str  # which of the questions about the clip, such as `short` or `short 5.0`
    model: str
    text: str
    jpegs: tuple[bytes, ...]
    sampling: Sampling = Sampling()
    schema: Mapping[str, Any] | None = None  # the JSON schema that the answer must meet; None: words
    attempt: int = 0  # how many answers could not be read

    @cached_property
    def id(self) -> str:
        """32 hex digits over all that the answer depends on, and the clip."""
        told = {**self._settings, "text": self.text, "clip": self.clip_id, "part": self.part, "attempt": self.attempt}
        told["jpegs"] = [hashlib.sha256(jpeg).hexdigest() for jpeg in self.jpegs]
        canonical = json.dumps(told, sort_keys=True, separators=(",", ":"))
        return ID_PREFIX + hashlib.sha256(canonical.encode()).hexdigest()[:32]

    @property
    def temperature(self) -> float:
        chosen = self.sampling.temperature
        return max(chosen, _TEMPERATURE_AGAIN) if self.attempt else chosen

    @property
    def seed(self) -> int:
        return self.sampling.seed + self.attempt

    @property
    def _settings(self) -> dict[str, Any]:
        """The body of the request without what is said."""
        chosen = {"temperature": self.temperature, "seed": self.seed, "max_tokens": self.sampling.max_tokens}
        body = {"model": self.model, **chosen}
        if self.schema is not None:
            named = {"name": "answer", "strict": True, "schema": self.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        body |= self.sampling.options
        return {key: value for key, value in body.items() if value is not None}

    def body(self) -> dict[str, Any]:
        """The request of the OpenAI chat protocol, the pictures in their order as data URLs before the words."""
        urls = (f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" for jpeg in self.jpegs)
        content: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        content.append({"type": "text", "text": self.text})
        return {**self._settings, "messages": [{"role": "user", "content": content}]}

    def limited(self, max_tokens: int | None) -> Question:
        """The same with a limit of its own; None: with the one that it has."""
        return replace(self, sampling=replace(self.sampling, max_tokens=max_tokens)) if max_tokens else self

    def answered_by(self, schema: Mapping[str, Any]) -> Question:
        """The same, to be answered by JSON of a schema."""
        return replace(self, schema=schema)

    def again(self) -> Question:
        """The same after an answer that could not be read."""
        return replace(self, attempt=self.attempt + 1)


@dataclass(frozen=True)
class Answer:
    """What came back to the question of that id."""

    id: str
    text: str | None = None
    finish: str | None = None  # stop; length: cut off; content_filter ...
    refused: str | None = None  # why the other side will not answer this question, whoever asks
    input_tokens: int = 0
    output_tokens: int = 0

    def refuse_cut_off(self, what: str, question: Question) -> None:
        """Raises:
        BadInput: the model did not come to its own end.
        """
        if self.finish not in ("stop", None):
            hint = f" at max_tokens={question.sampling.max_tokens}" if self.finish == "length" else ""
            raise BadInput(f"the {what} was ended by '{self.finish}'{hint}")


class Channel(Protocol):
    """The way to a model and back. Answers come in any order, some twice, some never: `asking` sorts that out."""

    at_once: int  # questions that may be on their way together
    patience_s: float  # a question that was not heard of for so long is lost

    def send(self, question: Question) -> None: ...

    def receive(self, wait_s: float) -> Answer | None:
        """The next answer, of any question; None if none came.

        Raises:
            EnvironmentFault: there is nobody at the other end, and waiting does not help.
        """
        ...

    def close(self) -> None: ...
