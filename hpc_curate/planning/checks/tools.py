"""Programs and libraries that bring videos and take the data set: looked at where they are used, judged here."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hpc_curate import config, sources
from hpc_curate.errors import CurateError, NotInstalled
from hpc_curate.io import delivery
from hpc_curate.io.tool import ToolFailed
from hpc_curate.plan import Plan
from hpc_curate.planning.checks import OK, RED, Finding
from hpc_curate.records import local_path


def schemes(plan: Plan) -> tuple[str, ...]:
    """How the videos come and where the data set goes, as schemes of URIs; a list or a table is read for it."""
    source, settings = str(plan.settings["input"]), config.source(plan.settings)
    found = {"s3"} if delivery.is_store(config.output(plan.settings)) else set()
    if "://" in source and not source.startswith("file://"):
        found.add(source.partition("://")[0])
    elif Path(local_path(source)).is_file():
        with contextlib.suppress(CurateError):  # `run` says what is wrong with it
            found |= sources.schemes(sources.entries(source, settings))
    return tuple(sorted(found))


def look(plan: Plan, wanted: Collection[str]) -> dict[str, dict[str, str]]:
    """Version and place of what each scheme needs, by its name, or `error` and `advice`."""
    settings, found = config.source(plan.settings), {}
    for transport in {sources.transports()[scheme] for scheme in wanted if scheme in sources.transports()}:
        name = transport.name(settings)
        try:
            version = transport.version(settings)
        except NotInstalled as error:
            found[name] = {"error": error.what, "advice": error.advice}
        except (CurateError, ToolFailed) as error:
            found[name] = {"error": str(error), "advice": f"does {name} run here by itself?"}
        else:
            found |= {name: {"version": version}} if version else {}
    return found


def judge(found: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """What is missing is red wherever it is: videos are listed where `run` is called, and fetched where tasks run."""
    return [
        Finding(name, facts["error"], RED, facts["advice"]) if "error" in facts else Finding(name, facts["version"], OK)
        for name, facts in sorted(found.items())
    ]
