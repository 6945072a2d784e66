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

from hpc_curate import credentials
from hpc_curate.errors import ConfigError, EnvironmentFault

_SAID = 400  # characters of a complaint that are repeated


class ToolFailed(Exception):
    """It ended with another code than 0."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(said)
        self.code, self.said = code, said


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
            ConfigError: there is none.
        """
        variable, scripts = f"HPC_CURATE_{self.name.upper().replace('-', '_')}", sysconfig.get_path("scripts")
        named = os.environ.get(variable)
        found = shutil.which(named) if named else shutil.which(self.name) or shutil.which(self.name, path=scripts)
        if not found:
            place = f"{variable}={named} is no program" if named else f"it is neither on PATH nor in {scripts}"
            raise ConfigError(f"{self.name} is needed, but {place}; {self.advice}")
        return found

    def run(self, arguments: Sequence[str], seconds: float) -> str:
        """What it printed.

        Raises:
            ToolFailed: it ended with another code than 0.
            EnvironmentFault: it was not done in time, or was stopped.
        """
        command = [self.path(), *arguments]
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env={**os.environ, **self.environment}
            )
            code = self._wait(child, seconds)
            errors.seek(0)
            if code != 0:
                text = credentials.redacted(errors.read(1 << 16).decode(errors="replace")).strip()
                raise ToolFailed(code, " ".join(text.split())[-_SAID:])
            output.seek(0)
            return output.read().decode(errors="replace")

    def stop(self) -> None:
        """End what is under way, for good."""
        self._stopped.set()
        for child in tuple(self._running):
            child.kill()

    def _wait(self, child: subprocess.Popen[bytes], seconds: float) -> int:
        self._running.add(child)
        try:
            if self._stopped.is_set():
                raise EnvironmentFault(f"{self.name}: stopped")
            return child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise EnvironmentFault(f"{self.name}: not done after {seconds:.0f} s") from error
        finally:
            self._running.discard(child)
            if child.poll() is None:
                child.kill()
                child.wait()
