"""Videos in WebDataset tars: listed by their headers, copied out one by one, and what is wrong with a tar is told."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli, sources
from hpc_curate.errors import BadInput, ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.transfer import Fetcher
from hpc_curate.records import Video

SETTINGS = SourceSettings(reserve_gb=0.0)


def tar_of(path: Path, *members: tuple[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return path


def listed(source: object) -> list[dict[str, Any]]:
    return sources.entries(f"wds://{source}", SETTINGS).to_pylist()


def got(row: dict[str, Any], scratch: Path) -> bytes:
    with Fetcher(scratch, SETTINGS) as fetcher:
        video = Video("0123", row["uri"], row["name"], row["bytes"], row["version"], json.loads(row["extra"]))
        return fetcher.get(video).read_bytes()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_every_video_of_a_folder_of_tars_comes_with_what_its_sample_says(tmp_path: Path, scratch: Path) -> None:
    said = {"licence": "CC0", "url": "https://me:canary@x.example/a", "sha256": "of the original"}
    long = "deep/" + "n" * 120 + ".MP4"
    tar_of(
        tmp_path / "tars" / "b.tar",
        ("one.mp4", b"first"),
        ("one.json", json.dumps(said).encode()),
        ("one.txt", b"a cat\n"),
        ("one.left.webm", b"second"),
        (long, b"third"),
        ("two.jpg", b"no video"),
    )
    tar_of(tmp_path / "tars" / "deep" / "a #1.tar", ("a b%.mp4", b"fourth"), format=tarfile.GNU_FORMAT)
    rows = listed(tmp_path / "tars")
    assert [row["name"] for row in rows] == ["b.tar/one.mp4", "b.tar/one.left.webm", f"b.tar/{long}"] + [
        "deep/a #1.tar/a b%.mp4"
    ]
    assert [got(row, scratch) for row in rows] == [b"first", b"second", b"third", b"fourth"]
    extra = {"licence": "CC0", "url": "https://...@x.example/a", "json_sha256": "of the original", "caption": "a cat"}
    assert [json.loads(row["extra"]) for row in rows] == [extra, extra, {}, {}]
    assert rows[3]["uri"] == f"wds://{tmp_path}/tars/deep/a%20%231.tar#a%20b%25.mp4"


def test_lists_name_tars_and_tables_name_members(tmp_path: Path, scratch: Path) -> None:
    tar_of(tmp_path / "one.tar", ("a.mp4", b"first"), ("b.mp4", b"second"))
    (tmp_path / "urls.txt").write_text("one.tar\n\n")
    assert [row["name"] for row in listed(tmp_path / "urls.txt")] == ["one.tar/a.mp4", "one.tar/b.mp4"]
    (tmp_path / "table.csv").write_text(f"uri,licence\nwds://{tmp_path}/one.tar#b.mp4,CC0\n")
    table = sources.entries(str(tmp_path / "table.csv"), SETTINGS)
    (row,) = table.to_pylist()
    sources.refuse_unfetched(table)  # a member is read where it lies
    assert (row["bytes"], got(row, scratch)) == (-1, b"second")
    assert [row["name"] for row in listed(f"{tmp_path}/one.tar#b.mp4")] == ["one.tar/b.mp4"]
    (tmp_path / "urls.txt").write_text("s3://bucket/one.tar\n")
    with pytest.raises(ConfigError, match="s3://bucket/one.tar is on no file system"):
        listed(tmp_path / "urls.txt")


def test_what_is_wrong_with_a_tar_costs_nothing_else(tmp_path: Path, scratch: Path) -> None:
    folder = tmp_path / "tars"
    films = [(f"{name}.mp4", name.encode() * 2000) for name in ("a", "b")]
    whole = tar_of(folder / "0.tar", *films).read_bytes()
    (folder / "cut.tar").write_bytes(whole[:3000])
    (folder / "no_end.tar").write_bytes(whole[: 2 * 512 + 2 * 2048])
    (folder / "text.tar").write_bytes(b"no tar at all" * 100)
    tar_of(folder / "twice.tar", ("x.mp4", b"first"), ("x.json", b"[]"), ("y.mp4", b"y"), ("x.mp4", b"other"))
    tar_of(folder / "up.tar", ("../../up.mp4", b"up"), ("/etc/down.mp4", b"down"))
    with tarfile.open(folder / "link.tar", "w") as archive:
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found = {}
    for row in listed(folder):
        try:
            found[row["uri"].removeprefix(f"wds://{folder}/")] = len(got(row, scratch))
        except BadInput as error:
            found[row["uri"].removeprefix(f"wds://{folder}/")] = str(error)
    assert {uri: size for uri, size in found.items() if isinstance(size, int)} == {
        **{f"{tar}.tar#{name}.mp4": 2000 for tar in ("0", "no_end") for name in ("a", "b")},
        "cut.tar#a.mp4": 2000,
        "twice.tar#x.mp4": 5,
        "twice.tar#y.mp4": 1,
    }
    assert "cut.tar cannot be read to its end, behind member 1: there is no end mark" in found["cut.tar"]
    assert "no end mark" in found["no_end.tar"] and "behind member 0" in found["text.tar"]
    assert "'x.mp4' comes more than once; the first one was taken" in found["twice.tar#x.mp4&2"]
    assert "leads out of the tar" in found["up.tar#..%2F..%2Fup.mp4"]
    assert "leads out of the tar" in found["up.tar#%2Fetc%2Fdown.mp4"]
    assert "no plain file" in found["link.tar#link.mp4"]
    assert sorted(found) == sorted(row["uri"].removeprefix(f"wds://{folder}/") for row in listed(folder))
    assert "json_error" in json.loads(next(row["extra"] for row in listed(folder / "twice.tar")))


def test_a_tar_that_has_changed_since_is_not_read_at_the_old_places(tmp_path: Path, scratch: Path) -> None:
    tar = tar_of(tmp_path / "a.tar", ("a.mp4", b"first"), ("b.mp4", b"second"))
    row = listed(tar)[1]
    tar_of(tar, ("b.mp4", b"another"))
    with pytest.raises(BadInput, match="changed since it was frozen"):
        got(row, scratch)


def test_tars_are_curated_where_they_lie_and_can_be_fetched(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = make_video("one.mp4", "testsrc=s=320x240:r=10:d=3").read_bytes()
    tar_of(tmp_path / "tars" / "a.tar", ("x.mp4", film), ("x.json", b'{"licence": "CC0", "channel": "news"}'))
    (tmp_path / "tars" / "torn.tar").write_bytes(b"torn")
    raw, run = tmp_path / "raw", tmp_path / "run"
    assert cli.main(["run", f"input={tmp_path / 'tars'}", f"run_dir={run}"]) == 2
    assert f"input=wds://{tmp_path / 'tars'}" in capsys.readouterr().err
    common = ["launch=inline", "stage=[scan,shots]", "measure=[exposure]", "cutter=stride"]
    assert cli.main(["run", f"input=wds://{tmp_path / 'tars'}", f"run_dir={run}", *common]) == 0
    assert cli.main(["table", str(run), "--videos", "-o", str(tmp_path / "videos.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "videos.jsonl").read_text().splitlines()]
    assert sorted(row["error"] is None for row in rows) == [False, True]
    words = [f"input=wds://{tmp_path / 'tars'}", f"run_dir={raw}", "launch=inline", "stage.fetch.licences=[cc0]"]
    assert cli.main(["fetch", *words]) == 0
    assert "1 of 2 videos came" in capsys.readouterr().out
    (row,) = sources.entries(str(raw), SETTINGS).to_pylist()
    assert Path(row["uri"]).read_bytes() == film
    assert {"licence": "CC0", "channel": "news"}.items() <= json.loads(row["extra"]).items()
