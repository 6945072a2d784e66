"""The errors raised on purpose.

CurateError
├── ConfigError        what was asked for cannot be planned; nothing was queued
│   └── NotInstalled   a program or a package is missing
├── BadInput           one video or clip cannot be used; recorded against it, the rest goes on
├── UnitFailed         too much of a unit is bad, or its output does not add up
├── Blocked            what an element reads is not there yet; no attempt is counted
├── MergeRefused       a merge found rows that nobody accounts for
├── EnvironmentFault   the machine is at fault (disk full, stale handle), never the data
│   └── Unavailable    a source refuses us or does not answer, for now
├── Preempted          told to stop, or no time is left; the element wants to be requeued
├── Claimed            another living worker is at this unit; come back later
├── Superseded         another worker has taken over this unit; publish nothing
└── SchedulerError     Slurm refused or did not answer
    └── Unanswered     the same, and nobody knows whether it has the job
"""

from __future__ import annotations


class CurateError(Exception):
    """Anything hpc_curate raises on purpose."""


class ConfigError(CurateError):
    """What was asked for cannot be planned; nothing was queued."""


class NotInstalled(ConfigError):
    """A program or a package is missing.

    Args:
        advice: how it is installed.
    """

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(f"{what}; {advice}")
        self.what, self.advice = what, advice


class BadInput(CurateError):
    """One video or clip cannot be used."""


class UnitFailed(CurateError):
    """Too much of a unit is bad, or its output does not add up."""


class Blocked(CurateError):
    """What an element reads is not there yet."""


class MergeRefused(CurateError):
    """A merge found rows that nobody accounts for."""


class EnvironmentFault(CurateError):
    """The machine is at fault (disk full, stale handle), never the data."""


class Unavailable(EnvironmentFault):
    """A source refuses us or does not answer, for now; `fetch` records it, and `retry` asks again."""


class Preempted(CurateError):
    """Told to stop, or no time is left."""


class Claimed(CurateError):
    """Another living worker is at this unit."""


class Superseded(CurateError):
    """Another worker has taken over this unit."""


class SchedulerError(CurateError):
    """Slurm refused or did not answer."""


class Unanswered(SchedulerError):
    """Slurm did not answer, and nobody knows whether it has the job."""
