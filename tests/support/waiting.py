"""Waiting for what another process will do."""

import time
from collections.abc import Callable


def eventually(condition: Callable[[], object], within_s: float = 150) -> None:
    """Return as soon as the condition holds; fail if it does not in time."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not so after {within_s} s"
        time.sleep(0.1)
