"""The channel to a model in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from hpc_curate.chat.questions import Answer, Question


class Local:
    """One question after another; the model works while the answer is waited for."""

    at_once = 1
    patience_s = float("inf")

    def __init__(self, model: Callable[[Question], Answer]) -> None:
        self._model = model
        self._asked: deque[Question] = deque()

    def send(self, question: Question) -> None:
        self._asked.append(question)

    def receive(self, wait_s: float) -> Answer | None:
        return self._model(self._asked.popleft()) if self._asked else None

    def close(self) -> None:
        self._asked.clear()
