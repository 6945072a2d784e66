"""A run, a viewer and a browser, each started once."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli

COMMAND = [sys.executable, "-c", "import sys; from hpc_curate.cli import main; sys.exit(main())", "browse"]


@pytest.fixture(scope="session")
def make_clip(ffmpeg: str) -> Callable[[Path, str], None]:
    """Makes a small video that browsers play, or would, if its container were another."""

    def make(path: Path, source: str) -> None:
        command = [ffmpeg, "-v", "error", "-nostdin", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-g", "12"]
        subprocess.run([*command, "-threads", "1", f"file:{path}"], check=True)

    return make


@pytest.fixture(scope="session")
def judged_run(make_clip: Callable[[Path, str], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run up to select over four videos: two that look alike, one that hardly moves, one that is like no other."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "videos").mkdir()
    sources = {
        "fractal.mp4": "mandelbrot=s=640x360:r=24,trim=duration=3",
        "fractal again.mp4": "mandelbrot=s=640x360:r=24,trim=duration=3,eq=brightness=0.02",
        "bars.mp4": "smptebars=s=640x360:r=24:d=3",
        "life.mp4": "life=s=640x360:r=24:mold=10:ratio=0.3:seed=1,trim=duration=3",
    }
    for name, source in sources.items():
        make_clip(folder / "videos" / name, source)
    words = [f"input={folder / 'videos'}", f"run_dir={folder / 'run'}", "launch=inline", "gate=none", "select=none"]
    words += ["stage=[scan,shots,gate,embed,dedup,select]", "+stage.select.rules.motion.min=0.002"]
    assert cli.main(["run", *words]) == 0
    return folder / "run"


@contextmanager
def serving(*words: str, verdicts: Path) -> Iterator[str]:
    command = [*COMMAND, *words, "--verdicts", str(verdicts), "--port", "8750"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0


@pytest.fixture(scope="session")
def serve() -> Callable[..., Any]:
    """`with serve(target, verdicts=path) as address`: a viewer, and the address that it printed."""
    pytest.importorskip("streamlit")
    return serving


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser without a window."""
    webdriver = pytest.importorskip("selenium.webdriver")
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not program:
        pytest.skip("no chromium or no chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    profile = tmp_path_factory.mktemp("profile")
    for word in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={profile}")
    if os.geteuid() == 0 or not Path("/proc/self/ns/user").exists():
        options.add_argument("--no-sandbox")  # it cannot make its own as root
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()
