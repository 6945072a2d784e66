"""The package as a wheel, outside the checkout; and which extras may be installed together."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOGETHER = "torch,vlm,hydra,web,app,test"
SMALL = ["", "cpu", "hydra", "web", "app", "test"]
LARGE = ["gpu", "torch", f"cpu,{TOGETHER}"]
ALL_WITH_GPU = f"gpu,{TOGETHER}"
HEAVY = {"cv2", "faiss", "onnxruntime", "scenedetect", "torch"}
# Packages of one import name: installed together, the last one breaks the others.
RIVALS = [
    {"opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"},
    {"faiss-cpu", "faiss-gpu"},
    {"onnxruntime", "onnxruntime-gpu"},
    {"scenedetect", "scenedetect-headless"},
    {"decord", "decord2"},
]


def pip(python: Path | str, *arguments: str) -> str:
    command = [str(python), "-m", "pip", *arguments, "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=outside())
    assert done.returncode == 0, done.stderr
    return done.stdout


def outside() -> dict[str, str]:
    """An environment in which nothing points at the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def fresh(folder: Path) -> Path:
    """The Python of a new virtual environment."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def clashes(distributions: list[importlib.metadata.Distribution]) -> dict[str, list[str]]:
    """Files that two distributions own with different content: what is installed last breaks the other."""
    owners: dict[str, dict[str, str]] = defaultdict(dict)
    for distribution in distributions:
        for file in distribution.files or []:
            if file.hash is not None:
                owners[str(file)][distribution.name] = file.hash.value
    return {file: sorted(owned) for file, owned in owners.items() if len(set(owned.values())) > 1}


def installed(python: Path) -> list[importlib.metadata.Distribution]:
    (folder,) = python.parent.parent.glob("lib/python3*/site-packages")
    return list(importlib.metadata.distributions(path=[str(folder)]))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, checkout):
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), str(checkout))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(tmp_path_factory, wheel):
    """A Python that has the wheel and what it needs, and no extra."""
    python = fresh(tmp_path_factory.mktemp("core") / "venv")
    pip(python, "install", str(wheel))
    return python


def test_the_wheel_carries_the_package_and_conf(wheel):
    def files(folder, prefix=""):
        paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        return {f"{prefix}{path.relative_to(folder.parent)}": path.read_bytes() for path in paths}

    with zipfile.ZipFile(wheel) as pack:
        carried = {name: pack.read(name) for name in pack.namelist() if ".dist-info/" not in name}
    wanted = files(ROOT / "hpc_curate") | files(ROOT / "conf", "hpc_curate/")
    assert sorted(carried) == sorted(wanted)
    assert all(carried[name] == wanted[name] for name in wanted)


def test_the_command_works_outside_the_checkout_and_without_torch(python, tmp_path):
    help = subprocess.run([python.parent / "hpc-curate", "--help"], cwd=tmp_path, env=outside(), capture_output=True)
    assert help.returncode == 0, help.stderr.decode()
    assert not {"torch", "onnxruntime", "opencv-python-headless"} & {found.name for found in installed(python)}
    code = "import hpc_curate.cli, hpc_curate.config, sys; print(hpc_curate.config.conf_dir()); print(*sys.modules)"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, env=outside(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    conf, loaded = done.stdout.splitlines()
    assert conf.endswith("site-packages/hpc_curate/conf")
    assert not HEAVY & set(loaded.split())


def test_a_plan_is_composed_outside_the_checkout(python, tmp_path):
    """`--cfg job` shows what Hydra makes of conf/ and of the settings in the code."""
    (tmp_path / "videos").mkdir()
    command = [python.parent / "hpc-curate", "run", "input=videos", "run_dir=run", "--cfg", "job"]
    done = subprocess.run(command, cwd=tmp_path, env=outside(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "run_dir: run" in done.stdout


def test_an_editable_install_reads_conf_of_the_checkout(python, checkout, tmp_path):
    other = fresh(tmp_path / "venv")
    pip(other, "install", "--no-deps", "--editable", str(checkout))
    (shared,) = python.parent.parent.glob("lib/python3*/site-packages")
    (own,) = other.parent.parent.glob("lib/python3*/site-packages")
    for path in shared.iterdir():  # what the core needs, but not the wheel
        if not path.name.startswith("hpc_curate") and not (own / path.name).exists():
            (own / path.name).symlink_to(path)
    code = "import hpc_curate.config as config; print(config.conf_dir())"
    done = subprocess.run([other, "-c", code], cwd=tmp_path, env=outside(), capture_output=True, text=True)
    assert done.stdout.strip() == str(checkout / "conf"), done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "extras", [*SMALL, ALL_WITH_GPU, *(pytest.param(extras, marks=pytest.mark.slow) for extras in LARGE)]
)
def test_no_extra_brings_two_packages_of_one_name(wheel, extras, tmp_path):
    report = tmp_path / "report.json"
    asked = f"{wheel}[{extras}]" if extras else str(wheel)
    pip(sys.executable, "install", "--dry-run", "--ignore-installed", "--report", str(report), asked)
    chosen = {found["metadata"]["name"].lower() for found in json.loads(report.read_text())["install"]}
    assert [rivals & chosen for rivals in RIVALS if len(rivals & chosen) > 1] == []
    assert ("torch" in chosen) == ("torch" in extras.split(","))


def test_no_two_packages_that_are_installed_here_own_one_file():
    """Where CI runs, this environment is `cpu` and all that may go with it."""
    assert clashes(list(importlib.metadata.distributions())) == {}


def test_two_packages_with_one_file_are_found(tmp_path):
    for name, content, digest in (("one", "a = 1", "aaa"), ("two", "a = 2", "bbb"), ("three", "a = 2", "bbb")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"cv2/__init__.py,sha256={digest},{len(content)}\ncv2/{name}.py,sha256=c,1\n")
    found = clashes(list(importlib.metadata.distributions(path=[str(tmp_path)])))
    assert found == {"cv2/__init__.py": ["one", "three", "two"]}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("extras", [*SMALL[1:], *LARGE, ALL_WITH_GPU])
def test_an_extra_installs_and_no_two_packages_own_one_file(wheel, extras, tmp_path):
    python = fresh(tmp_path / "venv")
    try:
        pip(python, "install", f"{wheel}[{extras}]")
        found = clashes(installed(python))
        checked = subprocess.run([python, "-m", "pip", "check"], capture_output=True, text=True)
    finally:
        shutil.rmtree(tmp_path / "venv")  # several gigabytes each
    assert found == {}
    assert "No broken requirements" in checked.stdout
