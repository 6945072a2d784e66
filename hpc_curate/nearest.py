"""The nearest right name, for messages about wrong ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(wrong: str, known: Iterable[str], most: int | None = None) -> str:
    """`did you mean 'x'?`, or the list of what there is; of more than `most` those that are most alike."""
    names = sorted(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    if most is None or len(names) <= most:
        return f"there is {', '.join(names) or 'nothing'}"
    alike = difflib.get_close_matches(wrong, names, n=most, cutoff=0)
    return f"there is {', '.join(alike)} and {len(names) - most:,} more"
