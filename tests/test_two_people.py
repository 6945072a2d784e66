"""Two users of one group at one shared run: what one has begun the other goes on with, and nothing is published twice.

They are two user ids of this machine, so only root can be both of them; tools/check.sh runs this file as root.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from holding import waiting_ffmpeg
from waiting import eventually

from hpc_curate.run_folder import privacy

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.getuid() != 0, reason="only root can be two people; tools/check.sh as root"),
]

ROOT = Path(__file__).resolve().parent.parent
GROUP = 64320  # numbers that nobody has
UNITS = 4


@dataclass(frozen=True)
class Person:
    """A user with no rights of root's, in the group."""

    uid: int
    place: Path
    ffmpeg: str

    def start(self, *command: str | Path) -> subprocess.Popen[str]:
        rights = [f"--reuid={self.uid}", f"--regid={GROUP}", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        environment = {**os.environ, "HOME": str(self.place), "PYTHONPATH": str(ROOT), "TMPDIR": "/tmp"}
        environment["HPC_CURATE_FFMPEG"] = self.ffmpeg
        return subprocess.Popen(
            ["setpriv", *rights, "--", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.place,
            env=environment,
            umask=0o022,
        )

    def curates(self, *words: str | Path) -> subprocess.Popen[str]:
        return self.start(sys.executable, "-m", "hpc_curate", *words)

    def does(self, *words: str | Path, code: int = 0) -> str:
        said, ended = self.ends(self.curates(*words))
        assert ended == code, said
        return said

    def ends(self, process: subprocess.Popen[str]) -> tuple[str, int]:
        said, _ = process.communicate(timeout=200)
        return said, process.returncode

    def signals(self, number: signal.Signals) -> None:
        """To everything of this user."""
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if process.stat().st_uid == self.uid:
                    os.kill(int(process.name), number)


@pytest.fixture
def place(ffmpeg: str) -> Iterator[Path]:
    """A folder where both may make folders, with videos that both may read."""
    folder = Path(tempfile.mkdtemp(prefix="hpc_curate-two-"))
    os.chown(folder, 0, GROUP)
    folder.chmod(0o770)
    (folder / "videos").mkdir()
    for number in range(UNITS):
        picture = ["-f", "lavfi", "-i", f"testsrc2=s=320x240:r=25:d={30 if number == 0 else 3}", "-c:v", "libx264"]
        subprocess.run([ffmpeg, "-v", "error", *picture, folder / "videos" / f"{number}.mp4"], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def people(place: Path, ffmpeg: str) -> Iterator[tuple[Person, Person]]:
    two = Person(64321, place, ffmpeg), Person(64322, place, ffmpeg)
    yield two
    for one in two:
        one.signals(signal.SIGKILL)


@pytest.fixture
def held(people: tuple[Person, Person], place: Path, ffmpeg: str) -> tuple[Person, Path]:
    """The first of them, whose units are begun and not done until a file is deleted, and that file."""
    program, hold = waiting_ffmpeg(place, ffmpeg)
    return replace(people[0], ffmpeg=str(program)), hold


@pytest.fixture
def words(place: Path) -> list[str]:
    settings = ["stage=[scan,shots]", "measure=[exposure]", "cutter=stride", "unit.videos=1"]
    return [f"input={place / 'videos'}", f"run_dir={place / 'run'}", "shareable=true", *settings]


def records(place: Path, stage: str) -> dict[int, dict[str, Any]]:
    """The record of every unit that is done, and whose it is."""
    files = place.glob(f"run/{stage}/*/done/0*.json")
    return {int(path.stem): {**json.loads(path.read_text()), "uid": path.stat().st_uid} for path in files}


def test_two_who_run_at_once_publish_every_unit_once(
    people: tuple[Person, Person], place: Path, words: list[str]
) -> None:
    started = [one.curates("run", *words) for one in people]
    for one, process in zip(people, started, strict=True):
        said, code = one.ends(process)
        assert code == 0, said
    logs = "".join(path.read_text() for path in place.glob("run/logs/*/*/*_log.out"))
    for stage in ("scan", "shots"):
        done = records(place, stage)
        assert {unit: (record["revision"], record["takeovers"]) for unit, record in done.items()} == {
            unit: (1, 0) for unit in range(UNITS)
        }
        computed = re.findall(rf"{stage} unit (\d+): \d+ rows", logs)
        assert sorted(map(int, computed)) == list(range(UNITS))
    assert {path.name for path in place.glob("run/logs/scan/*")} == {str(one.uid) for one in people}


def test_what_one_has_begun_the_other_goes_on_with(
    people: tuple[Person, Person], held: tuple[Person, Path], place: Path, words: list[str]
) -> None:
    (one, other), words = people, [*words, "limits.lease_s=3"]  # nobody is at work beside another here
    one.does("run", *words, "launch=none")
    one.does("work", place / "run", "scan", "--unit", "1")
    first = held[0].curates("run", *words)
    eventually(lambda: any(json.loads(path.read_text())["pids"] for path in place.glob("run/submissions/*.json")))
    eventually(lambda: list(place.glob("run/scan/*/claims/*/*.claim")))
    assert re.search(rf"left scan, job local-\d+: only {one.uid} can cancel it", other.does("cancel", place / "run"))
    one.signals(signal.SIGKILL)
    one.ends(first)
    assert set(records(place, "scan")) == {1}
    assert '"done": ' in other.does("status", place / "run", "--json")
    other.does("retry", place / "run")
    assert {unit: (record["revision"], record["uid"]) for unit, record in records(place, "scan").items()} == {
        unit: (1, one.uid if unit == 1 else other.uid) for unit in range(UNITS)
    }
    assert {record["uid"] for record in records(place, "shots").values()} == {other.uid}
    one.does("run", *words, "cutter.stride.stride_s=2")  # over what the other has made
    assert (place / "run" / "latest").stat().st_uid == one.uid
    assert {path.stat().st_uid for path in place.glob("run/shots/*/done/0*.json")} == {one.uid, other.uid}


def test_a_worker_that_was_stopped_is_relieved_by_the_other_and_publishes_nothing(
    people: tuple[Person, Person], held: tuple[Person, Path], place: Path, words: list[str]
) -> None:
    (one, other), (slow, hold) = people, held
    one.does("run", *words, "launch=none", "limits.lease_s=3")
    stopped = slow.curates("work", place / "run", "scan", "--unit", "0")
    eventually(lambda: list(place.glob("run/scan/*/claims/00000/*.claim")))
    one.signals(signal.SIGSTOP)
    other.does("work", place / "run", "scan", "--unit", "0")
    (before,) = records(place, "scan").values()
    assert (before["uid"], before["revision"], before["takeovers"]) == (other.uid, 1, 1)
    hold.unlink()
    one.signals(signal.SIGCONT)
    said, _ = one.ends(stopped)
    assert "taken over" in said
    assert records(place, "scan") == {0: before}


def test_what_is_unpickled_the_other_may_read_and_not_write(
    people: tuple[Person, Person], place: Path, words: list[str]
) -> None:
    one, other = people
    one.does("run", *words, "unit.videos=64")
    pickle = next(place.glob(f"run/logs/scan/{one.uid}/*_submitted.pkl"))
    for line, code in (
        (f"cat {pickle}", 0),
        (f"echo >>{pickle}", 1),
        (f"mv {pickle} {pickle}.old", 1),
        (f"touch {pickle.parent}/new", 1),
        (f"touch {place}/run/new", 0),
    ):
        said, ended = other.ends(other.start("bash", "-c", f"{line} >/dev/null"))
        assert min(ended, 1) == code, said


def test_a_private_run_is_nobody_elses(people: tuple[Person, Person], place: Path, words: list[str]) -> None:
    one, other = people
    one.does("run", *words, "shareable=false", "launch=none")
    assert "is not a folder that can be written" in other.does("run", *words, "launch=none", code=2)
    assert "is private" in other.does("status", place / "run", code=2)
    assert other.ends(other.start("ls", place / "run"))[1]


def test_who_forgets_to_say_that_a_run_is_shared_is_not_told_to_close_it(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (place / "run").mkdir()
    os.chown(place / "run", 64321, GROUP)
    privacy.warn(place / "run", {"shareable": False})
    assert f"shared with group {GROUP}" in caplog.text and "add shareable=true, or give run_dir" in caplog.text
    assert "chmod" not in caplog.text
