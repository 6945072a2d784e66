"""An S3 store, through a program that is run as a child process: s5cmd or the AWS CLI."""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, TypeVar

from hpc_curate import credentials
from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import BadInput, ConfigError, CurateError, EnvironmentFault, Unavailable
from hpc_curate.io.awscli import AwsCli
from hpc_curate.io.patience import UNREACHED, Passing, Unreached, patiently
from hpc_curate.io.s5cmd import S5cmd, SourceSettings
from hpc_curate.io.tool import Tool, ToolFailed, ToolTimeout

T = TypeVar("T")

# Between our own tries, times `pause_s`; each is several tries of the tool with its own back-off.
_PAUSES = (1, 5, 15)


class Client(Protocol):
    """How a program is asked, and what its answers mean; each method that asks gives its arguments."""

    tool: Tool
    asks_version: tuple[str, ...]

    def listing(self, prefix: str) -> list[str]: ...

    def listed(self, prefix: str, output: IO[bytes]) -> Iterator[tuple[str, int, str]]: ...

    def head(self, uri: str) -> list[str]: ...

    def headed(self, output: IO[bytes]) -> tuple[int, str]: ...

    def presign(self, uri: str, seconds: int) -> list[str]: ...

    def copy(self, source: str, target: str) -> list[str]: ...

    def complaint(self, text: str) -> str: ...


_CLIENTS: dict[str, Callable[[SourceSettings], Client]] = {"s5cmd": S5cmd, "aws": AwsCli}


def client(settings: SourceSettings) -> Client:
    """The one that `source.s3_tool` names."""
    return _CLIENTS[settings.s3_tool](settings)


@dataclass(frozen=True)
class StoredObject:
    """An object as the store describes it."""

    uri: str
    bytes: int
    etag: str


class ObjectStore:
    """An S3 store. Safe to use from several threads; `stop` ends what is under way."""

    def __init__(self, settings: SourceSettings):
        self._settings = settings
        self._client = client(settings)
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
                self._patiently(lambda: self._run(self._client.listing(prefix), prefix, None, output))
            except BadInput:  # s5cmd fails where nothing matches
                return
            output.seek(0)
            for found in self._client.listed(prefix, output):
                yield StoredObject(*found)

    def head(self, uri: str) -> StoredObject:
        """Size and ETag of one object.

        Raises:
            BadInput: it does not exist.
            EnvironmentFault: no credentials, or no answer.
        """
        with tempfile.TemporaryFile() as output:
            self._patiently(lambda: self._run(self._client.head(uri), uri, self._seconds(0), output))
            output.seek(0)
            return StoredObject(uri, *self._client.headed(output))

    def presigned(self, uri: str, seconds: int) -> str:
        """An address under which anybody can read the object for a time: never log it.

        Raises:
            BadInput: its name is one that the tool cannot sign.
            EnvironmentFault: no credentials.
        """
        with tempfile.TemporaryFile() as output:
            self._run(self._client.presign(uri, seconds), uri, self._seconds(0), output)
            output.seek(0)
            return output.read().decode().strip()

    def fetch(self, uri: str, destination: Path, expected_bytes: int) -> None:
        """Download; `destination` appears whole, with the expected size, or not at all.

        Raises:
            BadInput: there is no such object.
            EnvironmentFault: no credentials, no answer, a full disk, or it never came whole.
        """
        temporary = destination.with_name(f".{destination.name}.tmp")

        def download() -> None:
            self._run(self._client.copy(uri, str(temporary)), uri, self._seconds(expected_bytes))
            got = temporary.stat().st_size if temporary.exists() else None
            if got != expected_bytes:
                raise Passing(f"{uri}: {got or 0} of {expected_bytes} bytes came; try again later")

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
            self._run(self._client.copy(str(path.absolute()), uri), uri, self._seconds(size))
            found = self.head(uri)
            if found.bytes != size:
                raise Passing(f"{uri}: {found.bytes} of {size} bytes arrived; try again later")

        self._patiently(upload)

    def stop(self) -> None:
        """End running transfers and waits; for good."""
        self._stopped.set()
        self._client.tool.stop()

    def _seconds(self, size: int) -> float:
        return self._settings.patience_s + size / (self._settings.slowest_mb_per_s * 1e6)

    def _patiently(self, attempt: Callable[[], T]) -> T:
        pauses_s = [times * self._settings.pause_s for times in _PAUSES]
        return patiently(attempt, pauses_s, self._stopped)

    def _run(
        self, arguments: Sequence[str], subject: str, seconds: float | None, output: IO[bytes] | None = None
    ) -> None:
        """The tool to its end; what it prints goes into `output`."""
        if output:  # what an earlier try left
            output.seek(0)
            output.truncate()
        try:
            self._client.tool.run_into(output, arguments, seconds)
        except ValueError as error:  # a NUL cannot be an argument
            raise BadInput(f"{subject!r}: {error}") from error
        except ToolTimeout as error:
            raise Passing(f"{subject}: {error}; is the store reachable?") from error
        except ToolFailed as error:
            raise self._fault(subject, error) from error

    def _fault(self, subject: str, failed: ToolFailed) -> CurateError:
        """A complaint as one of our errors; what is not known is taken for a passing fault of the network."""
        said = self._client.complaint(failed.text) or f"it ended with code {failed.code} and said nothing"
        message = credentials.redacted(said)
        for pattern, kind, meaning in _MEANINGS:
            if re.search(pattern, message):
                return kind(f"{subject}: {meaning} ({message})")
        return Passing(f"{subject}: the store did not answer as it should ({message})")


# What the tools' messages mean; the first that matches counts.
_MEANINGS: tuple[tuple[str, type[CurateError], str], ...] = (
    ("NoSuchBucket", ConfigError, "there is no such bucket"),
    (
        "bad value for|config profile .* could not be found|Invalid bucket name",
        ConfigError,
        "the tool does not accept a setting",
    ),
    (r"NoSuchKey|NotFound|\(404\)|not found|no object found", BadInput, "there is no such object"),
    ("InvalidObjectState|[Gg]lacier", BadInput, "it is archived; restore it first"),
    (
        "SignatureDoesNotMatch|InvalidAccessKeyId|ExpiredToken|InvalidToken|TokenRefresh|AccessDenied|Forbidden"
        r"|NoCredentialProviders|SharedCredsLoad|SharedConfig|RequestTimeTooSkewed|status code: 40[13]|\(40[13]\)"
        "|Unable to locate credentials|Partial credentials",
        Unavailable,
        "the store refused the credentials, or there are none; set source.profile, or AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY",
    ),
    (UNREACHED, Unreached, "the store is not reached"),
    ("no space left|quota|read-only file system|input/output error|stale", EnvironmentFault, "the disk failed"),
)
