"""Programs that fetch: found, run without a shell and without a terminal, ended when they are no longer wanted."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

from hpc_curate import credentials
from hpc_curate.errors import EnvironmentFault, NotInstalled

_VERSION_S = 60.0  # from a cold file system
_SAID = 400  # characters of a complaint that are repeated


class ToolTimeout(EnvironmentFault):
    """It was not done in time."""


class ToolFailed(Exception):
    """It ended with another code than 0.

    Args:
        text: all that it said on stderr, which may hold secrets.
    """

    def __init__(self, code: int, text: str) -> None:
        self.code, self.text = code, text
        self.said = " ".join(credentials.redacted(text).split())[-_SAID:]
        super().__init__(self.said)


@dataclass
class Tool:
    """A program of somebody else. Safe to use from several threads; `stop` ends what is under way."""

    name: str
    advice: str  # how it is installed
    environment: Mapping[str, str] = field(default_factory=dict)  # on top of our own
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def path(self) -> str:
        """$HPC_CURATE_NAME, else PATH, else the one that its wheel put beside this Python.

        Raises:
            NotInstalled: there is none.
        """
        variable, scripts = f"HPC_CURATE_{self.name.upper().replace('-', '_')}", sysconfig.get_path("scripts")
        named = os.environ.get(variable)
        found = shutil.which(named) if named else shutil.which(self.name) or shutil.which(self.name, path=scripts)
        if not found:
            place = f"{variable}={named} is no program" if named else f"it is neither on PATH nor in {scripts}"
            raise NotInstalled(f"{self.name} is needed, but {place}", self.advice)
        return found

    def version(self, *words: str) -> str:
        """The first line of what it says of its version, and its place.

        Raises:
            NotInstalled: there is none.
            ToolFailed: it is broken.
        """
        said = self.run(words, _VERSION_S).strip().splitlines()
        return f"{said[0] if said else 'no word of its version'}, {self.path()}"

    def run(self, arguments: Sequence[str], seconds: float) -> str:
        """What it printed.

        Raises:
            ToolFailed: it ended with another code than 0.
            ToolTimeout: it was not done in time.
            EnvironmentFault: it was stopped.
        """
        with tempfile.TemporaryFile() as output:
            self.run_into(output, arguments, seconds)
            output.seek(0)
            return output.read().decode(errors="replace")

    def run_into(self, output: IO[bytes] | None, arguments: Sequence[str], seconds: float | None) -> None:
        """The same with a file for what it prints, and all the time it takes where `seconds` is None."""
        none, out = subprocess.DEVNULL, output or subprocess.DEVNULL
        environment = {**os.environ, **self.environment}
        with tempfile.TemporaryFile() as errors:
            child = subprocess.Popen([self.path(), *arguments], stdin=none, stdout=out, stderr=errors, env=environment)
            code = self._wait(child, seconds)
            errors.seek(0)
            if code != 0:
                raise ToolFailed(code, errors.read(1 << 16).decode(errors="replace"))

    def stop(self) -> None:
        """End what is under way, for good."""
        self._stopped.set()
        for child in tuple(self._running):
            child.kill()

    def _wait(self, child: subprocess.Popen[bytes], seconds: float | None) -> int:
        self._running.add(child)
        try:
            if self._stopped.is_set():
                raise EnvironmentFault(f"{self.name}: stopped")
            return child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise ToolTimeout(f"{self.name}: not done after {seconds:.0f} s") from error
        finally:
            self._running.discard(child)
            if child.poll() is None:
                child.kill()
                child.wait()
