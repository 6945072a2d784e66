"""`hpc-curate browse` in a process of its own, a browser without a window, and what a person does with a page."""

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
from waiting import eventually

COMMAND = [sys.executable, "-c", "import sys; from hpc_curate.cli import main; sys.exit(main())", "browse"]
PATIENCE_S = 180  # a busy machine, and torch is loaded at the first search for words
PLAYED = """return [...document.querySelectorAll('video')].filter(
    one => one.played.length && one.played.end(0) - one.played.start(0) > 0.3).length"""


@contextmanager
def serving(*words: str, verdicts: Path) -> Iterator[str]:
    """A viewer, and the address that it printed."""
    pytest.importorskip("streamlit")
    command = [*COMMAND, *words, "--verdicts", str(verdicts)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(PATIENCE_S) == 0


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser without a window."""
    webdriver = pytest.importorskip("selenium.webdriver")
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if not driver or not program:
        pytest.skip("no chromium or no chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for word in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={profile}")
    if os.geteuid() == 0 or not Path("/proc/self/ns/user").exists():
        options.add_argument("--no-sandbox")  # it cannot make its own as root
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield browser
    finally:
        browser.quit()


def until(true: Callable[[], Any]) -> Any:
    """What it returns as soon as that is true of the page."""

    def drawn() -> Any:
        try:
            return true()
        except Exception:  # the page is being drawn anew
            return None

    return eventually(drawn, PATIENCE_S)


class Page:
    """What a person does with a page."""

    def __init__(self, browser: Any, address: str) -> None:
        self.browser, self.address = browser, address
        browser.get(address)

    def go(self, name: str) -> None:
        self.browser.get(f"{self.address.partition('?')[0]}{name}")

    def find(self, css: str) -> list[Any]:
        return self.browser.find_elements("css selector", css)

    def titles(self) -> list[str]:
        return [title.text for title in self.find(".look-title")]

    def shows(self, text: str) -> bool:
        return text in self.browser.find_element("tag name", "body").text

    def plays(self, count: int) -> bool:
        """Whether so many videos do, or have done so."""
        return self.browser.execute_script(PLAYED) == count

    # What is found may be drawn anew before anything is done with it.

    def click(self, css: str) -> None:
        until(lambda: self.find(css)[0].click() or True)

    def click_unseen(self, css: str) -> None:
        """As a script would: what a pointer must be over to see, and what something else covers."""
        until(lambda: self.browser.execute_script("document.querySelector(arguments[0]).click(); return true", css))

    def type(self, css: str, *keys: str) -> None:
        until(lambda: self.find(css)[0].send_keys(*keys) or True)

    def press(self, text: str) -> None:
        # No look at other buttons after the click: the page may be drawn anew, without them.
        until(lambda: next(one for one in self.find("button") if text in one.text).click() or True)
