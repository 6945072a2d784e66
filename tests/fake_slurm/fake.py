"""A scheduler that does what it is told to, for what a real one will not do on command: lie, refuse, lose answers.

Linked as sbatch, squeue, scancel, scontrol, sacctmgr and srun. Its state is files in $FAKE_SLURM: `config` (answer of
scontrol), `refuse` (sbatch fails with its text), `lost` (sbatch accepts and then fails with its text), `silent`
(squeue fails). It leaves every sbatch script as `<job>.sh`, the queue as `queue`, what was cancelled as `cancelled`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path


def main() -> int:
    state, name = Path(os.environ["FAKE_SLURM"]), Path(sys.argv[0]).name
    with (state / "calls").open("a") as file:
        file.write(f"{name}\n")
    return {"sbatch": sbatch, "squeue": squeue, "scontrol": scontrol, "scancel": scancel}.get(name, nothing)(state)


def sbatch(state: Path) -> int:
    if (state / "refuse").exists():
        print((state / "refuse").read_text(), file=sys.stderr)
        return 1
    script = Path(sys.argv[-1]).read_text()
    job = str(100 + len(list(state.glob("*.sh"))))
    (state / f"{job}.sh").write_text(script)
    array = re.search(r"--array=0-(\d+)", script)
    job_name = re.search(r"--job-name=(\S+)", script)
    assert job_name
    with (state / "queue").open("a") as file:
        for index in range(int(array.group(1)) + 1 if array else 1):
            file.write(f"{job}|{index if array else 'N/A'}|PENDING|{job_name.group(1)}\n")
    if (state / "lost").exists():
        print((state / "lost").read_text(), file=sys.stderr)
        return 1
    print(f"Submitted batch job {job}")
    return 0


def squeue(state: Path) -> int:
    if (state / "silent").exists():
        print("slurm_load_jobs error: Unable to contact slurm controller", file=sys.stderr)
        return 1
    queue = state / "queue"
    print(queue.read_text() if queue.exists() else "", end="")
    return 0


def scontrol(state: Path) -> int:
    print((state / "config").read_text() if (state / "config").exists() else "MaxArraySize = 1001")
    return 0


def scancel(state: Path) -> int:
    with (state / "cancelled").open("a") as file:
        file.write(" ".join(sys.argv[1:]) + "\n")
    return 0


def nothing(state: Path) -> int:
    return 1


if __name__ == "__main__":
    sys.exit(main())
