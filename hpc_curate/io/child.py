"""Limited child processes: everything that touches untrusted bytes runs in one.

A child gets its own process group, no stdin, a minimal environment and limits on memory, CPU, file size and wall
clock. However the parent leaves, by return, exception or SIGKILL, no child stays behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from hpc_curate.errors import ConfigError, EnvironmentFault

# Containers that hold their media themselves. Playlists (hls, dash, concat) would read other files, image pipes are
# no videos, and the demuxers nobody fuzzes are left out.
FORMATS = "mov,matroska,webm,avi,flv,asf,rm,mpeg,mpegvideo,mpegts,m4v,ogg,swf,gif,mxf,ivf"
MAX_PIXELS = 8192 * 4608

_TAIL_BYTES = 8192
_GRACE_S = 3.0  # between SIGTERM and SIGKILL
_POLL_S = 0.05
_UNKILLABLE_S = 60.0  # a process that outlives SIGKILL by this hangs in the kernel, on a file system
_BLOCK = 1 << 16
_PR_SET_PDEATHSIG = 1
_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)  # Linux only; elsewhere the limits must do
# What ffmpeg says after the line that tells.
_AFTERMATH = re.compile(
    r"Terminating thread with return code|Task finished with error code|Error (submitting|processing) .*packet"
    r"|Error while decoding stream|Error opening input files|Error sending frames|Conversion failed"
    r"|Nothing was written|Could not open encoder before EOF|Last message repeated"
)
_OUT_OF_MEMORY = re.compile(
    r"cannot allocate memory|memoryerror|bad_alloc|failed to map segment|pthread_create.* failed", re.IGNORECASE
)

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class Limits:
    """What a child may use at most."""

    memory_gb: float  # address space; math.inf: as its parent
    cpu_s: float
    wall_s: float
    file_gb: float  # the largest file it may write, and the most that `run` takes from its stdout


@dataclass(frozen=True)
class Finished:
    """How a child ended."""

    returncode: int  # negative: the signal
    stdout: bytes
    stderr_tail: str
    timed_out: bool = False  # the wall clock ran out
    flooded: bool = False  # it wrote more to stdout than it may

    @property
    def ok(self) -> bool:
        return self.returncode == 0 and not self.timed_out and not self.flooded


def demux(max_pixels: int = MAX_PIXELS, formats: str = FORMATS) -> list[str]:
    """Options before `-i` that let ffmpeg open self-contained media files and nothing else."""
    return (
        ["-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"]
        + ["-format_whitelist", formats, "-max_pixels", str(max_pixels)]
    )  # fmt: skip


DEMUX = demux()


def source(path: str | os.PathLike[str]) -> str:
    """A file as an ffmpeg URL: a leading dash, a colon or a percent sign in its name means nothing then."""
    return f"file:{Path(path).absolute()}"


def ffmpeg() -> str:
    """The ffmpeg to run: $HPC_CURATE_FFMPEG, else the one on PATH, else the one in the imageio-ffmpeg wheel.

    Raises:
        ConfigError: there is none.
    """
    chosen = os.environ.get("HPC_CURATE_FFMPEG")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise ConfigError(f"HPC_CURATE_FFMPEG={chosen!r} is no program that can be run; correct or unset it")
        return str(Path(found).absolute())
    on_path = shutil.which("ffmpeg")
    if on_path:
        return str(Path(on_path).absolute())
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise ConfigError(
            "no ffmpeg: install one, `pip install imageio-ffmpeg`, or set HPC_CURATE_FFMPEG to its path"
        ) from error


def ffmpeg_version() -> str:
    """What the ffmpeg calls itself, such as `5.1.9-0+deb12u1`."""
    return _version_of(ffmpeg())


@functools.lru_cache
def _version_of(program: str) -> str:
    finished = run([program, "-version"], Limits(memory_gb=4, cpu_s=20, wall_s=60, file_gb=0.01))
    words = finished.stdout.decode(errors="replace").split()
    if not finished.ok or words[:2] != ["ffmpeg", "version"]:
        raise ConfigError(f"{program} -version: {explain(finished)}; set HPC_CURATE_FFMPEG to a working ffmpeg")
    return words[2]


def python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package as a child."""
    return [sys.executable, "-m", module, *arguments]


def run(argv: Sequence[str], limits: Limits, *, input: bytes | None = None, cwd: str | Path | None = None) -> Finished:
    """Run a child to its end and keep its stdout, at most `limits.file_gb` of it."""
    most = int(limits.file_gb * 1e9)
    blocks: list[bytes] = []
    size, flooded = 0, False
    with Child(argv, limits, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE, cwd=cwd) as child:
        if input is not None:
            threading.Thread(target=_feed, args=(child.stdin, input), daemon=True).start()
        while block := child.stdout.read1(_BLOCK):  # type: ignore[attr-defined]
            size += len(block)
            if size > most:
                flooded = True
                child.kill()
                break
            blocks.append(block)
        finished = child.wait()
    return Finished(finished.returncode, b"".join(blocks), finished.stderr_tail, finished.timed_out, flooded)


def _feed(pipe: IO[bytes], data: bytes) -> None:
    try:
        with pipe:
            pipe.write(data)
    except BrokenPipeError:
        pass  # the child did not want all of it; how it ended tells why


def killed_by_others() -> int:
    """How many children of this process so far were ended by a signal that it did not send.

    A scheduler signals every process of a task, and the child may die before the parent has heard of it: what such a
    child leaves says nothing about its input.
    """
    return len(_strangers)


def in_threads(function: Callable[[_Given], _Made], given: Iterable[_Given], threads: int) -> list[_Made]:
    """What a function that waits for children makes of each; an exception, of a signal too, kills all that run."""
    with ThreadPoolExecutor(threads) as pool:
        begun = [pool.submit(function, one) for one in given]
        try:
            return [future.result() for future in begun]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in begun):  # a thread may be between two children
                for child in tuple(_running):
                    child.kill()
                time.sleep(_POLL_S)
            raise


_running: set[Child] = set()
_strangers: list[int] = []
_OF_OTHERS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# ffmpeg ends with 255 when it is told to stop.
_ENDED_BY_OTHERS = {255, *(-number for number in _OF_OTHERS)}


class Child:
    """A running limited child; leaving the context kills its whole process group.

    Start it in a thread that lives until the child ends: the kernel kills the child when that thread does.

    Args:
        pass_fds: descriptors the child inherits under the same numbers. Close your copies of write ends once it runs,
            else their readers never see the end.
    """

    def __init__(
        self,
        argv: Sequence[str],
        limits: Limits,
        *,
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        cwd: str | Path | None = None,
    ) -> None:
        self.timed_out = False
        self._killed_at = math.inf
        self._counted = False
        self._tail = b""
        self._process = subprocess.Popen(
            list(argv),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or "/",
            env=_environment(os.environ),
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            preexec_fn=_limiter(limits),  # only system calls: safe beside threads
        )
        _running.add(self)
        self._stderr = threading.Thread(target=self._drain, daemon=True)
        self._stderr.start()
        self._clock = threading.Timer(limits.wall_s, self._time_is_up)
        self._clock.daemon = True
        self._clock.start()

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> Finished:
        """Wait for the end, within the wall-clock limit. Read the pipes to their end first."""
        while self._process.returncode is None:
            try:
                self._process.wait(_UNKILLABLE_S)
            except subprocess.TimeoutExpired as error:
                if time.monotonic() > self._killed_at + _UNKILLABLE_S:
                    raise EnvironmentFault(f"process {self.pid} survives SIGKILL: a file system hangs") from error
        self._look_for_a_stranger()
        self._clock.cancel()
        self._stderr.join(_GRACE_S)
        tail = self._tail.decode(errors="replace")
        return Finished(self._process.returncode, b"", tail, self.timed_out)

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        self._look_for_a_stranger()
        self._killed_at = min(self._killed_at, time.monotonic())
        self._signal(signal.SIGKILL)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.wait()
        _running.discard(self)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what `stdin` still holds has no reader
                    pipe.close()

    def _look_for_a_stranger(self) -> None:
        """Count the child if it is dead by a signal that was not ours."""
        ours = self.timed_out or self._killed_at < math.inf or self._counted
        if not ours and self._process.poll() in _ENDED_BY_OTHERS:
            self._counted = True
            _strangers.append(self.pid)

    def _time_is_up(self) -> None:
        self.timed_out = True
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self.kill()

    def _signal(self, number: int) -> None:
        # Also after the leader was waited for: a group keeps its number while it has members.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _drain(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as pipe:
            while block := pipe.read1(_BLOCK):  # type: ignore[attr-defined]
                self._tail = (self._tail + block)[-_TAIL_BYTES:]


def _environment(parent: Mapping[str, str]) -> dict[str, str]:
    """What a child needs to start and to stay on its task's own GPU, and no credentials."""
    names = ("PATH", "LD_LIBRARY_PATH", "TMPDIR", "CUDA_VISIBLE_DEVICES")
    kept = {name: parent[name] for name in names if name in parent}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each thread costs address space
    # The parent's own search path, so that a Python child finds this package however it was installed.
    return {**kept, **threads, "LANG": "C.UTF-8", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _limiter(limits: Limits) -> Callable[[], None]:
    """What the child does to itself before it becomes the program."""
    memory, file = limits.memory_gb * 1e9, int(limits.file_gb * 1e9)
    cpu = math.ceil(limits.cpu_s)
    parent = os.getpid()

    def limit() -> None:
        if math.isfinite(memory):
            resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
        resource.setrlimit(resource.RLIMIT_FSIZE, (file, file))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        die_with(parent)

    return limit


def die_with(parent: int) -> None:
    """Called by a new child: the kernel is to kill it when the thread of `parent` that has started it ends."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)


def limit_reached(finished: Finished) -> str | None:
    """Which limit or crash ended a child; None: it ended by itself."""
    code, tail = finished.returncode, finished.stderr_tail
    number = -code if code < 0 else code - 128
    if finished.timed_out:
        return "time limit: it was still running after its wall-clock limit"
    if finished.flooded:
        return "size limit: it wrote more than it may"
    # ffmpeg takes SIGXCPU for a wish to end.
    if number == signal.SIGXCPU or (code == 255 and "signal 24" in tail):
        return "time limit: it used up its CPU seconds"
    if number == signal.SIGXFSZ or (code and "file too large" in tail.lower()):
        return "size limit: it wrote a file larger than it may"
    if code and _OUT_OF_MEMORY.search(tail):
        return "memory limit: it asked for more than it may have"
    if number == signal.SIGKILL:
        return "killed (SIGKILL): out of memory?"
    if number in _CRASHES:
        return f"crash ({signal.Signals(number).name})"
    return None


def explain(finished: Finished) -> str:
    """One line, the same on every machine, that says how a child failed."""
    reached = limit_reached(finished)
    if reached is not None:
        return reached
    lines = [line.strip() for line in finished.stderr_tail.splitlines() if line.strip()]
    telling = [line for line in lines if not _AFTERMATH.search(line)] or lines
    if not telling:
        return f"ended with status {finished.returncode} and said nothing"
    # Addresses differ from run to run; control characters would be played back to a terminal.
    line = re.sub(r" @ 0x[0-9a-f]+", "", telling[-1])
    return "".join(c if c.isprintable() else "?" for c in line)[:300]
