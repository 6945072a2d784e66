"""What a plan has to know of the files that it names, for whoever looks at its run where they are not.

A laptop with a copy of the run folder, a login node without the node's disks or packages: signatures need the checksums
of weights, and a fitted model says which columns it reads. Where the files are at hand, they count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hpc_curate.errors import ConfigError
from hpc_curate.io import tables


class Part(Protocol):
    """A stage, a measure or a cutter."""

    @property
    def name(self) -> str: ...

    def weights(self) -> Iterable[Path]: ...


@dataclass(frozen=True)
class Noted:
    """By module and name of a part of the plan; nothing for a run of an earlier version."""

    checksums: Mapping[str, list[str]] = field(default_factory=dict)
    reads: Mapping[str, list[str]] = field(default_factory=dict)  # columns

    def of_weights(self, part: Part) -> list[str]:
        """The checksums of a part's weights.

        Raises:
            ConfigError: a file is not there, and nothing was noted of it.
        """
        try:
            return [tables.sha256_of_weights(path) for path in part.weights()]
        except (ConfigError, OSError) as error:
            return _else(self.checksums, part, error)

    def of_reads(self, stage: Any) -> tuple[str, ...]:
        """What a stage reads."""
        try:
            return tuple(stage.reads())
        except ConfigError as error:
            return tuple(_else(self.reads, stage, error))


NOTHING = Noted()


def _else(noted: Mapping[str, list[str]], part: Part, error: Exception) -> list[str]:
    if (key := _key(part)) in noted:
        return noted[key]
    raise error if isinstance(error, ConfigError) else ConfigError(f"{part.name}: weights: {error}") from error


def _key(part: Part) -> str:
    return f"{type(part).__module__}.{part.name}"


def note(path: Path, stages: Iterable[Any], noted: Noted) -> None:
    """Write down what the stages of a plan have to know of files, if there are any."""
    checksums: dict[str, list[str]] = {}
    reads: dict[str, list[str]] = {}
    for stage in stages:
        found = {_key(part): some for part in stage.parts() if (some := noted.of_weights(part))}
        checksums |= found
        reads |= {_key(stage): list(noted.of_reads(stage))} if found else {}
    if checksums and recall(path) != Noted(checksums, reads):
        tables.write_json(path, asdict(Noted(checksums, reads)))


def recall(path: Path) -> Noted:
    """What was written down."""
    noted: Any = tables.read_json(path)
    return Noted(noted["checksums"], noted["reads"]) if noted else NOTHING
