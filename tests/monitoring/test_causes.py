"""What the ends of logs say. The texts are of Slurm 22.05 on the development cluster; where none could be provoked
there (memory is not enforced), they are as Slurm's programs hold them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpc_curate.monitoring import causes

START = "submitit INFO (2026-11-23 04:19:40,101) - Starting with JobEnvironment(job_id=5_0, hostname=n3)\n"
TIME_LIMIT = """\
slurmstepd-n3: error: *** JOB 1 ON n3 CANCELLED AT 2026-11-23T04:20:10 DUE TO TIME LIMIT ***
slurmstepd-n3: error: *** STEP 1.0 ON n3 CANCELLED AT 2026-11-23T04:20:10 DUE TO TIME LIMIT ***
srun: Job step aborted: Waiting up to 5 seconds for job step to finish.
srun: got SIGCONT
srun: error: n3: task 0: Terminated
"""
SCANCEL = """\
srun: Job step aborted: Waiting up to 5 seconds for job step to finish.
srun: got SIGCONT
slurmstepd-n3: error: *** STEP 3.0 ON n3 CANCELLED AT 2026-11-23T04:19:48 ***
slurmstepd-n3: error: *** JOB 3 ON n3 CANCELLED AT 2026-11-23T04:19:48 ***
srun: forcing job termination
srun: error: n3: task 0: Terminated
"""
NODE_DOWN = """\
srun: error: Node failure on n1
slurmstepd-n1: error: *** JOB 4 ON n1 CANCELLED AT 2026-11-23T04:19:48 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***
"""  # noqa: E501
REQUEUE = """\
slurmstepd-n3: error: *** JOB 6 ON n3 CANCELLED AT 2026-11-23T04:19:48 DUE TO JOB REQUEUE ***
slurmstepd-n3: error: *** STEP 6.0 ON n3 CANCELLED AT 2026-11-23T04:19:48 DUE TO JOB REQUEUE ***
"""
PREEMPTED = "slurmstepd: error: *** JOB 9 ON n1 CANCELLED AT 2026-11-23T04:19:48 DUE TO PREEMPTION ***\n"
OOM_CGROUP = (
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=9.0. Some of your processes may have been killed by the "
    "cgroup out-of-memory handler.\n"
)
OOM_NEWER = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=9.batch. Some of the step tasks have been OOM Killed.\n"
)
OOM_SRUN = "srun: error: n3: task 0: Out Of Memory\n"
OOM_POLLED = "slurmstepd: error: StepId=9.0 exceeded memory limit (2097152 > 1048576), being killed\n"
# Of Slurm 24.11 and later.
STAMP = "[2026-11-23T04:19:48.327] error: "
PREEMPTED_STAMPED = STAMP + "*** JOB 9 ON n1 CANCELLED AT 2026-11-23T04:19:48 DUE TO PREEMPTION ***\n"
TIME_LIMIT_STAMPED = STAMP + "*** STEP 9.0 ON n1 CANCELLED AT 2026-11-23T04:19:48 DUE TO TIME LIMIT ***\n"
SCANCEL_STAMPED = STAMP + "*** JOB 9 ON n1 CANCELLED AT 2026-11-23T04:19:48 DUE to SIGNAL Terminated ***\n"
OOM_STAMPED = STAMP + "Detected 1 oom_kill event in StepId=9.0. Some of the step tasks have been OOM Killed.\n"
KILLED = "srun: error: n3: task 0: Killed\n"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (TIME_LIMIT, "timeout"),
        (SCANCEL, "cancelled"),
        (NODE_DOWN, "node_fail"),
        (REQUEUE, "preempted"),
        (PREEMPTED, "preempted"),
        (OOM_CGROUP, "oom"),
        (OOM_NEWER, "oom"),
        (OOM_SRUN, "oom"),
        (OOM_POLLED, "oom"),
        (PREEMPTED_STAMPED, "preempted"),
        (TIME_LIMIT_STAMPED, "timeout"),
        (SCANCEL_STAMPED, "cancelled"),
        (OOM_STAMPED, "oom"),
        (KILLED, "unknown"),
        ("", "unknown"),
        (KILLED + OOM_CGROUP + SCANCEL, "oom"),
    ],
)
def test_the_end_of_a_log_names_the_cause(text: str, cause: str) -> None:
    assert causes.of_text(START + text) == cause


def test_what_was_said_before_the_last_start_is_of_another_attempt() -> None:
    assert causes.of_text(START + NODE_DOWN + START + KILLED) == "unknown"
    assert causes.of_text(START + NODE_DOWN + START + TIME_LIMIT) == "timeout"


def test_a_name_in_our_own_lines_is_no_cause() -> None:
    ours = "2026-11-23 04:19:48,000 WARNING scan unit 3 failed: Out Of Memory DUE TO TIME LIMIT.mp4: no video stream\n"
    assert causes.of_text(START + ours) == "unknown"


def test_logs_that_are_gone_or_huge_are_no_obstacle(tmp_path: Path) -> None:
    log = tmp_path / "5_0_0_log.out"
    log.write_text(START + "x" * 1_000_000 + "\n" + TIME_LIMIT)
    assert causes.of_logs([tmp_path / "gone", log]) == "timeout"
    assert causes.of_logs([]) == "unknown"


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("TIMEOUT", "timeout"),
        ("OUT_OF_MEMORY", "oom"),
        ("CANCELLED by 65534", "cancelled"),
        ("CANCELLED+", "cancelled"),
        ("NODE_FAIL", "node_fail"),
        ("PREEMPTED", "preempted"),
        ("FAILED", "unknown"),
        ("", "unknown"),
    ],
)
def test_accounting_names_the_cause(state: str, cause: str) -> None:
    assert causes.of_state(state) == cause
