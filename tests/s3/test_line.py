"""The whole line from one prefix of a real object store to another."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import config, overrides
from hpc_curate import run as verb
from hpc_curate.element.worker import Allocation, Element
from hpc_curate.run_folder.ledger import Ledger
from hpc_curate.run_folder.state import State

pytestmark = pytest.mark.timeout(600)

VIDEOS = {"a.mp4": "testsrc2=s=320x240:r=12:d=4", "b b.mp4": "mandelbrot=s=320x240:r=12"}
# Test pictures pass the rules, and a tar holds one sample, so that there are several.
RULES = ("crop_short_side_px", "fps", "motion", "freeze_share", "luma_mean", "bits_per_pixel")
SETTINGS = [f"stage.{stage}.rules.{rule}=null" for stage in ("gate", "select") for rule in RULES]
SETTINGS += ["stage.select.duplicates=false", "stage.shard.max_samples=1", "launch=inline"]


def curate(*arguments: str, code: int = 0) -> str:
    """Run the command line as a user would; returns all that it said."""
    command = [sys.executable, "-m", "hpc_curate", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == code, done.stdout
    return done.stdout


def place(said: str) -> str:
    return re.search(r"^ *data set: (.*)$", said, re.MULTILINE)[1]


def in_folder(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def tars(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if name.endswith(".tar")}


@pytest.fixture(scope="module")
def asked(s3: Any, ffmpeg: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments of `run`, with two videos in the store."""
    folder, raw = tmp_path_factory.mktemp("videos"), s3.folder()
    for name, source in VIDEOS.items():
        command = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", source, "-t", "4", "-pix_fmt", "yuv420p"]
        subprocess.run([*command, "-c:v", "libx264", "-threads", "1", folder / name], check=True)
        s3.put(f"{raw}/{name}", (folder / name).read_bytes(), folder)
    store = [f"source.endpoint={s3.settings.endpoint}", f"source.profile={s3.settings.profile}"]
    return ["run", f"input={raw}", *store, *SETTINGS]


@pytest.fixture(scope="module")
def local(asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A run whose data set is in its run folder, and the data set."""
    run = tmp_path_factory.mktemp("local") / "run"
    said = curate(*asked, f"run_dir={run}")
    assert Path(place(said)).is_relative_to(run)
    files = in_folder(place(said))
    assert len(tars(files)) == 2
    return run, files


@pytest.fixture(scope="module")
def delivered(s3: Any, asked: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path, str]:
    """A run from the store to the store: its arguments, its folder, and the prefix of its data set."""
    run, output = tmp_path_factory.mktemp("delivered") / "run", f"{s3.folder()}/sets"
    arguments = [*asked, f"run_dir={run}", f"output={output}/"]
    prefix = place(curate(*arguments))
    assert re.fullmatch(f"{output}/[0-9a-f]+/", prefix)
    return arguments, run, prefix


def in_store(s3: Any, prefix: str) -> dict[str, bytes]:
    return {name: s3.get(prefix + name) for name in s3.names(prefix)}


def test_from_store_to_store_it_makes_the_same_data_set(s3: Any, local: Any, delivered: Any) -> None:
    (_, expected), (_, run, prefix) = local, delivered
    found = in_store(s3, prefix)
    urls = found.pop("urls.txt").decode()
    assert urls == "".join(f"{prefix}{line}\n" for line in expected["urls.txt"].decode().splitlines())
    assert found == {name: content for name, content in expected.items() if name != "urls.txt"}
    assert list(run.rglob("*.tar")) == [], "tars were built on scratch"


def test_webdataset_reads_the_urls_through_s5cmd(s3: Any, delivered: Any) -> None:
    webdataset = pytest.importorskip("webdataset")
    prefix = delivered[2]
    reader = f"pipe:{s3.s5cmd} --endpoint-url {s3.settings.endpoint} --profile {s3.settings.profile} cat"
    urls = s3.get(f"{prefix}urls.txt").decode().split()
    samples = [sample for url in urls for sample in webdataset.WebDataset(f"{reader} {url}", shardshuffle=False)]
    assert len(samples) == len(VIDEOS)
    assert {json.loads(sample["json"])["source"] for sample in samples} == set(VIDEOS)


def test_no_secret_lies_in_the_run_folder(delivered: Any) -> None:
    secrets = re.findall(r"secret_access_key = (\S+)", Path(os.environ["AWS_SHARED_CREDENTIALS_FILE"]).read_text())
    files = [path for path in delivered[1].rglob("*") if path.is_file()]
    assert len(secrets) == 2 and len(files) > 20
    assert [path for path in files for secret in secrets if secret.encode() in path.read_bytes()] == []


def test_another_place_gets_the_same_tars_and_nothing_before_them_is_made_again(
    local: Any, asked: list[str], tmp_path: Path
) -> None:
    run, expected = local
    cut = {path: path.stat().st_mtime_ns for path in run.glob("cut/*/*.parquet")}
    arguments = [*asked, f"run_dir={run}", f"output={tmp_path / 'sets'}"]
    folder = place(curate(*arguments))
    assert Path(folder).parent == tmp_path / "sets"
    assert in_folder(folder) == expected
    assert {path: path.stat().st_mtime_ns for path in run.glob("cut/*/*.parquet")} == cut
    victim = Path(folder) / min(tars(expected))
    victim.write_bytes(victim.read_bytes()[:-512])
    assert place(curate(*arguments)) == folder
    assert in_folder(folder) == expected, "the ledger knows files outside the run folder too"


def test_index_names_objects_that_are_gone_short_or_too_many_and_the_same_command_brings_them_back(
    s3: Any, delivered: Any, tmp_path: Path
) -> None:
    arguments, _, prefix = delivered
    before = in_store(s3, prefix)
    gone, short = sorted(tars(before))
    s3.remove(prefix + gone)
    s3.put(prefix + short, before[short][:-1], tmp_path)
    s3.put(f"{prefix}foreign.tar", b"", tmp_path)
    said = index_again(arguments)
    assert f"1 tars are gone: {gone}" in said
    assert f"1 tars do not have the size that pack wrote: {short}" in said
    assert "1 tars are there that pack did not write: foreign.tar" in said
    s3.remove(f"{prefix}foreign.tar")
    curate(*arguments)
    assert in_store(s3, prefix) == before


def test_an_object_of_the_same_size_with_other_bytes_is_found_when_asked_to_read(
    s3: Any, delivered: Any, tmp_path: Path
) -> None:
    arguments, _, prefix = delivered
    name = min(tars(in_store(s3, prefix)))
    whole = s3.get(prefix + name)
    s3.put(prefix + name, bytes(len(whole)), tmp_path)
    assert f"1 tars do not have the checksum that pack wrote: {name}" in index_again(arguments)
    s3.put(prefix + name, whole, tmp_path)


def index_again(arguments: list[str]) -> str:
    """Let index look again, without the launcher, which would notice first; returns why it refused."""
    config.register()
    words = overrides.read([*arguments[1:], "stage.index.rehash=true"])
    plan = verb.prepare(config.resolve(overrides.compose(words.ours)))
    assert Element(plan, "index", Allocation()).run([0]) == 1
    ledger = Ledger(plan.paths)
    signature = State(plan, ledger).signature("index")
    assert signature is not None
    return ledger.attempt("index", signature, 0).message


def test_wrong_credentials_are_one_line_before_any_work(s3: Any, asked: list[str], ffmpeg: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.mp4").write_bytes(b"no film")
    local = [f"input={tmp_path / 'raw'}", f"run_dir={tmp_path / 'run'}"]
    said = curate(*asked, *local, f"output={s3.folder()}", "source.profile=wrong", code=1)
    complaints = [line for line in said.splitlines() if line.startswith("hpc-curate: ")]
    assert len(complaints) == 1 and "the store refused the credentials" in complaints[0]
    assert "Traceback" not in said
    assert not (tmp_path / "run" / "scan").exists()


def test_a_place_that_is_none_is_said_before_anything_is_listed(asked: list[str], tmp_path: Path) -> None:
    said = curate(*asked, f"run_dir={tmp_path / 'run'}", "output=s3://bucket/a*", code=2)
    assert "output must be s3://bucket/prefix" in said
    assert not (tmp_path / "run").exists()
