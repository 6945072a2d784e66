"""What sites print is read as it stands; what cannot be read is no limit and no crash."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc_curate.cluster import slurm_site
from hpc_curate.cluster.slurm_site import Account, Ask, Nodes, Partition

PARTITIONS = """\
PartitionName=batch AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default=YES QoS=N/A \
DefaultTime=01:00:00 DisableRootJobs=NO MaxNodes=UNLIMITED MaxTime=2-00:00:00 Nodes=c[001-064] State=UP
PartitionName=gpu AllowGroups=ALL AllowAccounts=deny Default=NO QoS=gpu_limits MaxTime=UNLIMITED State=DRAIN \
JobDefaults=DefCpuPerGPU=16 TRES=cpu=512,mem=4000G,node=8,billing=512,gres/gpu=32
"""
NODES = """\
batch|60|idle|64|257000|(null)
batch|4|drain*|64|257000|(null)
gpu|7|mix|128|1031000|gpu:a100:4(S:0-1),shard:a100:16(S:0-1)
gpu|1|down*|32+|515000+|gpu:2
"""


def test_partitions_have_their_limits() -> None:
    assert slurm_site.read_partitions(PARTITIONS) == [
        Partition("batch", "UP", default=True, max_minutes=2880.0, qos=None),
        Partition("gpu", "DRAIN", default=False, max_minutes=None, qos="gpu_limits"),
    ]


def test_nodes_have_their_size_and_their_gpus() -> None:
    nodes = slurm_site.read_nodes(NODES)
    assert nodes[2] == Nodes("gpu", 7, "mix", 128, 1_031_000, {"a100": 4})
    assert nodes[3] == Nodes("gpu", 1, "down*", 32, 515_000, {"": 2})
    assert [kind.up for kind in nodes] == [True, False, True, False]


def test_accounts_have_their_qos_and_limits() -> None:
    said = "physics|physics||normal,high|200|1-00:00:00\nphysics|physics|gpu|normal||\nphysics|empty||||\nno answer\n"
    assert slurm_site.read_accounts(said) == [
        Account("physics", "", ("normal", "high"), 200, 1440.0, default=True),
        Account("physics", "gpu", ("normal",), None, None, default=True),
        Account("empty", "", (), None, None),
    ]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90.0),
        ("90:30", 90.5),
        ("1:30:00", 90.0),
        ("1-12", 2160.0),
        ("1-12:30", 2190.0),
        ("7-00:00:00", 10_080.0),
        ("UNLIMITED", None),
        ("infinite", None),
        ("Partition_Limit", None),
        ("", None),
    ],
)
def test_times_are_read_as_slurm_writes_them(text: str, minutes: float | None) -> None:
    assert slurm_site.minutes(text) == minutes


@pytest.mark.parametrize(
    ("text", "gpus"),
    [
        ("gpu:2", {"": 2}),
        ("gpu", {"": 1}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:2,gpu:l4:1,craynetwork:4", {"a100": 2, "l4": 1}),
        ("gres/gpu:h100=8", {"h100": 8}),
        ("(null)", {}),
        ("", {}),
    ],
)
def test_gpus_are_read_by_type(text: str, gpus: dict[str, int]) -> None:
    assert slurm_site.gpus(text) == gpus


def test_stages_that_ask_alike_stand_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)
    monkeypatch.setenv("SBATCH_QOS", "short")
    small = {"job_name": "a", "partition": "batch", "time": 60, "cpus_per_task": 2, "mem": "4000M"}
    large = {**small, "cpus_per_task": 8, "ntasks_per_node": 4, "gres": "gpu:a100:4", "mem": "0", "account": "physics"}
    asks = slurm_site.asks({"shots": small, "embed": large, "select": {**small, "job_name": "b"}})
    assert asks == [
        Ask(("shots", "select"), "batch", 60.0, 2, 4000.0, 0, "", None, "short"),
        Ask(("embed",), "batch", 60.0, 32, 0.0, 4, "a100", "physics", "short"),
    ]


def test_a_site_that_prints_something_else_is_a_site_of_which_little_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, body in {"scontrol": "echo '=; %% |'; echo AccountingStorageType=slurmdbd", "sinfo": "exit 3"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    site = slurm_site.visit()
    assert site.accounting and site.partitions == {} and site.nodes is None and site.accounts is None
    assert set(site.silent) == {"sinfo --noheader --exact -o", "sacctmgr -nP show user", "sacctmgr -nP show qos"}
