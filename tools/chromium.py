"""A headless Chromium that opens pages, measures how they are drawn, and takes pictures of them.

    python tools/chromium.py PAGE.html FOLDER     # narrow and wide, light and dark: four PNGs

It is spoken to through a pipe (DevTools protocol), so no port is opened and no package is needed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

WIDTHS_PX = {"narrow": 400, "wide": 1400}
SCHEMES = ("light", "dark")
_TALLEST_PX = 16_000  # of a picture
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--mute-audio")


class Chromium:
    """One page of a browser of its own."""

    def __init__(self) -> None:
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if program is None:
            raise SystemExit("there is no Chromium on PATH")
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs, self._out = os.pipe()
        self._in, also_theirs = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        pipes = f'exec "$@" 3<&{theirs} 4>&{also_theirs}'
        arguments = [program, *_FLAGS, f"--user-data-dir={self._profile.name}", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            ["bash", "-c", pipes, "bash", *arguments], pass_fds=(theirs, also_theirs), stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(also_theirs)
        self._number, self._rest, self._session = 0, b"", ""
        page = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self.ask("Page.enable")
        self.ask("Performance.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        self._profile.cleanup()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        own = {"id": self._number, "method": method, "params": parameters}
        message = {**own, "sessionId": self._session} if self._session else own
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (said := self._read()).get("id") != self._number:
            pass
        if "error" in said:
            raise RuntimeError(f"{method}: {said['error']['message']}")
        result: dict[str, Any] = said["result"]
        return result

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._in, 1 << 20)
            if not more:
                raise RuntimeError("Chromium has ended")
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        said: dict[str, Any] = json.loads(text)
        return said

    def look(self, width_px: int, scheme: str = "light") -> None:
        """How wide the window is, and which colours the person prefers."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width_px, height=900, deviceScaleFactor=1, mobile=False)
        self.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, page: Path) -> None:
        """Load a file, until everything of it is there."""
        self.visit(page.absolute().as_uri())

    def visit(self, address: str) -> None:
        """Load a page, until everything of it is there."""
        self.ask("Page.navigate", url=address)
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def figures(self) -> dict[str, float]:
        """What the browser has counted and timed of the page: `Nodes`, `LayoutDuration` in seconds, and more."""
        return {one["name"]: one["value"] for one in self.ask("Performance.getMetrics")["metrics"]}

    def tell(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def window(self) -> bytes:
        """A PNG of what the window shows, as it is: a larger one would move what lives in the page."""
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def picture(self, top_px: int = 0, most_px: int = _TALLEST_PX) -> bytes:
        """A PNG of the whole page, or of as much as `most_px` from `top_px` on."""
        # Pictures outside the window wait until somebody scrolls there.
        load = "Promise.all([...document.images].map(one => { one.loading = 'eager'; return one.decode() }))"
        self.ask("Runtime.evaluate", expression=load, awaitPromise=True)
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        height = max(1, min(size["height"] - top_px, most_px))
        clip = {"x": 0, "y": top_px, "width": size["width"], "height": height, "scale": 1}
        taken = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(taken["data"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with Chromium() as browser:
        for width, pixels in WIDTHS_PX.items():
            for scheme in SCHEMES:
                browser.look(pixels, scheme)
                browser.open(given.page)
                path = given.folder / f"{given.page.stem}.{width}.{scheme}.png"
                path.write_bytes(browser.picture())
                print(path)


if __name__ == "__main__":
    main()
