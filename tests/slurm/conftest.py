"""The development cluster for the tests in this folder: up before the first, down after the last."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "slurm" / "devcluster.sh"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of this folder in one worker of pytest-xdist (`--dist loadgroup`): they share the cluster."""
    for item in items:
        if Path(item.path).is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("slurm"))


@pytest.fixture(scope="session")
def cluster() -> Iterator[dict[str, str]]:
    """The environment for Slurm's commands and ours. Four idle nodes; partitions cpu, gpu, spot and urgent."""
    if os.getuid() == 0:
        pytest.skip("the development cluster runs jobs of its own user only; run the tests as another user than root")
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=path)]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: apt-get install --no-install-recommends slurm-wlm munge")
    done = subprocess.run(["bash", SCRIPT, "up"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    name, _, value = line.removeprefix("export ").partition("=")
    try:
        yield {**os.environ, name: value}
    finally:
        subprocess.run(["bash", SCRIPT, "down"], check=True)


@pytest.fixture
def slurm(cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For code that runs in this process: SLURM_CONF is set, and what the test leaves behind is cancelled."""
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])
    yield
    subprocess.run(["scancel", "--user", str(os.getuid())], env=cluster, check=True)
    subprocess.run(["scontrol", "update", "node=n[1-4]", "state=resume"], env=cluster, stderr=subprocess.DEVNULL)
