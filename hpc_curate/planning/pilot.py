"""The whole line over a sample of a run's videos, to measure what the rest will take.

A pilot is a run folder of its own, RUN/pilot: a merge looks at every unit of its run, so that only there the stages
behind one (cut, pack) get something to do. Its selection, tars and report are of the sample; nothing of them is used
by the whole, in which a threshold by percentile or a duplicate may fall otherwise.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from hpc_curate import config, units
from hpc_curate import plan as plans
from hpc_curate.errors import ConfigError
from hpc_curate.io import delivery
from hpc_curate.plan import Plan
from hpc_curate.plural import counted
from hpc_curate.sources import ENTRIES

log = logging.getLogger(__name__)

_SEED = 0


def asked(settings: Mapping[str, Any]) -> int | None:
    """How many units a pilot takes; None: there is none.

    Raises:
        ConfigError: it is no count.
    """
    count = settings.get("pilot")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise ConfigError(f"pilot={count!r} must be a number of units, or null")
    return count


def prepare(whole: Plan, count: int) -> Plan:
    """The saved plan of a pilot worth `count` units; its videos are frozen into units as those of the whole are.

    Raises:
        ConfigError: the run is not larger than that.
    """
    videos = _sample(whole, units.all_videos(whole.paths), count)
    frozen = units.freeze(whole.paths.pilot, videos, **_per_unit(whole))
    plan = _build(whole, frozen.units, count)
    plans.save(plan)
    what = f"{counted(frozen.videos, 'video')} in {counted(frozen.units, 'unit')}"
    log.info("pilot: %s, in %s", what, plan.paths.root)
    return plan


def foresee(whole: Plan, videos: pa.Table, count: int) -> tuple[Plan, pa.Table]:
    """The plan that `prepare` would save, and its videos with their units; nothing is written.

    Raises:
        ConfigError: the run is not larger than that.
    """
    frozen, taken = units.foresee(whole.paths.pilot, _sample(whole, videos, count), **_per_unit(whole))
    return _build(whole, frozen.units, count), taken


def _sample(whole: Plan, videos: pa.Table, count: int) -> pa.Table:
    if count >= whole.units:
        units_of_whole = counted(whole.units, "unit")
        instead = "or take fewer" if whole.units > 1 else "or make smaller units (unit.videos=1)"
        raise ConfigError(f"pilot={count} of {units_of_whole} is the whole run; leave pilot out, {instead}")
    return sample(videos, count / whole.units).select(ENTRIES.names)


def _per_unit(whole: Plan) -> dict[str, Any]:
    unit = config.unit(whole.settings)
    return {"unit_gb": unit.gb, "unit_videos": unit.videos}


def _build(whole: Plan, count: int, asked_for: int) -> Plan:
    output = delivery.below(config.output(whole.settings), "pilot")
    own = {"run_dir": str(whole.paths.pilot.root), "output": output, "pilot": asked_for}
    return plans.build({**whole.settings, **own}, count)


def sample(videos: pa.Table, share: float) -> pa.Table:
    """A share of the videos, with small and large ones as in the whole: one at random from each stretch of the order
    by size. The same videos give the same sample."""
    count = min(len(videos), max(1, math.ceil(share * len(videos))))
    order = np.asarray(videos.sort_by([("bytes", "ascending"), ("uri", "ascending")])["uri"].to_pylist(), dtype=object)
    draw = np.random.default_rng(_SEED)
    chosen = {stretch[draw.integers(len(stretch))] for stretch in np.array_split(order, count)}
    return videos.filter(pa.array([uri in chosen for uri in videos["uri"].to_pylist()]))
