"""From a list of addresses to tars whose samples say where they come from."""

from __future__ import annotations

import csv
import hashlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from webserver import serving

from hpc_curate import cli, plan
from hpc_curate.sources import fetched

QUICK = ["source.web.private_hosts=[127.0.0.1]", "source.web.tries=2", "source.web.pause_per_host_s=0.01"]
KEEP = ["gate=none", "select=none", "cutter=stride"]


def listed(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "list.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["uri", "licence", "sha256", "channel"], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_what_was_fetched_is_curated_with_its_licence_and_provenance(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = make_video("site/deep/one.mp4", "testsrc=s=320x240:r=10:d=3")
    (tmp_path / "site" / "same.mp4").write_bytes(video.read_bytes())
    raw, run = tmp_path / "raw", tmp_path / "run"
    with serving(tmp_path / "site") as url:
        sha256 = hashlib.sha256(video.read_bytes()).hexdigest()
        listing = listed(
            tmp_path,
            {"uri": f"{url}/deep/one.mp4", "licence": "CC-BY-4.0", "sha256": sha256, "channel": "news"},
            {"uri": f"{url}/same.mp4", "licence": "CC-BY-4.0"},
            {"uri": f"{url}/wrong.mp4", "licence": "CC-BY-4.0"},
            {"uri": f"{url}/same.mp4?other", "licence": "CC-BY-4.0", "sha256": "0" * 64},
            {"uri": f"{url}/never-asked.mp4", "licence": "all rights reserved"},
            {"uri": f"{url}/nor-this.mp4"},
        )
        words = [f"input={listing}", f"run_dir={raw}", "launch=inline", "source.web.private_hosts=[127.0.0.1]"]
        assert cli.main(["run", f"input={listing}", f"run_dir={run}"]) == 2
        assert "fetch it first, hpc-curate fetch input=" in capsys.readouterr().err
        assert cli.main(["fetch", *words, "stage.fetch.licences=[CC-BY-4.0]"]) == 0
        said = capsys.readouterr().out
        assert "2 of 6 videos came\n" in said and "another time" not in said
        assert "\n  1 not asked for: licence all rights reserved is not allowed\n" in said
        assert "\n  1 not asked for: no licence is named\n" in said
        assert "\n  1 could not be had: the server said 404 File not found\n" in said
        assert "\n  1 could not be had: same.mp4: what came has the SHA-256 " in said
        assert cli.main(["table", str(raw), "--videos", "-o", str(tmp_path / "videos.csv")]) == 0
        (tmp_path / "site" / "wrong.mp4").write_bytes(make_video("late.mp4").read_bytes())
        video.unlink()  # what came is not asked for again
        again = [*words, f"run_dir={tmp_path / 'again'}", f"stage.fetch.have={raw}", "stage.fetch.licences=[CC-BY-4.0]"]
        assert cli.main(["fetch", *again]) == 0
        assert "3 of 6 videos came" in capsys.readouterr().out
    with (tmp_path / "videos.csv").open() as file:
        errors = {row["source_uri"].rpartition("/")[2]: row["error"] for row in csv.DictReader(file)}
    assert "404" in errors["wrong.mp4"] and "the input says" in errors["same.mp4?other"] and errors["one.mp4"] == ""
    files = [path for path in raw.glob("fetch/*/files/*/*") if path.is_file()]
    assert [path.stem for path in files] == [sha256]  # came twice, is there once
    assert cli.main(["run", f"input={raw}", f"run_dir={run}", "launch=inline", *KEEP]) == 0
    (tar,) = run.glob("pack/*/tars/*.tar")
    with tarfile.open(tar) as pack:
        said = [
            json.load(pack.extractfile(name))["extra"] for name in sorted(pack.getnames()) if name.endswith(".json")
        ]
    assert ("CC-BY-4.0", sha256, "news") in {(one["licence"], one["sha256"], one.get("channel")) for one in said}
    assert all(one["source_uri"].startswith("http://127.0.0.1:") and one["fetched_at"] for one in said)


def test_a_licence_that_is_not_allowed_costs_no_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site, asked = tmp_path / "site", list[str]()
    site.mkdir()
    licences = {"first": "CC0", "not": "all rights reserved", "nor": "", "second": "CC0", "last": "proprietary"}
    for name in licences:
        (site / f"{name}.mp4").write_bytes(name.encode())
    with serving(site, asked) as url:
        rows = [{"uri": f"{url}/{name}.mp4", "licence": licence} for name, licence in licences.items()]
        words = [f"input={listed(tmp_path, *rows)}", f"run_dir={tmp_path / 'raw'}", "launch=inline", *QUICK]
        assert cli.main(["fetch", *words, "stage.fetch.licences=[CC0]"]) == 0
    assert "2 of 5 videos came\n" in capsys.readouterr().out
    assert sorted(asked) == ["/first.mp4", "/second.mp4"]


def test_what_did_not_answer_is_asked_again_in_the_same_folder_and_what_came_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, raw = tmp_path / "site", tmp_path / "raw"
    site.mkdir()
    for name in ("came", "late", "gone"):
        (site / f"{name}.mp4").write_bytes(name.encode())
    (site / "gone.mp4").unlink()
    (site / "late.mp4.busy").touch()
    with serving(site) as url:
        (tmp_path / "list.txt").write_text("".join(f"{url}/{name}.mp4\n" for name in ("came", "late", "gone")))
        assert cli.main(["fetch", f"input={tmp_path / 'list.txt'}", f"run_dir={raw}", "launch=inline", *QUICK]) == 0
        assert f"1 of them may come another time: hpc-curate retry {raw}" in capsys.readouterr().out
        before = rows_of(raw)
        assert [before[name]["again"] for name in ("came", "late", "gone")] == [None, True, None]
        assert "503 Service Unavailable; tried 2 times" in before["late"]["error"]
        (site / "came.mp4").unlink()  # and nobody asks for it again
        (site / "gone.mp4").write_bytes(b"nor for this: that it was not there is a result")
        assert cli.main(["retry", str(raw), "--dry-run"]) == 0
        assert "unfetched    fetch: 1 unit (0), 1 video did not come" in capsys.readouterr().out
        assert cli.main(["retry", str(raw)]) == 0  # it is still busy
        assert {**rows_of(raw), "late": None} == {**before, "late": None}
        (site / "late.mp4.busy").unlink()
        assert cli.main(["retry", str(raw)]) == 0
        after = rows_of(raw)
        assert (after["came"], after["gone"]) == (before["came"], before["gone"])
        assert (raw / after["late"]["path"]).read_bytes() == b"late" and after["late"]["error"] is None
        (raw / after["late"]["path"]).unlink()  # what got lost is fetched again
        assert cli.main(["retry", str(raw)]) == 0
        assert (raw / rows_of(raw)["late"]["path"]).read_bytes() == b"late"
        capsys.readouterr()
        assert cli.main(["retry", str(raw)]) == 0
        assert "nothing to do" in capsys.readouterr().out


def test_what_came_under_another_allow_list_is_not_asked_for_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, raw, asked = tmp_path / "site", tmp_path / "raw", list[str]()
    site.mkdir()
    for name in ("first", "second", "third"):
        (site / f"{name}.mp4").write_bytes(name.encode())
    with serving(site, asked) as url:
        rows = [{"uri": f"{url}/{name}.mp4", "licence": name} for name in ("first", "second", "third")]
        words = [f"input={listed(tmp_path, *rows)}", f"run_dir={raw}", "launch=inline", *QUICK]
        assert cli.main(["fetch", *words, "stage.fetch.licences=[first,second]"]) == 0
        before = rows_of(raw)
        (raw / before["second"]["path"]).write_bytes(b"cut off")
        assert cli.main(["fetch", *words, "stage.fetch.licences=[first,third]"]) == 0
        assert sorted(asked) == ["/first.mp4", "/second.mp4", "/third.mp4"]
        after = rows_of(raw)
        assert [name for name, row in after.items() if row["path"]] == ["first", "third"]
        assert (raw / before["first"]["path"]).samefile(raw / after["first"]["path"])
        for row in (before["first"], after["first"]):
            row.update(path=None, extra=json.loads(str(row["extra"])))
        assert after["first"] == before["first"]  # it was fetched when it was fetched
        assert cli.main(["fetch", *words]) == 0
        assert sorted(asked) == ["/first.mp4", "/second.mp4", "/second.mp4", "/third.mp4"]  # what got lost
    assert "3 of 3 videos came" in capsys.readouterr().out


def test_the_summary_has_a_line_for_each_kind_of_error_and_not_for_each_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "a b.mp4").write_bytes(b"film")
    (site / "c.mp4").write_bytes(b"film")
    with serving(site) as url:
        lost = [{"uri": f"{url}/{name}.mp4"} for name in ("x1", "x2", "x3")]
        other = [{"uri": f"{url}/{name}.mp4", "sha256": digit * 64} for name, digit in (("a%20b", "0"), ("c", "1"))]
        words = [f"input={listed(tmp_path, *lost, *other)}", f"run_dir={tmp_path / 'raw'}", "launch=inline", *QUICK]
        assert cli.main(["fetch", *words]) == 1
    said, failure = capsys.readouterr()
    assert failure == "hpc-curate: nothing came; the same command again changes nothing about that\n"
    assert "0 of 5 videos came\n  3 could not be had: the server said 404 File not found\n" in said
    assert "\n  2 could not be had, such as: " in said and said.count("could not be had") == 2


def test_a_private_host_that_a_later_plan_allows_is_asked_by_retry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, raw, asked = tmp_path / "site", tmp_path / "raw", list[str]()
    site.mkdir()
    (site / "film.mp4").write_bytes(b"film")
    with serving(site, asked) as url:
        (tmp_path / "list.txt").write_text(f"{url}/film.mp4\n")
        words = ["fetch", f"input={tmp_path / 'list.txt'}", f"run_dir={raw}", "launch=inline"]
        for more in ([], QUICK[:1]):  # what is done stays done
            assert cli.main([*words, *more]) == 1
            said, failure = capsys.readouterr()
            assert f"1 of them may come another time: hpc-curate retry {raw}" in said and "\ndone;" not in said
            assert failure == f"hpc-curate: nothing came; hpc-curate retry {raw} asks again for 1 video\n"
            assert asked == []
        assert rows_of(raw)["film"]["again"] is True
        (site / "film.mp4.busy").touch()
        assert cli.main(["retry", str(raw)]) == 1
        assert "0 of 1 video came\n" in capsys.readouterr().out
        (site / "film.mp4.busy").unlink()
        asked.clear()
        assert cli.main(["retry", str(raw)]) == 0
        assert "1 of 1 video came\n" in capsys.readouterr().out
        assert asked == ["/film.mp4"] and rows_of(raw)["film"]["error"] is None


def rows_of(raw: Path) -> dict[str, dict[str, object]]:
    found, missing = fetched.rows(plan.load_latest(raw))
    assert missing == 0
    return {str(row["source_uri"]).rpartition("/")[2].removesuffix(".mp4"): row for row in found.to_pylist()}


def test_a_run_folder_that_fetched_nothing_is_no_input(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video("videos/one.mp4")
    run = tmp_path / "run"
    words = [f"input={tmp_path / 'videos'}", f"run_dir={run}", "launch=none", "stage=[scan,shots]", "cutter=stride"]
    assert cli.main(["run", *words]) == 0
    assert cli.main(["run", f"input={run}", f"run_dir={tmp_path / 'other'}"]) == 2
    assert "is a run folder that fetched nothing" in capsys.readouterr().err


def test_videos_are_not_fetched_into_a_run_nor_curated_where_they_were_fetched(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video("videos/one.mp4")
    raw, run, words = tmp_path / "raw", tmp_path / "run", [f"input={tmp_path / 'videos'}", "launch=none"]
    assert cli.main(["fetch", *words, f"run_dir={raw}"]) == 0
    assert cli.main(["run", *words, f"run_dir={run}"]) == 0
    before = {path: path.stat().st_mtime_ns for place in (raw, run) for path in place.rglob("*")}
    capsys.readouterr()
    for verb, place, advice in (("run", raw, f"run with input={raw} and another"), ("fetch", run, "into another")):
        for more in ([], ["--dry-run"]):
            assert cli.main([verb, *words, f"run_dir={place}", *more]) == 2
            said = capsys.readouterr().err.strip()
            assert f"run_dir={place} " in said and advice in said and len(said.splitlines()) == 1
    assert {path: path.stat().st_mtime_ns for place in (raw, run) for path in place.rglob("*")} == before
    assert cli.main(["fetch", *words, f"run_dir={raw}", "stage.fetch.licences=[CC0]"]) == 0  # another plan of its kind


def test_a_fetch_that_is_not_done_is_no_input_yet(
    make_video: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video("videos/one.mp4")
    run = tmp_path / "run"
    words = ["recipe=fetch", f"input={tmp_path / 'videos'}", f"run_dir={run}", "launch=none"]
    assert cli.main(["run", *words]) == 0
    assert cli.main(["run", f"input={run}", f"run_dir={tmp_path / 'other'}"]) == 2
    assert "1 of 1 units are not fetched" in capsys.readouterr().err
