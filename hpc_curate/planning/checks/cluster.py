"""Would this cluster take what the stages ask of it? Judged from its own answers; nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpc_curate.cluster.slurm_site import Account, Ask, Nodes, Partition, Site
from hpc_curate.nearest import nearest
from hpc_curate.planning.checks import OK, RED, SILENT, WARNING, Finding
from hpc_curate.plural import counted
from hpc_curate.report.text import clock
from hpc_curate.run_folder.submissions import RELAY

_ASK_THE_SITE = "ask the site, or read its pages; the job below tells whether it matters"


def site(found: Site) -> list[Finding]:
    """What answered, and whether there is accounting."""
    name = found.config.get("ClusterName", "without a name")
    findings = [Finding("Slurm", f"{found.version}, cluster {name}, answers")]
    if found.accounting:
        rules = found.config.get("AccountingStorageEnforce", "none")
        findings.append(Finding("accounting", f"on; sbatch enforces: {rules}"))
    else:
        findings.append(Finding("accounting", "off; why a task died is read from its log"))
    return findings + [
        Finding(command, f"no answer: {why}", SILENT, _ASK_THE_SITE) for command, why in found.silent.items()
    ]


def options(found: Site, asks: Sequence[Ask]) -> list[Finding]:
    """Everything that sbatch is told by name or by the clock: partition, account, QOS, walltime."""
    return [*partitions(found, asks), *accounts(found, asks), *walltimes(found, asks)]


# -- partitions ----------------------------------------------------------------------------------------------------


def partitions(found: Site, asks: Sequence[Ask]) -> list[Finding]:
    """The partitions that are asked for: they exist, are up and have nodes."""
    if found.partitions is None:
        return []
    stages: dict[str | None, list[str]] = {}
    for ask in asks:
        for name in _names(ask):
            stages.setdefault(name, []).extend(ask.stages)
    return [_partition(found, name, of) for name, of in stages.items()]


def _names(ask: Ask) -> Sequence[str | None]:
    return ask.partition.split(",") if ask.partition else [None]


def _partition(found: Site, name: str | None, stages: Sequence[str]) -> Finding:
    known = found.partitions or {}
    setting = f"launch.cpu_partition, launch.gpu_partition or resources.{stages[0]}.partition"
    partition = _chosen(found, name)
    if name is None and partition is None:
        return Finding("partition", "none is given, and the site has no default", RED, f"set {setting}")
    if partition is None:
        word = f"there is none of that name; {nearest(str(name), known)}"
        return Finding(f"partition {name}", word, RED, f"set {setting}")
    title = f"partition {partition.name}" + (" (the default)" if name is None else "")
    if partition.state.upper() != "UP":
        return Finding(
            title, f"is {partition.state}: starts no jobs", RED, "wait until the site opens it, or take another"
        )
    nodes = [kind for kind in found.nodes or () if kind.partition == partition.name]
    up, every = sum(kind.count for kind in nodes if kind.up), sum(kind.count for kind in nodes)
    if nodes and not up:
        advice = "jobs wait until one is; sinfo -R says why"
        return Finding(title, f"none of its {every} nodes is up", WARNING, advice)
    limit = "no time limit" if partition.max_minutes is None else f"at most {_clock(partition.max_minutes)}"
    return Finding(title, f"up, {up} of {every} nodes, {limit}" if nodes else f"up, {limit}")


def _chosen(found: Site, name: str | None) -> Partition | None:
    known = found.partitions or {}
    return known.get(name) if name else next((one for one in known.values() if one.default), None)


# -- what stages ask for -------------------------------------------------------------------------------------------


def walltimes(found: Site, asks: Sequence[Ask]) -> list[Finding]:
    """Stages that ask for more time than they are allowed; those that hit one limit stand in one line."""
    together: dict[tuple[float, str, float], list[Ask]] = {}
    for ask in asks:
        who, most = _longest(found, ask)
        if ask.minutes is not None and ask.minutes > most:
            together.setdefault((ask.minutes, who, most), []).append(ask)
    findings = []
    for (minutes, who, most), same in together.items():
        names = [stage for ask in same for stage in ask.stages]
        settings = [f"{_group(ask)}.minutes={int(most)}" for ask in same]
        advice = settings[0] if len(settings) == 1 else f"resources.default.minutes={int(most)}"
        word = f"{_clock(minutes)}, but {who} allows {_clock(most)}"
        findings.append(Finding(f"walltime of {listed(names)}", word, RED, f"{advice} or less, and smaller units"))
    return findings


def _longest(found: Site, ask: Ask) -> tuple[str, float]:
    """Who sets the tightest limit on the walltime, and the limit in minutes. Of several partitions one may do."""
    partitions = [one for name in _names(ask) if (one := _chosen(found, name))]
    qos = [ask.qos, *(one.qos for one in partitions if len(partitions) == 1)]
    limits = [(f"QOS {name}", (found.qos_minutes or {}).get(name)) for name in qos if name]
    limits += [(f"account {one.name}", one.max_minutes) for one in _mine(found, ask)]
    if partitions and all(one.max_minutes is not None for one in partitions):
        widest = max(partitions, key=lambda one: one.max_minutes or 0.0)
        limits.append((f"partition {widest.name}", widest.max_minutes))
    known = [(who, most) for who, most in limits if most is not None]
    return min(known, key=lambda limit: limit[1], default=("nobody", float("inf")))


def sizes(found: Site, ask: Ask) -> list[Finding]:
    """CPUs, memory and GPUs that no node has; of several partitions one that has them will do."""
    tried = [_too_large(found, ask, one) for name in _names(ask) if (one := _chosen(found, name))]
    return tried[0] if tried and all(tried) else []


def _too_large(found: Site, ask: Ask, partition: Partition) -> list[Finding]:
    nodes = [kind for kind in found.nodes or () if kind.partition == partition.name]
    if not nodes or any(_fits(ask, kind) for kind in nodes if kind.up):
        return []
    what, asked = f"size of {listed(ask.stages)}", size(ask)
    if any(_fits(ask, kind) for kind in nodes):
        word = f"{asked}: only nodes of {partition.name} that are down now have as much"
        return [Finding(what, word, WARNING, "wait for them, or ask for less")]
    if ask.gpus and not any(kind.gpus for kind in nodes):
        word = f"{counted(ask.gpus, 'GPU')}, but no node of {partition.name} has any"
        return [Finding(what, word, RED, f"set launch.gpu_partition or {_group(ask)}.partition")]
    word = f"{asked}, but the nodes of {partition.name} have at most {_largest(nodes)}"
    return [Finding(what, word, RED, f"less in {_group(ask)} (cpus, memory_gb, gpus), or other nodes")]


def _group(ask: Ask) -> str:
    """The settings that say what the first of the stages is given."""
    return "launch.relay" if ask.stages[0] == RELAY else f"resources.{ask.stages[0]}"


def size(ask: Ask) -> str:
    """What a task is given, in words."""
    gpus = f", {ask.gpus} GPU {ask.gpu_type}".rstrip() if ask.gpus else ""
    return f"{ask.cpus} CPU, {ask.memory_mb / 1000:.1f} GB{gpus}, {_clock(ask.minutes)}"


def _fits(ask: Ask, kind: Nodes) -> bool:
    gpus = kind.gpus.get(ask.gpu_type, 0) if ask.gpu_type else sum(kind.gpus.values())
    return ask.cpus <= kind.cpus and ask.memory_mb <= kind.memory_mb and ask.gpus <= gpus


def _largest(nodes: Iterable[Nodes]) -> str:
    cpus, memory = max(kind.cpus for kind in nodes), max(kind.memory_mb for kind in nodes)
    gpus = max(nodes, key=lambda kind: sum(kind.gpus.values())).gpus
    kinds = ", ".join(f"{counted(count, 'GPU')} {kind}".strip() for kind, count in gpus.items()) or "no GPU"
    return f"{counted(cpus, 'CPU')}, {memory / 1000:.1f} GB, {kinds}"


# -- accounts and limits -------------------------------------------------------------------------------------------


def accounts(found: Site, asks: Sequence[Ask]) -> list[Finding]:
    """Each account and QOS that is asked for: is it the user's?"""
    if not found.accounting:
        given = sorted({name for ask in asks for name in (ask.account, ask.qos) if name})
        return [Finding("account, QOS", f"{', '.join(given)} given; without accounting nobody checks")] if given else []
    if found.accounts is None:
        return []
    if not found.accounts:
        verdict = RED if found.enforces("associations") else WARNING
        return [Finding("account", "you have none on this cluster", verdict, "ask the site for an account")]
    findings = [_account(found, name) for name in dict.fromkeys(ask.account for ask in asks)]
    wanted = dict.fromkeys((ask.account, ask.qos) for ask in asks if ask.qos)
    return findings + [_qos(found, account, str(qos)) for account, qos in wanted]


def _account(found: Site, name: str | None) -> Finding:
    mine = list(dict.fromkeys(account.name for account in found.accounts or ()))
    if name is None:
        default = next((one.name for one in found.accounts or () if one.default), "the site's default")
        return Finding("account", f"{default}; you have {', '.join(mine)}")
    if name in mine:
        return Finding(f"account {name}", "is yours")
    verdict = RED if found.enforces("associations") else WARNING
    return Finding(f"account {name}", f"is not yours; you have {', '.join(mine)}", verdict, _option("account", mine))


def _qos(found: Site, account: str | None, name: str) -> Finding:
    known = list(found.qos_minutes or ())
    allowed = {qos for mine in found.accounts or () if mine.name == account or not account for qos in mine.qos}
    if known and name not in known:
        return Finding(f"QOS {name}", f"there is none of that name; {nearest(name, known)}", RED, _option("qos", known))
    if allowed and name not in allowed:
        verdict = RED if found.enforces("qos") else WARNING
        word = f"is not one of yours: {', '.join(sorted(allowed))}"
        return Finding(f"QOS {name}", word, verdict, _option("qos", sorted(allowed)))
    return Finding(f"QOS {name}", "is yours")


def _mine(found: Site, ask: Ask) -> list[Account]:
    """The associations that the ask falls under."""
    under = [one for one in found.accounts or () if (one.name == ask.account if ask.account else one.default)]
    return [one for one in under if one.partition in ("", *_names(ask))]


def limits(found: Site, settings: Mapping[str, Any], stages: int) -> list[Finding]:
    """MaxArraySize and MaxSubmitJobs against what the launch group says.

    Args:
        stages: of the recipe; each needs a job at least.
    """
    array = found.config.get("MaxArraySize", "")
    asked = settings.get("max_array_size")
    size = Finding("MaxArraySize", f"{array or 'not said'}; longer arrays are split")
    if array.isdigit() and asked and int(asked) > int(array):
        word = f"{array}, but launch.max_array_size={asked}"
        size = Finding("MaxArraySize", word, RED, "launch.max_array_size=null asks the cluster")
    most = min((one.max_submit_jobs for one in found.accounts or () if one.max_submit_jobs is not None), default=None)
    if most is None:
        return [size, Finding("MaxSubmitJobs", "no limit is known")]
    wanted = settings.get("max_submit_jobs")
    word, verdict, advice = f"{most} of yours may be queued at once; units are packed or wait", OK, ""
    if wanted and wanted > most:
        word, verdict = f"{most}, but launch.max_submit_jobs={wanted}", RED
        advice = "launch.max_submit_jobs=null asks the cluster"
    elif most <= stages:
        word, verdict = f"{most}, for {counted(stages, 'stage')}", WARNING
        advice = "repeat `run` when the queue is empty, or take stages apart"
    return [size, Finding("MaxSubmitJobs", word, verdict, advice)]


def _option(name: str, choices: Sequence[str]) -> str:
    return f"+launch.sbatch.{name}={choices[0] if len(choices) == 1 else '…'}"


def listed(stages: Sequence[str]) -> str:
    """A few names, and how many more."""
    return ", ".join(stages) if len(stages) <= 3 else f"{', '.join(stages[:2])} and {len(stages) - 2} more"


def _clock(minutes: float | None) -> str:
    return "no end" if minutes is None else clock(minutes / 60)
