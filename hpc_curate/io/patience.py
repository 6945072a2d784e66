"""Trying again what may go better the next time, after longer and longer pauses."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from hpc_curate.errors import Unavailable

log = logging.getLogger(__name__)
T = TypeVar("T")

# As the tools say that nobody is there, or nobody answers.
UNREACHED = (
    "(?i)connection refused|no such host|no route to host|network is unreachable|failed to resolve"
    "|could not connect|i/o timeout|timed out"
)


class Passing(Unavailable):
    """Worth another try."""


class Unreached(Passing):
    """The same: nobody is there. That is a word about the host, not about the video."""


def patiently(attempt: Callable[[], T], pauses_s: Iterable[float], stopped: threading.Event) -> T:
    """What `attempt` returns, which is called again after each pause as long as it raises `Passing`.

    Raises:
        Passing: of the last try, or of the one after which it was stopped.
    """
    for pause_s in pauses_s:
        try:
            return attempt()
        except Passing as error:
            log.warning("%s; trying again in %.0f s", error, pause_s)
            if stopped.wait(pause_s):
                raise
    return attempt()
