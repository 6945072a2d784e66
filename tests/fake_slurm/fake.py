"""A scheduler that does what it is told to, for what a real one will not do on command: lie, refuse, lose answers.

Linked as sbatch, squeue, scancel, scontrol, sacct, sacctmgr and srun. Its state is files in $FAKE_SLURM:

    config      the answer of `scontrol show config`
    refuse      sbatch fails with this text
    busy        sbatch fails with the first of these lines, and takes it out
    lost        sbatch accepts and then fails with this text
    silent      squeue fails
    forgotten   jobs that squeue does not show, although they are in the queue
    deaf        `scontrol show job` fails
    accounting  lines of sacct, JobID|JobName|State; without the file there is no accounting

It leaves every sbatch script as `<job>.sh`, what Slurm's environment was as `<job>.environment`, the queue (with what
has ended: a line's third field is the state; a fifth is another user) as `queue`, the calls as `calls`, and what was
cancelled as `cancelled`.
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
    known = {"sbatch": sbatch, "squeue": squeue, "scontrol": scontrol, "scancel": scancel, "sacct": sacct}
    return known.get(name, nothing)(state)


def sbatch(state: Path) -> int:
    for name in ("refuse", "busy"):
        said = text(state / name).splitlines()
        if said:
            print(said[0], file=sys.stderr)
            if name == "busy":
                (state / name).write_text("\n".join(said[1:]))
            return 1
    script = Path(sys.argv[-1]).read_text()
    job = str(100 + len(list(state.glob("*.sh"))))
    (state / f"{job}.sh").write_text(script)
    (state / f"{job}.environment").write_text("\n".join(name for name in os.environ if name.startswith("SLURM_")))
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
    forgotten = text(state / "forgotten").split()
    asked = sys.argv[sys.argv.index("-u") + 1].split(",")
    for line in text(state / "queue").splitlines():
        job, index, job_state, name, *user = line.split("|")
        if job not in forgotten and (user or asked[:1])[0] in asked:
            print(job, index, job_state, (user or asked)[0], name, sep="|")
    return 0


def scontrol(state: Path) -> int:
    if "job" not in sys.argv:
        print(text(state / "config") or "MaxArraySize = 1001")
        return 0
    if (state / "deaf").exists():
        print("slurm_load_jobs error: Unable to contact slurm controller", file=sys.stderr)
        return 1
    for number, line in enumerate(text(state / "queue").splitlines()):
        job, index, job_state, name, *_ = line.split("|")
        array = "" if index == "N/A" else f"ArrayJobId={job} ArrayTaskId={index} "
        print(f"JobId={number if array else job} {array}JobName={name} UserId=me(1) JobState={job_state} Reason=None")
    return 0


def sacct(state: Path) -> int:
    if not (state / "accounting").exists():
        print("Slurm accounting storage is disabled", file=sys.stderr)
        return 1
    print(text(state / "accounting"), end="")
    return 0


def scancel(state: Path) -> int:
    with (state / "cancelled").open("a") as file:
        file.write(" ".join(sys.argv[1:]) + "\n")
    return 0


def nothing(state: Path) -> int:
    return 1


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
