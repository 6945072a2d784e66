"""Answers on disk before anybody uses them: a task that is started again finds what it has paid for.

One append-only file per unit. Answers that were given under another signature of the stage, or to another plan, count
too: their ids say all that they depend on.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from hpc_curate.chat.questions import Answer, Question
from hpc_curate.element.faults import environment_faults
from hpc_curate.io import tables

log = logging.getLogger(__name__)

_SYNC_S = 1.0  # what a node takes with it when it dies; a process takes nothing


class Answers:
    """What is known of a unit.

    Args:
        mine: the file that this attempt writes; nobody else does.
        before: those of earlier attempts at the same unit, which end up in `mine`.
        others: of the same unit under other signatures; they are only read.
    """

    def __init__(self, mine: Path, before: Iterable[Path] = (), others: Iterable[Path] = ()) -> None:
        self._mine, self._before = mine, tuple(before)
        self._own = dict(_lines(self._before))
        self._others = dict(_lines(others))
        self._begun = False
        self._synced = 0.0

    def get(self, question: Question) -> Answer | None:
        """The answer to this very question; it also has to be about the same clip."""
        line = self._own.get(question.id) or self._others.get(question.id)
        if line is None:
            return None
        told = json.loads(line)
        if told["clip_id"] != question.clip_id:
            log.warning("an answer about %s has the id of a question about %s", told["clip_id"], question.clip_id)
            return None
        return Answer(**told["answer"])

    def keep(self, question: Question, answer: Answer) -> None:
        """Append a line.

        Raises:
            EnvironmentFault: the disk is full.
        """
        told = {"clip_id": question.clip_id, "part": question.part, "model": question.model, "answer": asdict(answer)}
        line = json.dumps(told)
        with environment_faults(self._mine.name):
            if not self._begun:
                self._begin()
            self._own[answer.id] = line
            with self._mine.open("ab") as file:
                file.write(line.encode() + b"\n")
                file.flush()
                if time.monotonic() > self._synced + _SYNC_S:
                    os.fsync(file.fileno())
                    self._synced = time.monotonic()

    def _begin(self) -> None:
        """The earlier files become one with this. A kill in between leaves lines twice, which is once."""
        tables.write_text(self._mine, "".join(line + "\n" for line in self._own.values()))
        for path in self._before:
            path.unlink(missing_ok=True)
        self._begun = True


def _lines(paths: Iterable[Path]) -> Iterable[tuple[str, str]]:
    """Each line with the id of its answer; a torn last line, or what is no answer, is left out."""
    for path in paths:
        try:
            text = path.read_text(errors="replace")
        except FileNotFoundError:  # it has become one with a newer file
            continue
        for line in text.splitlines():
            try:
                told = json.loads(line)
                answer, _ = Answer(**told["answer"]), str(told["clip_id"])
            except (json.JSONDecodeError, KeyError, TypeError):
                continue
            yield answer.id, line
