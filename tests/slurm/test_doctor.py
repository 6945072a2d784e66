"""The doctor before a real Slurm: a good configuration is ok everywhere, and each fault is one red line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from hpc_curate import cli

Finding = dict[str, str]
NO_CUDA = ("red", "GPU use of embed")  # the GPUs of this cluster are names only, and the doctor finds that out
GOOD = ("launch=slurm", "launch.cpu_partition=cpu", "launch.gpu_partition=gpu", "resources.embed.gpus=1")


@pytest.fixture
def question(tmp_path: Path) -> list[str]:
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "one.mp4").write_bytes(b"x")
    return [f"input={videos}", f"run_dir={tmp_path / 'runs' / 'first'}", *GOOD]


@pytest.fixture
def asked(capsys: pytest.CaptureFixture[str]) -> Any:
    """Asks the doctor; returns the exit code and all findings but those about the room on this disk."""

    def ask(*words: str) -> tuple[int, list[Finding]]:
        code = cli.main(["doctor", "--json", *words])
        findings = json.loads(capsys.readouterr().out)["findings"]
        return code, [finding for finding in findings if not finding["what"].startswith(("free for", "quota for"))]

    return ask


@pytest.fixture
def accounted(cluster_with_accounting: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster_with_accounting["SLURM_CONF"])


@pytest.fixture
def short_urgent(slurm: None) -> Iterator[None]:
    """The partition `urgent` lets jobs run for an hour."""
    scontrol("update", "partition=urgent", "maxtime=60")
    yield
    scontrol("update", "partition=urgent", "maxtime=infinite")


@pytest.fixture
def no_gpu_nodes(slurm: None) -> Iterator[None]:
    """Nobody gets n1 and n2."""
    scontrol("update", "node=n[1-2]", "state=drain", "reason=test")
    yield
    scontrol("update", "node=n[1-2]", "state=resume")
    eventually(lambda: set(said("sinfo", "--noheader", "--partition=gpu", "--format=%T").split()) == {"idle"})


def scontrol(*words: str) -> None:
    subprocess.run(["scontrol", *words], check=True)


def said(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def queue() -> str:
    return said("squeue", "--noheader")


def faults(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding["verdict"], finding["what"]) for finding in findings if finding["verdict"] != "ok"]


def seen_on_nodes(findings: list[Finding]) -> dict[str, set[str]]:
    """What was looked at, by partition."""
    found: dict[str, set[str]] = {}
    for finding in findings:
        if ", partition " in finding["where"]:
            found.setdefault(finding["where"].rpartition(" ")[2], set()).add(finding["what"])
    return found


def test_a_good_configuration_is_ok_here_and_on_a_node_of_each_partition(
    slurm: None, question: list[str], asked: Any, tmp_path: Path
) -> None:
    code, findings = asked(*question)
    assert (code, faults(findings)) == (1, [NO_CUDA])
    nodes = seen_on_nodes(findings)
    assert nodes["gpu"] - nodes["cpu"] == {"GPUs", NO_CUDA[1]}
    assert nodes["cpu"] >= {"ffmpeg", "weights", "run_dir", "scratch", "sbatch", "scontrol"}
    assert not (tmp_path / "runs").exists()


def test_a_good_configuration_is_ok_with_accounting(accounted: None, question: list[str], asked: Any) -> None:
    code, findings = asked(*question, "--no-job", "+launch.sbatch.account=devaccount", "+launch.sbatch.qos=normal")
    assert (code, faults(findings)) == (0, [])
    assert {"account devaccount", "QOS normal"} <= {finding["what"] for finding in findings}


def test_an_account_of_somebody_else_is_said_where_slurm_does_not_mind(
    accounted: None, question: list[str], asked: Any
) -> None:
    code, findings = asked(*question, "--no-job", "+launch.sbatch.account=others")
    assert (code, faults(findings)) == (0, [("warning", "account others")])


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["launch.gpu_partition=gpus"], "partition gpus"),
        (["launch.cpu_partition=urgent"], "walltime of scan, shots and 8 more"),
        (["launch.gpu_partition=cpu"], "size of embed"),
        (["resources.scan.memory_gb=64"], "size of scan"),
        (["+launch.sbatch.constraint=fast"], "sbatch: "),
        (["stage.embed.model=sscd", "stage.embed.weights_path=/no/such/weights.onnx"], "weights of embed"),
        (["container=apptainer", "container.image=/no/such/image.sif"], "container apptainer"),
    ],
)
def test_each_fault_is_said_before_anything_is_queued(
    short_urgent: None, question: list[str], asked: Any, words: list[str], what: str
) -> None:
    code, findings = asked(*question, *words, "--no-job")
    found = faults(findings)
    assert code == 1 and {verdict for verdict, _ in found} == {"red"}
    assert all(name.startswith(what) for _, name in found) and (len(found) == 1 or what == "sbatch: ")
    assert all(finding["advice"] for finding in findings if finding["verdict"] == "red")
    assert queue() == ""


def test_what_is_missing_on_the_node_only_is_found_by_the_job(
    slurm: None, question: list[str], asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = "launch.setup=['export HPC_CURATE_S5CMD=/no/such/s5cmd']"
    code, findings = asked(*question, "output=s3://bucket/set", "resources.embed.gpus=0", hidden)
    red = [finding for finding in findings if finding["verdict"] == "red"]
    assert code == 1 and [(one["what"], one["where"].rpartition(", ")[2]) for one in red] == [
        ("s5cmd", "partition cpu")
    ]


def test_a_run_folder_of_somebody_else_is_red_and_no_job_is_tried(
    slurm: None, question: list[str], asked: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    code, findings = asked(*question, f"run_dir={folder}")
    assert (code, faults(findings)) == (1, [("red", "run_dir")])
    assert seen_on_nodes(findings) == {}


def test_a_job_that_does_not_start_is_cancelled_and_its_reason_is_said(
    no_gpu_nodes: None, question: list[str], asked: Any
) -> None:
    code, findings = asked(*question, "--wait", "30")
    jobs = [finding for finding in findings if finding["what"] == "job"]
    assert code == 0 and [finding["where"] for finding in jobs] == ["partition gpu"]
    assert "did not start within 30 s" in jobs[0]["found"] and "Nodes" in jobs[0]["found"]
    assert set(seen_on_nodes(findings)) == {"cpu"}
    assert queue() == ""


@pytest.mark.slow
def test_a_job_that_cannot_start_its_interpreter_is_red_with_its_last_words(
    slurm: None, question: list[str], asked: Any
) -> None:
    code, findings = asked(*question, "resources.embed.gpus=0", "launch.python=/no/such/python")
    assert (code, faults(findings)) == (1, [("red", "job")])
    (found,) = [finding for finding in findings if finding["what"] == "job"]
    assert "/no/such/python" in found["found"]


def test_the_job_looks_from_inside_the_container(slurm: None, image: Path, question: list[str], asked: Any) -> None:
    code, findings = asked(*question, "container=apptainer", f"container.image={image}")
    # Another Python of the same series does no harm, and is said.
    assert code == 1 and {NO_CUDA} <= set(faults(findings)) <= {NO_CUDA, ("warning", "same python")}
    pythons = {finding["where"]: finding["found"] for finding in findings if finding["what"] == "python"}
    assert [("/opt/hpc_curate/" in found) for found in pythons.values()] == [False, True, True]
    assert {"sbatch", "scontrol"} <= seen_on_nodes(findings)["cpu"]
