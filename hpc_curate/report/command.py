"""`hpc-curate report`: the pages of a run as it stands, finished or not."""

from __future__ import annotations

import argparse

from hpc_curate import plan as plans
from hpc_curate.run_folder import privacy
from hpc_curate.run_folder.so_far import SoFar
from hpc_curate.stages.report import INDEX, Report

_NOW = "-now"  # beside the folder that the ledger keeps account of


def report(given: argparse.Namespace) -> int:
    """The verb."""
    plan = plans.load_latest(given.run, given.plan)
    privacy.apply(plan.settings)
    stage = plan.steps["report"].stage if "report" in plan.steps else Report()
    assert isinstance(stage, Report)
    folder = given.output or plan.paths.report(plan.hash + _NOW)
    stage.write(SoFar(plan), folder, final=False)
    print(folder / INDEX)
    return 0
