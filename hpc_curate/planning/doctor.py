"""Before anything is queued: would this configuration work on this machine, on this cluster, on its nodes?"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import tempfile
import textwrap
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from hpc_curate import config, overrides
from hpc_curate import plan as plans
from hpc_curate.cluster import container, slurm_jobs, slurm_probe, slurm_site
from hpc_curate.cluster.slurm_probe import Probe
from hpc_curate.cluster.slurm_site import Ask
from hpc_curate.errors import ConfigError, SchedulerError
from hpc_curate.plan import Plan
from hpc_curate.planning.checks import (
    OK,
    RED,
    SILENT,
    WARNING,
    Finding,
    Section,
    cluster,
    has_red,
    node,
    storage,
    tools,
)
from hpc_curate.plural import counted
from hpc_curate.run_folder import privacy
from hpc_curate.run_folder.submissions import RELAY

_REFUSED = "launch.*_partition, resources.* and +launch.sbatch.* make what sbatch is given"
_NO_ANSWER = "launch.setup, launch.python and the container start tasks; does the node see the run folder?"
_NO_RELAY = {
    "sbatch": "tasks cannot queue the next wave: repeat the command, or launch.waves=false",
    "scontrol": "tasks cannot requeue themselves: walltimes that are long enough, or `retry`",
}


def main(arguments: Sequence[str]) -> int:
    """Print what was found. Returns the exit code: 1 where something is sure to go wrong.

    Raises:
        ConfigError: the overrides are wrong.
    """
    parser = argparse.ArgumentParser(
        prog="hpc-curate doctor",
        usage="%(prog)s [--no-job] [--wait S] [--json] OVERRIDES of run: input=… run_dir=… launch=slurm …",
        description="Whether run would work, here and where tasks run. The exit code is 1 where it would not.",
    )
    parser.add_argument("--no-job", action="store_true", help="look from here only; else a short job per partition")
    parser.add_argument("--wait", type=float, default=300, metavar="S", help="for the jobs to start; default: 300 s")
    parser.add_argument("--json", action="store_true", help="for scripts")
    given, words = parser.parse_known_args(arguments)
    plan = _plan(words)
    privacy.apply(plan.settings)
    sections = examine(plan, None if given.no_job else given.wait)
    print(as_json(plan, sections) if given.json else text(plan, sections))
    return int(any(has_red(section.findings) for section in sections))


def _plan(words: Sequence[str]) -> Plan:
    """What `run` would plan, over no units: nothing is listed, nothing is written."""
    config.register()
    given = overrides.read([*words, "-m"])  # a sweep is known as one, to be refused below
    if wrong := sorted({word for word in given.every if word.startswith("-")} - {"-m", "--multirun"}):
        raise ConfigError(f"doctor has no option {wrong[0]}; it has --no-job, --wait, --json and the overrides of run")
    jobs = overrides.jobs(given)
    if len(jobs) > 1:
        raise ConfigError("doctor looks at one job of a sweep; give one value for each setting")
    settings = config.resolve(overrides.compose([*given.hydra, *jobs[0]]))
    config.unit(settings)
    return plans.build({**settings, "output": config.output(settings)}, 0)


def examine(plan: Plan, wait_s: float | None) -> list[Section]:
    """All findings, by place.

    Args:
        wait_s: seconds that a job may take to start on a node; null: no job.
    """
    by_slurm = plan.settings["launch"]["kind"] == "slurm"
    gpus = 0 if by_slurm else max(step.resources.gpus for step in plan.steps.values())
    here = node.look(plan, gpus, tools.schemes(plan))
    findings = node.judge(here, plan, works_here=not by_slurm) + storage.check(node.folders(plan))
    contained = _container(plan)
    sections = [Section(f"here, {here['host']}", findings + contained)]
    if by_slurm:
        runs = not (here["folders"].get("run_dir") or here["folders"].get("output") or has_red(contained))
        # What is wrong with the container is said; the rest can be asked without it.
        asked = plan if runs else replace(plan, settings={**plan.settings, "container": {"kind": "none"}})
        with _workplace(plan) if runs else tempfile.TemporaryDirectory() as folder:
            sections += _slurm(asked, Path(folder), here, wait_s if runs else None)
    return sections


def _container(plan: Plan) -> list[Finding]:
    """Its settings, its images and what it binds, as far as it can be seen from here."""
    kind = plan.settings["container"]["kind"]
    if kind == "none":
        return []
    try:
        made = container.check(plan.settings)
        for stage in plan.steps:
            container.inside(plan, stage)
    except ConfigError as error:
        return [
            Finding(f"container {kind}", str(error), RED, "container.image=…, container.binds=[…] name what it needs")
        ]
    images = dict.fromkeys(made.image_of(stage) for stage in plan.steps)
    return [Finding(f"container {kind}", ", ".join(images))]


# -- the cluster ---------------------------------------------------------------------------------------------------


def _slurm(plan: Plan, folder: Path, here: node.Facts, wait_s: float | None) -> list[Section]:
    """What the cluster says, then what its nodes show."""
    try:
        site = slurm_site.visit()
    except SchedulerError as error:
        advice = "go to a login node, or wait and try `sinfo`; launch=local works without Slurm"
        return [Section("Slurm", [Finding("Slurm", str(error), RED, advice)])]
    relay = [RELAY] if plan.settings["launch"].get("waves") else []
    asks = slurm_site.asks({stage: slurm_probe.parameters(plan, stage) for stage in [*plan.steps, *relay]})
    findings = cluster.site(site) + cluster.limits(site, plan.settings["launch"], len(plan.steps))
    findings += cluster.options(site, asks)
    taken = []
    for ask in asks:
        if has_red(cluster.options(site, [ask])):
            continue  # said above; sbatch would say it again
        tested = cluster.sizes(site, ask) or [_tested(plan, ask, folder)]
        findings += tested
        taken += [] if has_red(tested) else [ask]
    sections = [Section("Slurm", findings)]
    if wait_s is not None:
        probes = [Probe(plan, stage, folder, schemes=here["schemes"]) for stage in _one_per_partition(taken)]
        sections += _on_nodes(probes, here, wait_s)
    return sections


def _tested(plan: Plan, ask: Ask, folder: Path) -> Finding:
    """What sbatch says of an array of the first of the stages."""
    what = f"sbatch: {cluster.listed(ask.stages)}"
    try:
        wrong = slurm_probe.refused(Probe(plan, ask.stages[0], folder))
    except SchedulerError as error:
        return Finding(what, str(error), SILENT, "try again; the site may be busy")
    if wrong:
        return Finding(what, f"would be refused: {wrong}", RED, _REFUSED)
    return Finding(what, f"would be taken: {cluster.size(ask)}")


def _one_per_partition(asks: Sequence[Ask]) -> list[str]:
    """The stages that stand for the others: one with GPUs if there is one, and the smallest of those."""
    chosen: dict[str | None, Ask] = {}
    asks = [ask for ask in asks if ask.stages[0] != RELAY]
    for ask in sorted(asks, key=lambda ask: (not ask.gpus, ask.gpus, ask.cpus, ask.memory_mb)):
        chosen.setdefault(ask.partition, ask)
    return [ask.stages[0] for ask in chosen.values()]


def _on_nodes(probes: Sequence[Probe], here: node.Facts, wait_s: float) -> list[Section]:
    """Queue a short job for each, then read what they have seen."""
    sections, queued = [], []
    try:
        for probe in probes:
            try:
                slurm_probe.submit(probe)
                queued.append(probe)
            except SchedulerError as error:
                sections.append(Section(_on(probe), [Finding("job", f"refused: {error}", RED, _REFUSED)]))
        for probe in queued:
            sections.append(_seen(probe, slurm_probe.wait(probe, wait_s), here))
    finally:
        slurm_probe.finish(queued)
    return sections


def _seen(probe: Probe, outcome: slurm_probe.Outcome, here: node.Facts) -> Section:
    facts = outcome.facts
    if facts is None:
        verdict = RED if outcome.started else WARNING
        advice = _NO_ANSWER if outcome.started else "--wait 1800 waits longer, --no-job does without"
        return Section(_on(probe), [Finding("job", outcome.word, verdict, advice)])
    if not Path(probe.plan.settings["input"]).is_dir():
        facts = {**facts, "input": ""}  # a list or a table is read where `run` is called, and no task sees it
    findings = node.judge(facts, probe.plan, works_here=True) + node.compare(here, facts)
    for command, wrong in slurm_probe.relay(probe).items():
        word = f"does not work on the node: {wrong}" if wrong else "works on the node"
        findings.append(Finding(command, word, WARNING if wrong else OK, _NO_RELAY[command] if wrong else ""))
    return Section(f"on {facts['host']}, {_on(probe)}", findings)


def _on(probe: Probe) -> str:
    partition = slurm_jobs.partition(probe.plan, probe.stage)
    return f"partition {partition}" if partition else "the default partition"


@contextlib.contextmanager
def _workplace(plan: Plan) -> Iterator[Path]:
    """A private folder in the run folder for scripts and answers, removed with all that it needed.

    The other folders that tasks write to are made as well, as `run` does: a container binds what is there.
    """
    folder = plan.paths.logs(f"doctor-{uuid.uuid4().hex[:8]}")
    needed = [place for leaf in (folder, *node.folders(plan).values()) for place in (leaf, *leaf.parents)]
    made = sorted({place for place in needed if not place.exists()}, key=lambda place: -len(place.parts))
    for place in reversed(made):
        place.mkdir(exist_ok=True)
    folder.chmod(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for place in made:
            with contextlib.suppress(OSError):  # somebody uses it by now
                place.rmdir()


# -- showing -------------------------------------------------------------------------------------------------------


def as_json(plan: Plan, sections: Sequence[Section]) -> str:
    """For scripts."""
    findings = [{"where": section.title, **asdict(finding)} for section in sections for finding in section.findings]
    return json.dumps({"run": str(plan.paths.root), "verdicts": _count(sections), "findings": findings}, indent=1)


def text(plan: Plan, sections: Sequence[Section]) -> str:
    """A table for a terminal: what is to be done stands below the line that it is about."""
    indent = 10 + max(len(finding.what) for section in sections for finding in section.findings) + 2
    stages = counted(len(plan.steps), "stage")
    lines = [f"launch={plan.settings['launch']['kind']}, {stages}, run folder {plan.paths.root}"]
    for section in sections:
        lines += ["", section.title]
        for finding in section.findings:
            verdict = finding.verdict.upper() if finding.verdict == RED else finding.verdict
            lines += _wrapped(f"  {verdict:8}{finding.what}".ljust(indent) + finding.found, indent)
            lines += _wrapped(" " * indent + f"-> {finding.advice}", indent + 3) if finding.advice else []
    count = _count(sections)
    last = f"{count[RED]} red, {count[WARNING]} to look at, {count[SILENT]} without an answer, {count[OK]} ok"
    return "\n".join([*lines, "", last + ("; what is red will fail" if count[RED] else "")])


def _wrapped(line: str, indent: int) -> list[str]:
    """In the width of the terminal; words from outside lose what is no text."""
    clean = "".join(letter if letter.isprintable() else " " for letter in line)
    width = max(shutil.get_terminal_size((120, 24)).columns, indent + 40)
    return textwrap.wrap(clean, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _count(sections: Sequence[Section]) -> dict[str, int]:
    verdicts = [finding.verdict for section in sections for finding in section.findings]
    return {verdict: verdicts.count(verdict) for verdict in (RED, WARNING, SILENT, OK)}
