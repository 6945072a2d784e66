"""Asks many questions at once and gives each answer to the question that it names, whatever the order they come in."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from hpc_curate.chat.questions import Answer, Channel, Question
from hpc_curate.errors import BadInput, EnvironmentFault

log = logging.getLogger(__name__)

Read = Callable[[Question, Answer], Any]  # raises BadInput for an answer that is none

_WAIT_S = 0.5  # for an answer, before a look at the clock: signals are heard meanwhile


class Known(Protocol):
    """Answers that were paid for."""

    def get(self, question: Question) -> Answer | None: ...

    def keep(self, question: Question, answer: Answer) -> None: ...


@dataclass(frozen=True)
class Result:
    """What became of a question."""

    question: Question
    value: Any = None
    error: str | None = None
    input_tokens: int = 0  # of all its answers
    output_tokens: int = 0


@dataclass
class _Open:
    """A question that was not answered yet, as it was asked first, and what it has cost."""

    question: Question
    sent: float = 0.0
    sends: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass
class Asking:
    """The questions that are on their way, by id."""

    channel: Channel
    known: Known
    read: Read
    tries: int = 3  # answers that may be unreadable, and times that a question may be lost
    clock: Callable[[], float] = time.monotonic
    ignored: int = 0  # answers that nobody waits for any more
    _open: dict[str, _Open] = field(default_factory=dict)

    def ask(self, questions: Iterable[Question]) -> Iterator[Result]:
        """One result for each question, in the order in which they are known. Questions are taken as there is room.

        Raises:
            EnvironmentFault: the other end does not answer.
            ValueError: a question is asked twice.
        """
        waiting = iter(questions)
        more = True
        while more or self._open:
            while more and len(self._open) < self.channel.at_once:
                question = next(waiting, None)
                more = question is not None
                if question is not None:
                    yield from self._begin(_Open(question))
            if self._open:
                yield from self._take(self.channel.receive(_WAIT_S))
                self._resend_lost()

    def _begin(self, one: _Open) -> Iterator[Result]:
        """Look the answer up, or send the question."""
        while answer := self.known.get(one.question):
            result = self._judged(one, answer)
            if result is not None:
                yield result
                return
        if one.question.id in self._open:
            raise ValueError(f"asked twice: {one.question.part} of {one.question.clip_id}")
        self._open[one.question.id] = one
        self._send(one)

    def _send(self, one: _Open) -> None:
        one.sent, one.sends = self.clock(), one.sends + 1
        self.channel.send(one.question)

    def _take(self, answer: Answer | None) -> Iterator[Result]:
        """An answer goes to the question whose id it has; one that nobody waits for goes to nobody."""
        if answer is None:
            return
        one = self._open.pop(answer.id, None)
        if one is None:
            self.ignored += 1
            log.debug("an answer that nobody waits for: %s", answer.id)
            return
        self.known.keep(one.question, answer)
        result = self._judged(one, answer)
        if result is not None:
            yield result
        else:
            yield from self._begin(one)

    def _judged(self, one: _Open, answer: Answer) -> Result | None:
        """The result, or None if the question is to be asked again: `one` is then the next attempt."""
        one.input_tokens += answer.input_tokens
        one.output_tokens += answer.output_tokens
        question, value, error = one.question, None, answer.refused
        if error is None:
            try:
                value = self.read(question, answer)
            except BadInput as bad:
                if question.attempt + 1 < self.tries:
                    one.question, one.sends = question.again(), 0
                    return None
                error = f"{bad}, {self.tries} times" if self.tries > 1 else str(bad)
        return Result(question, value, error, one.input_tokens, one.output_tokens)

    def _resend_lost(self) -> None:
        now = self.clock()
        for one in self._open.values():
            if now - one.sent > self.channel.patience_s:
                if one.sends >= self.tries:
                    what = f"{one.question.part} of {one.question.clip_id} was asked {one.sends} times"
                    raise EnvironmentFault(f"{what} and never answered; look at the server, then retry")
                self._send(one)
