"""Where a run stands, for a terminal or a log."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence

from hpc_curate.monitoring.causes import INTERRUPTED
from hpc_curate.monitoring.overview import DONE, FAILED, KINDS, NOT_STARTED, RUNNING, StageStatus, Status
from hpc_curate.monitoring.siblings import Sibling
from hpc_curate.plural import counted, listed
from hpc_curate.report.text import aligned, plain

_AT_WORK = 5  # lines
_DIFFERENCES = 3
_REASONS = 3  # of a stage
_NAMED = 5  # units
_WIDTH, _LINES = 120, 3  # of a reason
_SLOW = 2.0  # times the median; below, no unit is worth a line


def text(status: Status) -> str:
    """A table of the stages, and below it what is worth knowing and what to do."""
    parts = [
        _head(status),
        _table(status.stages, status.state == RUNNING),
        *_notes(status),
        *plans(status.plans, status.plan),
    ]
    return "\n\n".join(part for part in parts if part)


def line(status: Status) -> str:
    """The same in one line, for a log."""
    moving = [_in_short(stage) for stage in status.stages if stage.running or stage.failed]
    done = sum(stage.done for stage in status.stages)
    units = sum(stage.units for stage in status.stages)
    said = f"{status.state}, {done:,} of {counted(units, 'unit')}"
    return "; ".join([said, *moving, *_left(status), *_silence(status)])


def at_work(stage: StageStatus) -> str:
    """How far one stage is, in one line."""
    tasks = [
        f"unit {task.unit}" + (f" ({task.items_done} of {task.items})" if task.items > 1 else "")
        for task in stage.at_work[:_AT_WORK]
    ]
    said = f"{stage.stage:8} {stage.done:,} of {counted(stage.units, 'unit')} done"
    return f"{said}; at work: {', '.join(tasks)}" if tasks else said


def plans(found: Sequence[Sibling], shown: str) -> list[str]:
    """A table of the plans of a run folder, if there are several."""
    if not found:
        return []
    lines = [["plan", "made", "state", "what differs from the one shown"]]
    for one in found:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.created))
        lines.append([one.plan, made, one.state, ("(shown) " if one.plan == shown else "") + _differences(one)])
    return [aligned(lines, left=4) + "\n--plan HASH, or its first digits, shows another one"]


def which(found: Sequence[Sibling], shown: str) -> list[str]:
    """One line about the plan that is shown of a run folder with several."""
    if not found:
        return []
    own = "".join(f": {_differences(one)}" for one in found if one.plan == shown and one.differs)
    return [f"plan {shown}{own}; one of several, listed below: --plan HASH shows another, --beside HASH puts it beside"]


def lasting(seconds: float | None, days: bool = True) -> str:
    """A duration in the unit that reads well; what is paid for is counted in hours at most."""
    if seconds is None:
        return "?"
    for size, name in ((60, "s"), (60, "min"), (48 if days else float("inf"), "h")):
        if seconds < size:
            return f"{seconds:,.0f} {name}" if seconds >= 10 else f"{seconds:.1f} {name}"
        seconds /= 24 if name == "h" else size
    return f"{seconds:.1f} d"


def _head(status: Status) -> str:
    return "\n".join([f"{status.run}  plan {status.plan}  {status.state}", *_silence(status)])


def _left(status: Status) -> list[str]:
    """How long it will take: of a stage that has not begun nothing is known, and a sum without it is none."""
    if status.state != RUNNING or status.left_s is None:
        return []
    if not status.unknown:
        return [f"about {lasting(status.left_s)} left"]
    return [f"about {lasting(status.left_s)} left for the stages begun, not known yet of {', '.join(status.unknown)}"]


def _silence(status: Status) -> list[str]:
    if not status.scheduler.startswith("silent"):
        return []
    return [f"Slurm is {status.scheduler}; what is queued is not known, the rest is from the ledger"]


def _table(stages: Sequence[StageStatus], moving: bool) -> str:
    kinds = [kind for kind in KINDS if any(getattr(stage, kind) for stage in stages)]
    gpus = any(stage.gpu_hours for stage in stages)
    head = ["stage", "units done", *kinds, "rows", "errors", "clips/s", "x realtime", "CPU", "left"]
    lines = [head[:-1] + ["GPU"] * gpus + head[-1:]]
    for stage in stages:
        counts = [str(getattr(stage, kind) or "") for kind in kinds]
        made = [f"{stage.rows:,}", f"{stage.errors:,}"] if stage.done else ["", ""]
        pace = [_rate(stage.clips_per_s), _rate(stage.video_hours_per_hour)]
        cost = [_spent(stage.cpu_hours), *[_spent(stage.gpu_hours)] * gpus]
        left = lasting(stage.left_s) if moving and stage.done + stage.failed < stage.units else ""
        lines.append([stage.stage, f"{stage.done:,}/{stage.units:,}", *counts, *made, *pace, *cost, left])
    return aligned(lines)


def _notes(status: Status) -> list[str]:
    stages = status.stages
    return [
        "\n".join(_what_to_do(status)),
        "\n".join(line for stage in stages for line in _reasons(stage)),
        _at_work(stages),
        "\n".join([*_again(stages), *_slowest(stages)]),
    ]


def _what_to_do(status: Status) -> list[str]:
    """How the run goes on, and with which command if not by itself."""
    run = status.run if " " not in status.run else f"'{status.run}'"
    retry = f"hpc-curate retry {run}"
    stopped = {cause: sum(stage.causes.get(cause, 0) for stage in status.stages) for cause in _causes(status)}
    reasons = [f"{count} {cause.replace('_', ' ')}" for cause, count in stopped.items()]
    nothing = "nothing is seen at work from here" if _silence(status) else "nothing runs or is queued"
    said = list(status.words) if status.state != DONE else []
    if reasons:
        said.append(f"stopped without a result: {', '.join(reasons)}")
    said += _left(status)
    if status.state == DONE:
        said += [f"data set: {status.data_set}"] if status.data_set else []
    elif status.state == FAILED:
        said.append(f"{nothing}; hpc-curate logs {run} shows why it failed, {retry} tries again")
    elif status.state == NOT_STARTED:
        said.append("nothing of it was started; hpc-curate run, with the overrides of this plan, does that")
        if status.pilot:
            said.append(f"hpc-curate propose {run} says with which resources, from its pilot")
    elif status.state == INTERRUPTED:
        said.append(f"{nothing}; the same command goes on, and so does {retry}")
    elif status.state != RUNNING:
        said.append(f"{nothing}; {retry} goes on")
    more = [f"{retry} --class {cause}" for cause in ("oom", "timeout") if stopped.get(cause)]
    return said + [f"with more {'memory' if 'oom' in command else 'time'}: {command}" for command in more]


def _reasons(stage: StageStatus) -> list[str]:
    """What its failures said, the most frequent first."""
    lines = []
    for reason, units in list(stage.reasons.items())[:_REASONS]:
        line = f"{stage.stage}: {counted(len(units), 'unit')} ({listed(units, _NAMED)}): {plain(reason, 2 * _WIDTH)}"
        lines += textwrap.wrap(line, _WIDTH, subsequent_indent="  ", max_lines=_LINES, placeholder=" …")
    rest = list(stage.reasons.values())[_REASONS:]
    units_of_rest = counted(sum(map(len, rest)), "unit")
    return lines + ([f"{stage.stage}: {units_of_rest} for {counted(len(rest), 'other reason')}"] if rest else [])


def _causes(status: Status) -> list[str]:
    return sorted({cause for stage in status.stages for cause in stage.causes})


def _at_work(stages: Sequence[StageStatus]) -> str:
    tasks = sorted(((stage.stage, task) for stage in stages for task in stage.at_work), key=lambda two: -two[1].seconds)
    lines = [["at work", "unit", "items done", "for", "on", "job"]]
    for stage, task in tasks[:_AT_WORK]:
        items = f"{task.items_done} / {task.items}" if task.items > 1 else ""
        lines.append([stage, str(task.unit), items, lasting(task.seconds), task.host, task.job])
    more = [f"and {len(tasks) - _AT_WORK} more"] if len(tasks) > _AT_WORK else []
    return "\n".join([aligned(lines), *more]) if tasks else ""


def _again(stages: Sequence[StageStatus]) -> list[str]:
    attempts = sum(stage.attempts for stage in stages)
    takeovers = sum(stage.takeovers for stage in stages)
    if not attempts and not takeovers:
        return []
    over = f"; {counted(takeovers, 'unit')} taken over from workers not heard of" if takeovers else ""
    return [f"{counted(attempts, 'attempt')} failed or died{over}"]


def _slowest(stages: Sequence[StageStatus]) -> list[str]:
    found = []
    for stage in stages:
        slow = [task for task in stage.slowest if stage.usual_s and task.seconds > _SLOW * stage.usual_s]
        if slow and stage.done > 2 and slow[0].seconds > 10:
            units = ", ".join(f"{task.unit} ({lasting(task.seconds)})" for task in slow)
            found.append(f"slowest of {stage.stage}: {units}; the median is {lasting(stage.usual_s)}")
    return found


def _in_short(stage: StageStatus) -> str:
    counts = [f"{getattr(stage, kind)} {kind}" for kind in KINDS if getattr(stage, kind)]
    return f"{stage.stage} {stage.done}/{stage.units} done, {', '.join(counts)}"


def _differences(one: Sibling) -> str:
    some, rest = one.differs[:_DIFFERENCES], one.differs[_DIFFERENCES:]
    return plain(" ".join(some)) + (f" and {len(rest)} more" if rest else "")


def _spent(hours: float) -> str:
    return lasting(hours * 3600, days=False) if hours else ""


def _rate(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
