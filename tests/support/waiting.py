"""Waiting for what another process will do."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(condition: Callable[[], T], within_s: float = 150) -> T:
    """What the condition returns, as soon as that is true; fails if it is not in time."""
    end = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end, f"not so after {within_s} s"
        time.sleep(0.1)
    return found
