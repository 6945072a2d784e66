"""The pictures in the README: the report of a finished run, the viewer over it, and a grid of its clips.

python tools/gallery.py RUN                # writes tools/gallery/*.jpg; needs Chromium and the extra `app`
"""

from __future__ import annotations

import argparse
import io
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chromium import Chromium
from PIL import Image

FOLDER = Path(__file__).with_name("gallery")
WINDOW_PX = (1400, 1000)
WIDTH_PX = 1000  # of the pictures
VIEWER_S = 60.0
CURATE = (sys.executable, "-m", "hpc_curate")
# The tiles load lazily, behind a websocket: nothing that a load event would tell.
PLAYING = "[...document.querySelectorAll('iframe, video')].length > 0 && !document.querySelector('[data-stale=true]')"


def save(name: str, png: bytes) -> None:
    """The upper part of a page, small enough for a README."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(picture.height, picture.width * WINDOW_PX[1] // WINDOW_PX[0])))
    picture.thumbnail((WIDTH_PX, WIDTH_PX))
    path = FOLDER / f"{name}.jpg"
    picture.save(path, quality=82, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


@contextmanager
def viewer(run: Path) -> Iterator[str]:
    """The address of `hpc-curate browse` over a run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [*CURATE, "browse", str(run), "--verdicts", f"{folder}/verdicts.parquet", "--nsamples", "12"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def wait_for_tiles(browser: Chromium) -> None:
    """Return when the page has drawn itself and the first frames are there."""
    end = time.monotonic() + VIEWER_S
    while not browser.tell(PLAYING):
        if time.monotonic() > end:
            raise SystemExit(f"the viewer shows nothing after {VIEWER_S:.0f} s")
        time.sleep(0.5)
    time.sleep(8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    FOLDER.mkdir(exist_ok=True)
    said = subprocess.run([*CURATE, "report", str(run)], check=True, stdout=subprocess.PIPE, text=True).stdout
    report = Path(said.split()[-1]).parent
    with Chromium() as browser:
        browser.look(WINDOW_PX[0])
        for name, page in {"report": "index", "clips": "clips", "thresholds": "thresholds"}.items():
            browser.open(report / f"{page}.html")
            save(name, browser.picture(most_px=WINDOW_PX[1]))
        with viewer(run) as address:
            browser.visit(address)
            wait_for_tiles(browser)
            save("browse", browser.window())
    with tempfile.TemporaryDirectory() as folder:
        sheet = Path(folder) / "sheet.png"
        grid = ("--cols", "5", "--rows", "4", "--by", "reason")
        subprocess.run([*CURATE, "preview", str(run), "-o", str(sheet), *grid], check=True)
        save("preview", sheet.read_bytes())


if __name__ == "__main__":
    main()
