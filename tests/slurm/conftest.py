"""A development cluster of their own for the tests in this folder: up before the first, down after the last."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import eventually

SCRIPT = Path(__file__).resolve().parents[2] / "slurm" / "devcluster.sh"
OFFSETS = (17, 18, 19, 101, 102, 103, 104)
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


@pytest.fixture
def free_ports() -> int:
    """The first of a row of ports for another cluster."""
    return _free_port()


def _free_port() -> int:
    """The first of a row of ports where nobody listens, below those that the kernel gives to clients."""
    start = 17000 + os.getpid() % 50 * 200
    for base in range(start, start + 5000, 200):
        with contextlib.ExitStack() as stack:
            try:
                for offset in OFFSETS:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", base + offset))
            except OSError:
                continue
            return base
    raise RuntimeError(f"no free ports between {start} and {start + 5000}")


def _cluster(*options: str) -> Iterator[dict[str, str]]:
    if os.getuid() == 0:
        pytest.skip("the development cluster runs jobs of its own user only; run the tests as another user than root")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    programs = PROGRAMS + (("mariadbd", "slurmdbd") if options else ())
    if missing := [name for name in programs if not shutil.which(name, path=path)]:
        pytest.skip(f"no {', '.join(missing)} here; the head of slurm/devcluster.sh names the packages")
    # Not in pytest's own folder: the name of a socket may have about 100 characters only.
    with tempfile.TemporaryDirectory(prefix="hpc_curate-slurm-", ignore_cleanup_errors=True) as place:
        settings = {"HPC_CURATE_DEVCLUSTER": f"{place}/cluster", "HPC_CURATE_DEVCLUSTER_PORT": str(_free_port())}
        environment = {**os.environ, **settings}
        done = subprocess.run(["bash", SCRIPT, "up", *options], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        name, _, value = done.stdout.strip().removeprefix("export ").partition("=")
        try:
            yield {**environment, name: value}
        finally:
            subprocess.run(["bash", SCRIPT, "down"], env=environment, check=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """The environment for Slurm's commands and ours. Four idle nodes; partitions cpu, gpu, spot and urgent."""
    yield from _cluster()


@pytest.fixture(scope="session")
def cluster_with_accounting() -> Iterator[dict[str, str]]:
    """As `cluster`, and sacct answers."""
    yield from _cluster("--accounting")


@pytest.fixture
def slurm(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For code that runs in this process: SLURM_CONF is set, and the next test finds idle nodes and an empty queue."""
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])
    yield

    def say(*command: str) -> list[str]:
        return subprocess.run(command, env=cluster, check=True, capture_output=True, text=True).stdout.split()

    say("scancel", "--user", str(os.getuid()))
    # A node that is not down cannot be resumed, which is an error.
    subprocess.run(["scontrol", "update", "node=n[1-4]", "state=resume"], env=cluster, stderr=subprocess.DEVNULL)
    eventually(lambda: not say("squeue", "--noheader"))
    eventually(lambda: say("sinfo", "--noheader", "--Node", "--partition=spot", "--format=%T") == ["idle"] * 4)
