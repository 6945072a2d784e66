"""Fixtures for any test, and two rules: an ERROR in the log fails a test; so does a skip where all is required."""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from holding import waiting_ffmpeg

ROOT = Path(__file__).resolve().parent.parent


# What a shell starts in the background ignores these two, and so would all that the tests start and signal.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


def _must_run(item: pytest.Item | None) -> bool:
    """Whether a skip of this test is a failure. A GPU is asked for by a variable of its own: few machines have one."""
    if item is not None and item.get_closest_marker("gpu"):
        return os.environ.get("HPC_CURATE_REQUIRE_GPU") == "1"
    return os.environ.get("HPC_CURATE_REQUIRE_ALL") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and _must_run(item):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: nothing may be skipped here, but: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    if report.outcome == "skipped" and _must_run(None):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: nothing may be skipped here, but: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def no_error_in_the_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test that logged an ERROR. A test that expects one asserts it and calls `caplog.clear()`."""
    yield
    errors = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert not errors, f"ERROR in the log: {errors}"


@pytest.fixture(scope="session")
def footage() -> Path:
    """The folder of real clips (tools/sample_footage.py --set tests): bbb.mp4, bikes.mp4, demo.* and so on."""
    script = ROOT / "tools" / "sample_footage.py"
    listed = subprocess.run([sys.executable, script, "--set", "tests", "--list"], check=True, stdout=subprocess.PIPE)
    named = os.environ.get("HPC_CURATE_FOOTAGE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (Path(named) if named else cache / "hpc_curate" / "footage") / "tests"
    missing = [name for name in listed.stdout.decode().split() if not (folder / name).is_file()]
    if missing:
        pytest.skip(f"{len(missing)} clips are not in {folder}; run tools/sample_footage.py --set tests")
    return folder


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """The ffmpeg that the package itself would run."""
    child = pytest.importorskip("hpc_curate.io.child")
    return str(child.ffmpeg())


@pytest.fixture(scope="session")
def still(footage: Path, ffmpeg: str) -> Callable[[str, float], Any]:
    """Decodes one frame of a real clip at its own size: `still("bikes.mp4", 3)` is uint8 [272, 640, 3], RGB."""
    image = pytest.importorskip("PIL.Image")
    numpy = pytest.importorskip("numpy")

    @lru_cache(maxsize=32)
    def decode(name: str, at_s: float) -> Any:
        command = [ffmpeg, "-v", "error", "-nostdin", "-ss", str(at_s), "-i", str(footage / name), "-frames:v", "1"]
        command += ["-vf", "scale=out_range=full", "-c:v", "png", "-f", "image2pipe", "-"]
        png = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        return numpy.asarray(image.open(io.BytesIO(png)).convert("RGB"))

    return decode


@pytest.fixture(scope="session")
def image() -> Path:
    """The image of slurm/hpc_curate.def with this hpc_curate, for Apptainer: a folder."""
    folder = os.environ.get("HPC_CURATE_IMAGE")
    if not folder or not shutil.which("apptainer"):
        pytest.skip("no Apptainer, or no image; `tools/check.sh --install` makes both")
    return Path(folder)


@pytest.fixture
def make_video(ffmpeg: str, tmp_path: Path) -> Callable[..., Path]:
    """Makes a small clip and returns its path.

    `make_video()` is two seconds of a test picture, 64x48, 10 frames/s, H.264. `source` is any lavfi graph, and what
    follows goes to ffmpeg before the output, so that the command is in the test:
    `make_video("dark.mkv", "color=black:s=64x48:r=24000/1001:d=1", "-c:v", "libx264", "-bf", "2")`.
    """

    def make(name: str = "video.mp4", source: str = "testsrc=s=64x48:r=10:d=2", *options: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not options:
            options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-threads", "1")
        command = [ffmpeg, "-v", "error", "-nostdin", "-y", "-f", "lavfi", "-i", source, *options, f"file:{path}"]
        subprocess.run(command, check=True)
        return path

    return make


@pytest.fixture
def held_ffmpeg(ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file; until it is deleted no ffmpeg of a task does its work, so that the task can be seen running."""
    program, hold = waiting_ffmpeg(tmp_path, ffmpeg)
    monkeypatch.setenv("HPC_CURATE_FFMPEG", str(program))
    return hold


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the fake scheduler's state; its commands are on the PATH."""
    state, programs = tmp_path / "slurm", tmp_path / "bin"
    state.mkdir()
    programs.mkdir()
    fake = (ROOT / "tests" / "fake_slurm" / "fake.py").read_text()
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sacct", "sacctmgr", "srun"):
        program = programs / name
        program.write_text(f"#!{sys.executable}\n{fake}")
        program.chmod(0o755)
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    return state


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Any]:
    """Makes a saved plan from overrides, over as many units as asked for; their videos are none."""

    def prepare(*overrides: str, units: int = 25) -> Any:
        config, run = pytest.importorskip("hpc_curate.config"), pytest.importorskip("hpc_curate.run")
        config.register()
        folder = tmp_path / "videos"
        folder.mkdir(exist_ok=True)
        for number in range(units):
            (folder / f"{number}.mp4").write_bytes(b"x" * (number + 1))
        common = [f"input={folder}", f"run_dir={tmp_path / 'run'}", "launch=slurm", "unit.videos=1"]
        return run.prepare(config.resolve(run.compose([*common, *overrides])))

    return prepare


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build needs, because setuptools leaves folders of its own behind where it builds."""
    copy = tmp_path_factory.mktemp("copy") / "checkout"
    for folder in ("hpc_curate", "conf"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for path in ROOT.iterdir():
        if path.name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(path, copy / path.name)
    return copy
