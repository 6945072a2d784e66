"""Files from web servers, which may be slow, broken or lying, and which must not lead us into our own network."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import logging
import re
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpc_curate import __version__, credentials
from hpc_curate.element.faults import environment_faults
from hpc_curate.errors import BadInput, Unavailable
from hpc_curate.io.patience import Unreached
from hpc_curate.io.turns import Turns
from hpc_curate.plural import counted

log = logging.getLogger(__name__)

SCHEMES = ("http", "https")
_BLOCK = 1 << 20
_REDIRECTS = 5
_MOVED = (301, 302, 303, 307, 308)
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_WAIT_S = 120.0
_LITERAL = "%/?&=+:,;@~!$'()*"  # what stands in a path or a query as it is


@dataclass(frozen=True)
class WebSettings:
    """How web servers are treated. None of it changes results."""

    largest_gb: float = 50.0  # of one file
    pause_per_host_s: float = 0.5  # between two requests to one host, of all tasks of a run together
    tries: int = 5  # each goes on where the one before broke off, if the server can do that
    silence_s: float = 30.0  # until a server that sends nothing is given up
    slowest_kb_per_s: float = 20.0  # in any stretch of `patience_s`
    patience_s: float = 60.0
    private_hosts: tuple[str, ...] = ()  # names that may lie in private networks; nothing else there is asked
    # Of yt-dlp only:
    format: str = "bv*[height<=1080]+ba/b[height<=1080]/b"  # what to take of what a site has, in yt-dlp's words
    longest_s: float | None = None  # of a video; null: any
    longest_download_s: float = 7200.0  # until it is given up


@dataclass
class Download:
    """What is known of a file that has come, or is coming."""

    url: str  # after redirects
    etag: str = ""
    modified: str = ""
    content_type: str = ""
    total: int | None = None  # bytes of the whole, if the server said so


class _Transient(Exception):
    """Worth another try, after `wait_s` at least; `silent` is the host, if it was not reached."""

    def __init__(self, message: str, wait_s: float = 0.0, silent: str | None = None) -> None:
        super().__init__(message)
        self.wait_s, self.silent = wait_s, silent


class Web:
    """Downloads one file at a time."""

    def __init__(self, settings: WebSettings, turns: Turns) -> None:
        self._settings, self._turns = settings, turns
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End what is under way, for good."""
        self._stopped.set()

    def fetch(self, url: str, destination: Path) -> Download:
        """Download into `destination`, which is there afterwards with the length that the server named.

        Raises:
            BadInput: no such file, too large, or refused.
            Unreached: its host is not there, however often it was tried.
            Unavailable: it never came whole, however often it was tried, or a private address that is not allowed.
            EnvironmentFault: the disk is full.
        """
        found = Download(url)
        destination.unlink(missing_ok=True)
        for attempt in range(self._settings.tries):
            try:
                with environment_faults(str(destination)):
                    self._attempt(url, destination, found)
                return found
            except _Transient as error:
                shown = credentials.redacted(str(error))
                if attempt + 1 == self._settings.tries:
                    kind = Unreached if error.silent == _parts(url).hostname else Unavailable
                    raise kind(f"{shown}; tried {counted(attempt + 1, 'time')}") from error
                wait_s = min(_LONGEST_WAIT_S, max(error.wait_s, 2.0**attempt * self._settings.pause_per_host_s))
                log.info("%s; trying again in %.1f s", shown, wait_s)
                if self._stopped.wait(wait_s):
                    raise Unavailable(f"{shown}; stopped") from error
        raise AssertionError("unreachable")

    def _attempt(self, url: str, destination: Path, found: Download) -> None:
        """One request, which goes on behind what is there already."""
        have = destination.stat().st_size if destination.exists() and (found.etag or found.modified) else 0
        headers = {"User-Agent": f"hpc-curate/{__version__}", "Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": found.etag or found.modified}
        try:
            with self._answer(url, headers) as (final, answer):
                begins = self._begin(answer, final, have, found)
                with destination.open("r+b" if begins else "wb") as file:
                    file.seek(begins)
                    file.truncate()
                    self._copy(answer, file, begins)
        except ssl.SSLCertVerificationError as error:
            raise BadInput(f"the certificate is not the host's: {error.verify_message}") from error
        except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
            raise _Transient(f"the server broke off: {error or type(error).__name__}") from error
        size = destination.stat().st_size
        if found.total is not None and size != found.total:
            raise _Transient(f"{size} of {found.total} bytes came")
        if not size:
            raise _Transient("nothing came")

    def _begin(self, answer: http.client.HTTPResponse, final: str, have: int, found: Download) -> int:
        """Check the answer's head; the byte that its body begins with."""
        if answer.status in _AGAIN:
            raise _Transient(f"the server said {answer.status} {answer.reason}", _retry_after(answer))
        part = re.match(r"bytes (\d+)-\d+/(\d+)\Z", answer.headers.get("Content-Range", ""))
        if answer.status == 206 and have and part and int(part[1]) == have:
            return have
        if answer.status != 200:
            raise BadInput(f"the server said {answer.status} {answer.reason}")
        length = answer.headers.get("Content-Length")
        found.url, found.total = final, int(length) if length and length.isdigit() else None
        found.etag = answer.headers.get("ETag", "")
        found.etag = "" if found.etag.startswith("W/") else found.etag  # weak: the bytes may differ
        found.modified = answer.headers.get("Last-Modified", "")
        found.content_type = answer.headers.get_content_type()
        self._check_size(found.total or 0)
        return 0

    def _check_size(self, size: int) -> None:
        if size > self._settings.largest_gb * 1e9:
            raise BadInput(f"{size / 1e9:.1f} GB or more, and source.web.largest_gb is {self._settings.largest_gb:g}")

    def _copy(self, answer: http.client.HTTPResponse, file: IO[bytes], size: int) -> None:
        began, came = time.monotonic(), 0
        while block := answer.read1(_BLOCK):
            if self._stopped.is_set():
                raise Unavailable("stopped")
            size += len(block)
            came += len(block)
            self._check_size(size)
            file.write(block)
            passed = time.monotonic() - began
            if passed > self._settings.patience_s:
                if came < self._settings.slowest_kb_per_s * 1e3 * passed:
                    raise _Transient(f"{came / 1e3 / passed:.1f} kB/s is too slow")
                began, came = time.monotonic(), 0

    @contextlib.contextmanager
    def _answer(self, url: str, headers: dict[str, str]) -> Iterator[tuple[str, http.client.HTTPResponse]]:
        """The answer behind all redirects, and its URL."""
        for _ in range(_REDIRECTS + 1):
            parts = _parts(url)
            self._turns.take(parts.hostname or "", self._stopped)
            connection, target = self._connect(parts)
            try:
                with _at_most(self._settings.patience_s, connection):
                    _reach(connection, parts.hostname)
                    connection.request("GET", target, headers=headers)
                    answer = connection.getresponse()
                if answer.status not in _MOVED:
                    yield url, answer
                    return
                onward = urllib.parse.urljoin(url, answer.headers.get("Location", ""))
                if parts.scheme == "https" and not onward.startswith("https:"):
                    raise BadInput("the server leads from https to something else")
                url = onward
            finally:
                connection.close()
        raise BadInput(f"more than {_REDIRECTS} redirects")

    def _connect(self, parts: urllib.parse.SplitResult) -> tuple[http.client.HTTPConnection, str]:
        """A connection, through the site's proxy where the environment names one, and what to ask it for."""
        host, tls = parts.hostname or "", parts.scheme == "https"
        target = urllib.parse.quote(urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, "")), _LITERAL)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and not urllib.request.proxy_bypass(host):
            via = urllib.parse.urlsplit(proxy)
            kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
            connection = kind(via.hostname or "", via.port or 3128, timeout=self._settings.silence_s)
            if not tls:
                return connection, f"http://{parts.netloc}{target}"
            connection.set_tunnel(host, parts.port or 443)
            return connection, target
        port = parts.port or (443 if tls else 80)
        address = self._address(host, port)
        made = _Secure(host, port, self._settings.silence_s) if tls else _Plain(host, port, self._settings.silence_s)
        made.address = address
        return made, target

    def _address(self, host: str, port: int) -> str:
        """One address of a host, looked up once: what is checked is what is connected to.

        Raises:
            BadInput: no host can be called so.
            Unavailable: it has one that is not of the public network, which a later plan may allow.
            _Transient: it has none.
        """
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        except socket.gaierror as error:
            raise _Transient(f"{host} has no address: {error.strerror}", silent=host) from error
        except UnicodeError as error:
            raise BadInput(f"{host} is no name of a host") from error
        private = [address for address in found if not ipaddress.ip_address(address.partition("%")[0]).is_global]
        if private and host not in self._settings.private_hosts:
            what = "" if host == private[0] else f"{private[0]}, "
            raise Unavailable(f"{host} is {what}a private address; source.web.private_hosts may allow it")
        return min(found, key=lambda address: (":" in address, address))


def _parts(url: str) -> urllib.parse.SplitResult:
    """Raises: BadInput: it is no address of ours."""
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in SCHEMES and parts.hostname and parts.port != 0:
            return parts
    except ValueError:  # a port that is no number, a bracket that is not closed
        pass
    raise BadInput(f"{credentials.redacted(url)} is no web address")


def _reach(connection: http.client.HTTPConnection, host: str | None) -> None:
    """Connect to a server, or to the proxy; that nobody is there is another word than that somebody broke off.

    Raises:
        _Transient: nobody is there, or the proxy leads nowhere.
    """
    try:
        connection.connect()
    except ssl.SSLError:
        raise
    except OSError as error:
        said = f"{connection.host}:{connection.port} is not reached: {error.strerror or error}"
        raise _Transient(said, silent=host) from error


@contextlib.contextmanager
def _at_most(seconds: float, connection: http.client.HTTPConnection) -> Iterator[None]:
    """A time-out of a socket begins again with every byte; this one does not."""
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock:
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if late.is_set():  # http.client takes a head that was cut off for a whole one
        raise TimeoutError(f"no answer after {seconds:g} s")


class _Plain(http.client.HTTPConnection):
    """Connects to an address that was looked up before."""

    address = ""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)

    def connect(self) -> None:
        self.sock = socket.create_connection((self.address, self.port), self.timeout)


class _Secure(_Plain):
    """The same, encrypted, and the certificate is the host's."""

    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)


def _retry_after(answer: http.client.HTTPResponse) -> float:
    """Seconds that the server asks for; 0 where it names none, or a date."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else 0.0
