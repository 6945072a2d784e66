"""What a Slurm site offers, in a handful of questions: partitions, nodes, accounts, limits; and what stages ask of it.

Sites differ in what they print and in whom they answer: a word that cannot be read is no limit, an answer that does not
come is None.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpc_curate.cluster import slurm
from hpc_curate.errors import SchedulerError

_UNITS_MB = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}
_UP = ("idle", "mix", "alloc", "comp", "plnd", "resv")  # how sinfo begins the states of nodes that run or will run jobs


@dataclass(frozen=True)
class Partition:
    """A queue of the site."""

    name: str
    state: str = "UP"
    default: bool = False
    max_minutes: float | None = None  # null: no limit
    qos: str | None = None  # whose limits hold for every job in it


@dataclass(frozen=True)
class Nodes:
    """Nodes of a partition that are alike."""

    partition: str
    count: int
    state: str
    cpus: int
    memory_mb: int
    gpus: Mapping[str, int]  # by type; "" where the site names none

    @property
    def up(self) -> bool:
        return self.state.startswith(_UP) and not self.state.endswith("*")  # the star: slurmctld hears nothing of it


@dataclass(frozen=True)
class Account:
    """What the user may do under an account, in all partitions or in one."""

    name: str
    partition: str
    qos: tuple[str, ...]
    max_submit_jobs: int | None
    max_minutes: float | None
    default: bool = False  # where a job names none


@dataclass(frozen=True)
class Site:
    """The answers of one cluster."""

    config: Mapping[str, str]
    partitions: Mapping[str, Partition] | None
    nodes: Sequence[Nodes] | None
    accounts: Sequence[Account] | None
    qos_minutes: Mapping[str, float | None] | None  # MaxWall by QOS
    silent: Mapping[str, str]  # what did not answer, and why

    @property
    def accounting(self) -> bool:
        return "slurmdbd" in self.config.get("AccountingStorageType", "")

    def enforces(self, what: str) -> bool:
        """Whether sbatch refuses a job that breaks this rule of the accounting: associations, limits, qos."""
        return what in self.config.get("AccountingStorageEnforce", "").lower()

    @property
    def version(self) -> str:
        return self.config.get("SLURM_VERSION", "of an unknown version")


@dataclass(frozen=True)
class Ask:
    """What the elements of some stages ask for."""

    stages: tuple[str, ...]
    partition: str | None  # null: the site's default; "a,b": whichever starts first
    minutes: float | None
    cpus: int
    memory_mb: float  # 0: all of the node's
    gpus: int
    gpu_type: str
    account: str | None
    qos: str | None


def visit() -> Site:
    """Ask Slurm five questions at most.

    Raises:
        SchedulerError: it does not even say how it is configured.
    """
    silent: dict[str, str] = {}

    def answer(*argv: str) -> str | None:
        try:
            return slurm.ask(list(argv))
        except SchedulerError as error:
            silent[" ".join(argv[:4])] = last_line(str(error))
            return None

    config = settings(slurm.ask(["scontrol", "show", "config"]))
    partitions = answer("scontrol", "-o", "show", "partition")
    nodes = answer("sinfo", "--noheader", "--exact", "-o", "%R|%D|%t|%c|%m|%G")
    accounts = qos = None
    if "slurmdbd" in config.get("AccountingStorageType", ""):
        mine = [getpass.getuser(), "withassoc", f"cluster={config.get('ClusterName', '')}"]
        query = "format=DefaultAccount,Account,Partition,QOS,MaxSubmitJobs,MaxWall"
        accounts = answer("sacctmgr", "-nP", "show", "user", *mine, query)
        qos = answer("sacctmgr", "-nP", "show", "qos", "format=Name,MaxWall")
    return Site(
        config,
        None if partitions is None else {one.name: one for one in read_partitions(partitions)},
        None if nodes is None else read_nodes(nodes),
        None if accounts is None else read_accounts(accounts),
        None if qos is None else {row[0]: minutes(row[1]) for row in _rows(qos, 2)},
        silent,
    )


def asks(parameters: Mapping[str, Mapping[str, Any]]) -> list[Ask]:
    """What is asked of Slurm, from what submitit is given for each stage; stages that ask alike stand together."""
    together: dict[Ask, list[str]] = {}
    for stage, given in parameters.items():
        together.setdefault(_ask_of(given), []).append(stage)
    return [replace(ask, stages=tuple(stages)) for ask, stages in together.items()]


def _ask_of(given: Mapping[str, Any]) -> Ask:
    more = {key.replace("-", "_"): value for key, value in (given.get("additional_parameters") or {}).items()}
    asked = {**given, **more}
    gres = gpus(str(asked.get("gres") or ""))
    count = asked.get("gpus_per_node") or asked.get("gpus") or 0
    kind, _, number = str(count).rpartition(":")
    return Ask(
        stages=(),
        partition=asked.get("partition") or os.environ.get("SBATCH_PARTITION"),
        minutes=minutes(str(asked.get("time", ""))),
        cpus=(whole(str(asked.get("cpus_per_task", 1))) or 1) * (asked.get("ntasks_per_node") or 1),
        memory_mb=megabytes(str(asked.get("mem", ""))),
        gpus=sum(gres.values()) or whole(number) or 0,
        gpu_type=next(iter(gres), "") or kind,
        account=asked.get("account") or os.environ.get("SBATCH_ACCOUNT"),
        qos=asked.get("qos") or os.environ.get("SBATCH_QOS"),
    )


# -- reading answers -----------------------------------------------------------------------------------------------


def settings(text: str) -> dict[str, str]:
    """`scontrol show config` as names and values."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_partitions(text: str) -> list[Partition]:
    """`scontrol -o show partition`: one line each."""
    found = []
    for line in text.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        if "PartitionName" in fields:
            qos = fields.get("QoS", "N/A")
            found.append(
                Partition(
                    fields["PartitionName"],
                    fields.get("State", "UP"),
                    fields.get("Default") == "YES",
                    minutes(fields.get("MaxTime", "")),
                    None if qos in ("N/A", "(null)", "") else qos,
                )
            )
    return found


def read_nodes(text: str) -> list[Nodes]:
    """`sinfo -o %R|%D|%t|%c|%m|%G`: one line for each kind of node in each partition."""
    return [
        Nodes(name, whole(count) or 0, state.lower(), whole(cpus) or 0, whole(memory) or 0, gpus(gres))
        for name, count, state, cpus, memory, gres in _rows(text, 6)
    ]


def read_accounts(text: str) -> list[Account]:
    """`sacctmgr -nP show user … withassoc format=DefaultAccount,Account,Partition,QOS,MaxSubmitJobs,MaxWall`."""
    return [
        Account(name, partition, tuple(filter(None, qos.split(","))), whole(most), minutes(wall), name == default)
        for default, name, partition, qos, most, wall in _rows(text, 6)
    ]


def _rows(text: str, cells: int) -> list[list[str]]:
    split = (line.strip().split("|") for line in text.splitlines())
    return [row[:cells] for row in split if len(row) >= cells]


def minutes(text: str) -> float | None:
    """A time as Slurm writes it: 90, 90:00, 1:30:00, 1-12, 1-12:30, 1-12:30:00. None: no limit, or no time at all."""
    if not re.fullmatch(r"(\d+-)?\d+(:\d+){0,2}", text):
        return None
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if dash:
        hours, minute, second = (parts + [0, 0])[:3]
    elif len(parts) == 3:
        hours, minute, second = parts
    else:
        hours, minute, second = 0, parts[0], (parts + [0])[1]
    return int(days or 0) * 1440 + hours * 60 + minute + second / 60


def megabytes(text: str) -> float:
    """Memory as sbatch takes it: 4000, 6000M, 6GB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.strip().upper())
    return float(found[1]) * _UNITS_MB[found[2] or "M"] if found else 0.0


def gpus(gres: str) -> dict[str, int]:
    """GPUs by type, of `gpu:2`, `gpu:a100:4(S:0-1)`, `gpu:a100:2,gpu:l4:1,shard:8` or `(null)`."""
    found: dict[str, int] = {}
    for item in re.sub(r"\([^)]*\)", "", gres).replace("gres/", "").replace("gres:", "").split(","):
        words = item.replace("=", ":").split(":")
        if words[0] == "gpu":
            kind = words[1] if len(words) > 1 and not words[1].isdigit() else ""
            found[kind] = found.get(kind, 0) + (whole(words[-1]) or 1)
    return found


def whole(text: str) -> int | None:
    """The number at the beginning, if there is one."""
    found = re.match(r"\d+", text.strip())
    return int(found[0]) if found else None


def last_line(text: str) -> str:
    """What a command said at last."""
    return (text.strip().splitlines() or ["no word"])[-1]
