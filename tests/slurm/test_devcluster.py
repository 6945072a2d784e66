import os
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from waiting import eventually

SCRIPT = Path(__file__).resolve().parents[2] / "slurm" / "devcluster.sh"


@pytest.fixture
def run(cluster, slurm, tmp_path):
    def run(*command, check=True):
        done = subprocess.run(command, env=cluster, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip() if check else done.stderr

    return run


def test_an_array_gets_two_gpus_a_node(run, tmp_path):
    # All four hold their GPU until the last has one.
    script = 'echo "$SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"; sleep 600'
    run("sbatch", "--partition=gpu", "--gres=gpu:1", "--array=0-3", "--output=%a.txt", f"--wrap={script}")
    eventually(lambda: all((tmp_path / f"{i}.txt").is_file() and (tmp_path / f"{i}.txt").read_text() for i in range(4)))
    assert sorted((tmp_path / f"{i}.txt").read_text() for i in range(4)) == ["n1 0\n", "n1 1\n", "n2 0\n", "n2 1\n"]


def test_an_array_of_more_than_a_hundred_is_refused(run):
    assert "Invalid job array specification" in run("sbatch", "--array=0-101", "--wrap=true", check=False)


def test_a_requeued_job_and_a_job_of_a_dead_node_run_again(run, tmp_path):
    job = run(
        "sbatch",
        "--parsable",
        "--partition=cpu",
        "--output=/dev/null",
        "--wrap=echo $SLURMD_NODENAME >> starts; sleep 600",
    )
    starts = tmp_path / "starts"
    eventually(starts.is_file)
    run("scontrol", "requeue", job)
    eventually(lambda: len(starts.read_text().split()) == 2)
    dead = starts.read_text().split()[-1]
    run("scontrol", "update", f"node={dead}", "state=down", "reason=test")
    eventually(lambda: len(starts.read_text().split()) == 3)
    assert starts.read_text().split()[-1] != dead


@pytest.fixture
def patient(run):
    """A grace time in which any machine gets round to what it does then; who heeds the warning is not waited for."""
    run("scontrol", "update", "PartitionName=spot", "GraceTime=120")
    yield
    run("scontrol", "update", "PartitionName=spot", "GraceTime=5")


def test_a_spot_job_is_warned_before_it_yields(run, patient, tmp_path):
    # A step, because the first SIGTERM goes to steps; the batch script hears of it when the grace time is over.
    script = "trap 'echo warned >> said' TERM; echo started >> said; while sleep 0.2; do :; done\n"
    (tmp_path / "spot.sh").write_text(script)
    for _ in range(4):
        run("sbatch", "--partition=spot", "--cpus-per-task=4", "--output=/dev/null", "--wrap=srun bash spot.sh")
    said = tmp_path / "said"
    eventually(lambda: said.is_file() and said.read_text().count("started") == 4)
    run("sbatch", "--partition=urgent", "--cpus-per-task=4", "--wrap=touch ran", "--output=/dev/null")
    eventually((tmp_path / "ran").is_file)
    assert "warned" in said.read_text()


def test_without_accounting_sacct_fails(run):
    assert "accounting storage is disabled" in run("sacct", check=False)


def test_with_accounting_sacct_knows_what_ran(cluster_with_accounting, tmp_path):
    def run(*command):
        return subprocess.run(command, env=cluster_with_accounting, cwd=tmp_path, check=True, stdout=subprocess.PIPE)

    job = run("sbatch", "--parsable", "--wait", "--array=0-1", "--output=/dev/null", "--wrap=true").stdout.decode()
    states = ("sacct", "--allocations", "--noheader", "--format=state", "--jobs", job.strip())
    eventually(lambda: run(*states).stdout.split() == [b"COMPLETED", b"COMPLETED"])


def test_up_again_finds_it_running_and_other_folders_are_not_touched(cluster, tmp_path):
    again = subprocess.run(["bash", SCRIPT, "up"], env=cluster, capture_output=True, text=True, check=True)
    assert again.stdout == f"export SLURM_CONF={cluster['SLURM_CONF']}\n"
    (tmp_path / "precious").touch()
    environment = {**cluster, "HPC_CURATE_DEVCLUSTER": str(tmp_path)}
    down = subprocess.run(["bash", SCRIPT, "down"], env=environment, capture_output=True, text=True)
    assert down.returncode == 1 and "not a folder of mine" in down.stderr
    assert (tmp_path / "precious").exists()


def started(conf):
    """The names of the processes that have SLURM_CONF from this cluster."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"SLURM_CONF={conf}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "comm").read_text().strip())
        except OSError:
            continue
    return found


def test_down_stops_all_it_started(cluster, free_ports):
    with tempfile.TemporaryDirectory(prefix="hpc_curate-slurm-", ignore_cleanup_errors=True) as place:
        environment = {
            **os.environ,
            "HPC_CURATE_DEVCLUSTER": f"{place}/c",
            "HPC_CURATE_DEVCLUSTER_PORT": str(free_ports),
        }
        conf = f"{place}/c/etc/slurm.conf"
        subprocess.run(["bash", SCRIPT, "up"], env=environment, check=True)
        submit = ["sbatch", "--output=/dev/null", "--wrap=sleep 600"]
        subprocess.run(submit, env={**environment, "SLURM_CONF": conf}, check=True)
        eventually(lambda: {"munged", "slurmctld", "slurmd", "slurmstepd", "sleep"} <= set(started(conf)))
        subprocess.run(["bash", SCRIPT, "down"], env=environment, check=True)
        assert started(conf) == []
        assert [path.name for path in Path(place).iterdir()] == ["c.lock"]
    assert "slurmctld" in started(cluster["SLURM_CONF"])


def test_what_cannot_come_up_whole_leaves_nothing_running(cluster):
    with (
        tempfile.TemporaryDirectory(prefix="hpc_curate-slurm-") as place,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        port = taken.getsockname()[1] - 104  # where the fourth node would listen
        environment = {**os.environ, "HPC_CURATE_DEVCLUSTER": f"{place}/c", "HPC_CURATE_DEVCLUSTER_PORT": str(port)}
        up = subprocess.run(["bash", SCRIPT, "up"], env=environment, capture_output=True, text=True)
        assert up.returncode == 1 and "Address already in use" in up.stderr
        assert started(f"{place}/c/etc/slurm.conf") == []
        assert [path.name for path in Path(place).iterdir()] == ["c.lock"]
