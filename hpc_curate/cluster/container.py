"""How a task's interpreter is started: on the bare machine, or inside a container image.

A task inside sees the run folder and the data set's folder to write, a folder for temporary files, and the videos and
weights to read; no home and nothing else of the machine. Of the environment it sees what Slurm and submitit say, and
what `pass_env` names. Every path is the same inside and outside.
"""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc

from hpc_curate import config, sources, units
from hpc_curate.errors import ConfigError
from hpc_curate.io import delivery
from hpc_curate.io.paths import RunPaths
from hpc_curate.nearest import nearest
from hpc_curate.plan import Plan
from hpc_curate.records import on_disk

# Runs on the node, once per task, because Slurm tells each task something else. The names and values of variables go
# from one environment to the other and never stand in an argument, which every user of the node could read. `exec`
# twice: signals reach the worker, and its exit code comes back.
_ENTER = """
[ -d "${{TMPDIR:-}}" ] || TMPDIR=/tmp
export TMPDIR PYTHONNOUSERSITE=1
for name in {names}; do
  [ -z "${{!name+x}}" ] || export "{prefix}_$name=${{!name}}"
done
exec "$0" exec --mount "type=bind,\\"src=${{TMPDIR//\\"/\\"\\"}}\\",\\"dst=${{TMPDIR//\\"/\\"\\"}}\\"" "$@"
""".strip()
_TOLD = ("${!SLURM@}", "${!SUBMITIT@}", "CUDA_VISIBLE_DEVICES", "PYTHONNOUSERSITE", "TMPDIR")
_TAKEN_ALONG = ("SUBMITIT_EXECUTOR", "SUBMITIT_PREEMPT_SIGNAL", "PYTHONNOUSERSITE=1")  # by srun for pyxis
# Their values stay as they are (no-eval), and neither home, /tmp nor the host's environment leak in.
_ALWAYS = ("--cleanenv", "--no-eval", "--contain", "--pwd", "/")
_MOST_FOLDERS = 32  # of videos, bound one by one


@dataclass(frozen=True)
class Inside:
    """What submitit's Slurm executor is given for a stage."""

    python: str  # shell words that start the interpreter
    srun_args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Container:
    """The settings."""

    kind: Literal["none", "apptainer", "singularity", "pyxis"] = "none"
    image: str | None = None
    images: dict[str, str] = field(default_factory=dict)  # of stages that have one of their own
    python: str = "python3"  # in the image
    binds: tuple[str, ...] = ()  # more paths that tasks read
    pass_env: tuple[str, ...] = ()  # names of variables that tasks see
    network: Literal["host", "none"] = "host"
    options: tuple[str, ...] = ()  # of the program, on top of ours

    def image_of(self, stage: str) -> str:
        image = self.images.get(stage) or self.image
        if not image:
            raise ConfigError(f"stage {stage} has no image; add container.image=/path/hpc_curate.sif")
        return image


@dataclass(frozen=True)
class Bind:
    """A path of the machine that a task sees, under the same name."""

    path: str
    writable: bool = False


def inside(plan: Plan, stage: str) -> Inside:
    """How the interpreter of a stage's tasks starts.

    Raises:
        ConfigError: the settings are wrong, or the image or what it is to see is not there.
    """
    settings = check(plan.settings)
    if settings.kind == "none":
        return Inside(plan.settings["launch"]["python"] or shlex.quote(sys.executable))
    start = _pyxis if settings.kind == "pyxis" else _apptainer
    return start(settings, plan, stage)


def check(settings: Mapping[str, Any]) -> Container:
    """The container's settings, with absolute paths.

    Raises:
        ConfigError: they are wrong, or what they name is not there.
    """
    made: Container = config.make(Container, settings.get("container") or {}, "container")
    if made.kind == "none":
        return made
    if settings["launch"]["kind"] != "slurm":
        raise ConfigError(
            f"container={made.kind} starts the tasks of launch=slurm; add container=none, or launch=slurm"
        )
    stages = config.stages(settings)
    for stage in made.images:
        if stage not in stages:
            raise ConfigError(f"container.images has stage '{stage}'; {nearest(stage, stages)}")
    for name in made.pass_env:
        if not (name.isidentifier() and name.isascii()):
            raise ConfigError(f"container.pass_env has '{name}'; it takes names of variables, without values")
    if made.network == "none" and (made.kind == "pyxis" or on_disk(str(settings["input"])) is None):
        why = "pyxis cannot take it away" if made.kind == "pyxis" else "tasks fetch the videos over it"
        raise ConfigError(f"container.network=none: {why}; container.network=host")
    absolute = Container(**{**vars(made), **_absolute(made)})
    for image in {absolute.image_of(stage) for stage in stages}:
        _expect(image, "image")
    for path in absolute.binds:
        _expect(path, "binds")
    return absolute


def _absolute(made: Container) -> dict[str, Any]:
    return {
        "image": made.image and _place(made, made.image),
        "images": {stage: _place(made, image) for stage, image in made.images.items()},
        "binds": tuple(str(sources.absolute(path)) for path in made.binds),
    }


def _place(made: Container, image: str) -> str:
    """pyxis also takes images by the name that a registry knows."""
    registered = made.kind == "pyxis" and not image.startswith(("/", "."))
    return image if registered else str(sources.absolute(image))


def _expect(path: str, setting: str) -> None:
    if path.startswith("/") and not os.access(path, os.R_OK):
        raise ConfigError(f"container.{setting}: {path} is not there, or may not be read")


def frozen(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as a plan keeps them: later commands may run in another folder."""
    made = check(settings)
    return dict(settings.get("container") or {}) if made.kind == "none" else asdict(made)


# -- what is bound -------------------------------------------------------------------------------------------------


def binds(settings: Container, plan: Plan, stage: str) -> list[Bind]:
    """What the tasks of a stage see of the machine, each folder before what lies in it."""
    output, step = config.output(plan.settings), plan.steps[stage]
    reads = {*settings.binds, *_videos(plan, settings), *_weights(step.stage.parts())}
    writes = {str(plan.paths.root)} | ({step.resources.scratch} if step.resources.scratch else set())
    # `run` makes the folder of the data set; `doctor` may come before it.
    if output and not delivery.is_store(output) and Path(output).is_dir():
        writes.add(output)
    for path in reads | writes:
        if not path.isprintable():
            raise ConfigError(f"{path!r} cannot be bound into a container: there are control characters in its name")
    return [Bind(path, path in writes) for path in sorted(reads | writes)]


def _videos(plan: Plan, settings: Container) -> list[str]:
    """The folders of all videos that the run folder knows."""
    source = on_disk(str(plan.settings["input"]))
    root = None if source is None else str(sources.absolute(source))
    roots = [root] if root and Path(root).is_dir() else []
    folders, others_too = _folders(plan.paths, plan.units)
    if others_too and settings.network == "none":
        raise ConfigError("container.network=none: some videos are fetched over it; container.network=host")
    # Scan says which videos are missing; a folder that is not there must not stop the others.
    others = [one for one in folders if not _below(one, [*roots, *settings.binds]) and Path(one).is_dir()]
    return roots + _few(others)


@functools.lru_cache(maxsize=4)
def _folders(paths: RunPaths, _units: int) -> tuple[tuple[str, ...], bool]:
    """The folders of the videos of local disks, and whether there are others. Asked for with every array."""
    found = pc.unique(pc.replace_substring_regex(units.all_videos(paths)["uri"], "[^/]*$", "")).to_pylist()
    local = [folder for uri in found if (folder := on_disk(uri)) is not None]
    return tuple(sorted(folder.rstrip("/") for folder in local)), len(local) < len(found)


def _below(path: str, folders: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _few(folders: Sequence[str]) -> list[str]:
    """Folders of which none lies in another; if there are many, the one that holds them all."""
    kept: list[str] = []
    for folder in sorted(folders):
        if not kept or not Path(folder).is_relative_to(kept[-1]):
            kept.append(folder)
    if len(kept) <= _MOST_FOLDERS:
        return kept
    shared = os.path.commonpath(kept)
    if shared == "/":
        raise ConfigError(
            f"the videos lie in {len(kept)} folders, which is too many to bind; name those that hold them in "
            "container.binds, such as container.binds=[/data,/archive]"
        )
    return [shared]


def _weights(parts: Iterable[Any]) -> list[str]:
    """Files that a setting names; those of our packages are in the image too."""
    named = [(part, path) for part in parts for path in part.weights() if str(path) in map(str, vars(part).values())]
    for part, path in named:
        if not path.is_absolute():
            raise ConfigError(f"{part.name}: weights {path} must be an absolute path, because tasks run in a container")
    return [str(path) for _, path in named]


# -- how it starts -------------------------------------------------------------------------------------------------


def _apptainer(settings: Container, plan: Plan, stage: str) -> Inside:
    """Apptainer 1.0 or later, or SingularityCE 3.10 or later: the same options, another name."""
    names = " ".join([*_TOLD, *settings.pass_env])
    enter = _ENTER.format(names=names, prefix=f"{settings.kind.upper()}ENV")
    options = list(_ALWAYS)
    if plan.steps[stage].resources.gpus:
        options.append("--nv")
    if settings.network == "none" and not (stage == "pack" and delivery.is_store(config.output(plan.settings))):
        options += ["--userns", "--net", "--network", "none"]
    for bind in binds(settings, plan, stage):
        options += ["--mount", _mount(bind)]
    words = [*options, *settings.options, settings.image_of(stage), settings.python]
    return Inside(shlex.join(["bash", "-c", enter, settings.kind, *words]))


def _mount(bind: Bind) -> str:
    """A row of CSV, in which a path may hold what ends it in `--bind`: commas and colons."""
    path = bind.path.replace('"', '""')
    return f'type=bind,"src={path}","dst={path}"' + ("" if bind.writable else ",ro")


def _pyxis(settings: Container, plan: Plan, stage: str) -> Inside:
    """srun's options where the site has NVIDIA's plugin pyxis."""
    mounts = []
    # The plugin expands no variables, so a folder of the node for temporary files has to have a fixed name.
    scratch = [] if plan.steps[stage].resources.scratch else [Bind("/tmp", writable=True)]
    for bind in [*scratch, *binds(settings, plan, stage)]:
        if ":" in bind.path or "," in bind.path:
            raise ConfigError(f"pyxis cannot mount {bind.path}: commas and colons separate its mounts; rename it")
        mounts.append(f"{bind.path}:{bind.path}" + ("" if bind.writable else ":ro"))
    args = [
        f"--container-image={settings.image_of(stage)}",
        f"--container-mounts={','.join(mounts)}",
        "--no-container-mount-home",
        "--container-readonly",
        "--container-workdir=/",
        # pyxis lets the whole environment in, so srun takes along no more than this. Slurm adds its own.
        f"--export={','.join([*_TAKEN_ALONG, *settings.pass_env])}",
    ]
    preferred = [f"--container-env={','.join(settings.pass_env)}"] if settings.pass_env else []
    return Inside(shlex.quote(settings.python), (*args, *preferred, *settings.options))
