"""What the pages look at. Streamlit runs their script in this process anew for each click, without arguments."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from hpc_curate.browse.catalogue import Catalogue, Collection
from hpc_curate.learning.verdicts import VerdictFile


@dataclass
class Opened:
    """A collection, where verdicts on it go, and how many of it are drawn at first."""

    collection: Collection
    verdicts: VerdictFile
    samples: int
    seed: int
    _catalogue: Catalogue | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def catalogue(self) -> Catalogue:
        """Everything that was there when somebody last looked; of a listing under way, what it has found by now."""
        with self._lock:
            if self._catalogue is None:
                complete = self.collection.progress().done
                found = self.collection.catalogue()
                if not complete:
                    return found
                self._catalogue = found
            return self._catalogue

    def look_again(self) -> None:
        """A run may have gone on since, and a plan been added."""
        self.collection.look_again()
        with self._lock:
            self._catalogue = None


_opened: Opened | None = None


def show(what: Opened) -> None:
    """Have the pages of this process show it."""
    global _opened
    _opened = what


def current() -> Opened:
    """What this process shows.

    Raises:
        RuntimeError: the script was started without our server, which would have checked who is asking.
    """
    if _opened is None:
        raise RuntimeError("start this page by: hpc-curate browse TARGET")
    return _opened
