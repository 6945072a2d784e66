"""What a machine has of what tasks need: looked at where tasks run, as plain values that travel, and judged here."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hpc_curate import __version__, config, sources
from hpc_curate import plan as plans
from hpc_curate.element import binding
from hpc_curate.errors import ConfigError, CurateError, NotInstalled
from hpc_curate.io import child, delivery, tables
from hpc_curate.plan import Plan
from hpc_curate.planning.checks import OK, RED, WARNING, Finding, endpoints, storage, tools
from hpc_curate.records import on_disk

Facts = dict[str, Any]

# What the extras cpu and gpu both bring, and stages import when they work.
_MODULES = ("av", "cv2", "faiss", "onnxruntime", "scenedetect")
_LOADING_S = 120  # of a model, from a cold file system
# RAM is not at stake here, and the driver of a GPU reserves address space without measure.
_BRIEFLY = child.Limits(memory_gb=1000, cpu_s=60, wall_s=60, file_gb=0.01)


def report(settings: str, gpus: str, schemes: str, out: str) -> None:
    """The payload of the job: look, and write what was seen as JSON.

    Args:
        settings: JSON of the whole configuration.
        gpus: how many the task was given.
        schemes: of the URIs of the videos, as words.
    """
    tables.write_json(Path(out), look(plans.build(json.loads(settings), 0), int(gpus), schemes.split()))


def look(plan: Plan, gpus: int = 0, wanted: Collection[str] = ()) -> Facts:
    """Everything worth knowing of this machine. Nothing that is missing raises.

    Args:
        wanted: schemes of URIs whose tools are looked at.
    """
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "interpreter": sys.executable,
        "hpc_curate": __version__,
        "modules_missing": _modules_missing(plan),
        "ffmpeg": _ffmpeg(plan, gpus),
        "schemes": list(wanted),
        "tools": tools.look(plan, wanted),
        "endpoints": endpoints.look(plan),
        "weights": weights(plan),
        "input": _input(plan),
        "folders": {name: storage.cannot_write(path) for name, path in folders(plan).items()},
        "scratch": {path: storage.room(Path(path)) for path in scratch(plan)},
        "gpus": (seen := len(binding.visible_gpus()) if gpus else 0),
        "gpus_asked": gpus,
        "gpu_stages": _gpu_stages(plan) if seen else {},
    }


def _modules_missing(plan: Plan) -> list[str]:
    """Fetching alone needs none of them."""
    wanted = _MODULES if set(plan.steps) - {"fetch"} else ()
    return [name for name in wanted if importlib.util.find_spec(name) is None]


def needs_store(plan: Plan) -> bool:
    """Whether videos come from, or the data set goes to, an object store."""
    return str(plan.settings["input"]).startswith("s3://") or delivery.is_store(config.output(plan.settings))


def folders(plan: Plan) -> dict[str, Path]:
    """The folders that tasks write to, by the name of their setting."""
    found, output = {"run_dir": plan.paths.root}, config.output(plan.settings)
    return found if output is None or delivery.is_store(output) else {**found, "output": Path(output)}


def scratch(plan: Plan) -> list[str]:
    """The folders for large temporary files."""
    return sorted({step.resources.scratch or tempfile.gettempdir() for step in plan.steps.values()})


# -- looking -------------------------------------------------------------------------------------------------------


def _ffmpeg(plan: Plan, gpus: int) -> Facts:
    """Version, and what the plan needs of it that it lacks."""
    try:
        program = child.ffmpeg()
        found: Facts = {"path": program, "version": child.ffmpeg_version()}
    except CurateError as error:
        return {"error": str(error)}
    encoders, filters = _needed_of_ffmpeg(plan)
    found["encoders_missing"] = sorted(encoders - _offered(program, "-encoders"))
    found["filters_missing"] = sorted(filters - _offered(program, "-filters"))
    found["broken"] = ""
    cut = plan.steps.get("cut")
    if cut and not found["encoders_missing"] and ("nvenc" not in _codec(plan) or gpus):
        found["broken"] = _try_encoder(program, _codec(plan))
    return found


def _codec(plan: Plan) -> str:
    return str(getattr(plan.steps["cut"].stage, "codec", "libx264"))


def _needed_of_ffmpeg(plan: Plan) -> tuple[set[str], set[str]]:
    """Encoders and filters by ffmpeg's names; the frame pack is JPEG."""
    if "cut" not in plan.steps:
        return {"mjpeg"}, set()
    cut: Any = plan.steps["cut"].stage
    encoders = {"mjpeg", cut.codec} | ({"aac"} if cut.audio == "keep" else set())
    filters = {"bwdif"} if cut.interlaced == "deinterlace" else set()
    return encoders, filters | ({"zscale", "tonemap"} if cut.hdr == "tonemap" else set())


def _offered(program: str, what: str) -> set[str]:
    """The second word of each line of ffmpeg's list."""
    listed = child.run([program, "-hide_banner", what], _BRIEFLY).stdout.decode(errors="replace")
    return {words[1] for line in listed.splitlines() if len(words := line.split()) > 1}


def _try_encoder(program: str, codec: str) -> str:
    """Why a few pictures cannot be encoded; empty where they can. Some GPUs have no encoder: A100, H100."""
    picture = ["-f", "lavfi", "-i", "testsrc=s=256x256:r=10:d=0.3", "-pix_fmt", "yuv420p"]
    command = [program, "-v", "error", "-nostdin", *picture, "-c:v", codec, "-f", "null", "-"]
    finished = child.run(command, _BRIEFLY)
    return "" if finished.ok else child.explain(finished)


def _gpu_stages(plan: Plan) -> dict[str, Facts]:
    """What the models of each stage that asks for GPUs would run on."""
    asking = [name for name, step in plan.steps.items() if step.resources.gpus]
    return {name: _devices(plan, name) for name in asking if not (name == "cut" and "nvenc" in _codec(plan))}


def _devices(plan: Plan, stage: str) -> Facts:
    """Why each runtime of a stage cannot use a GPU, or `error`: the model could not be loaded."""
    command = [sys.executable, "-m", "hpc_curate.models.devices", json.dumps(plan.settings), stage]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LOADING_S, check=True)
        found: Facts = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"its model was not loaded within {_LOADING_S} s"}
    except (subprocess.CalledProcessError, OSError, ValueError, IndexError) as error:
        said = str(getattr(error, "stderr", "") or error).strip()
        return {"error": said.splitlines()[-1]}
    return found


def weights(plan: Plan) -> Facts:
    """Bytes of every file of weights, or what is wrong, by stage; paths may differ inside a container."""
    found: Facts = {}
    for name, step in plan.steps.items():
        for part in step.stage.parts():
            try:
                for path in part.weights():
                    found[f"{name}: {path.name}"] = _bytes_of(path)
            except NotInstalled as error:
                found[name] = {"error": error.what, "advice": error.advice}
            except (ConfigError, OSError) as error:
                found[name] = {"error": str(error), "advice": _ON_EVERY_NODE}
    return found


def _bytes_of(path: Path) -> int:
    """Raises: OSError: it cannot be read."""
    with path.open("rb") as file:
        file.read(1)
    return path.stat().st_size


def _input(plan: Plan) -> str:
    """Why the input cannot be read here; empty where it can, or where it is in a store."""
    text = on_disk(str(plan.settings["input"]))
    if text is None:
        return ""
    path = sources.absolute(text)
    try:
        needed = os.R_OK | (os.X_OK if path.is_dir() else 0)
        return "" if os.access(path, needed) else "it may not be read" if path.exists() else "no such file or folder"
    except OSError as error:
        return str(error.strerror)


# -- judging -------------------------------------------------------------------------------------------------------


def judge(facts: Facts, plan: Plan, *, works_here: bool) -> list[Finding]:
    """What a machine lacks.

    Args:
        works_here: tasks run there; else it only queues them.
    """
    return [
        *_judge_python(facts, plan),
        *_judge_ffmpeg(facts["ffmpeg"], works_here),
        *tools.judge(facts["tools"]),
        *endpoints.judge(facts["endpoints"], plan, works_here=works_here),
        *_judge_weights(facts["weights"]),
        *_judge_places(facts, plan),
        *(_judge_scratch(facts["scratch"], plan) if works_here else ()),
        *(_judge_gpus(facts) if facts["gpus_asked"] else ()),
    ]


def _judge_python(facts: Facts, plan: Plan) -> list[Finding]:
    findings = [Finding("python", f"{facts['python']}, hpc_curate {facts['hpc_curate']}, {facts['interpreter']}")]
    if facts["modules_missing"]:
        word = f"without {', '.join(facts['modules_missing'])}"
        findings.append(Finding("packages", word, WARNING, "pip install 'hpc-curate[cpu]' or [gpu] where tasks run"))
    return findings


def compare(here: Facts, there: Facts) -> list[Finding]:
    """What must be the same on both sides of a pickle, and in a signature."""
    findings = []
    for name in ("python", "hpc_curate"):
        mine, other = here[name], there[name]
        if mine != other:
            serious = name == "hpc_curate" or mine.split(".")[:2] != other.split(".")[:2]
            advice = "launch.python names the interpreter of tasks; install the same in the image"
            findings.append(Finding(f"same {name}", f"{other}, but {mine} here", RED if serious else WARNING, advice))
    for name, size in here["weights"].items():
        other = there["weights"].get(name)
        if isinstance(size, int) and isinstance(other, int) and size != other:
            findings.append(Finding(f"weights of {name}", "not the file that is here", RED, "give tasks the same file"))
    return findings


def _judge_ffmpeg(found: Mapping[str, Any], works_here: bool) -> list[Finding]:
    if "error" in found:
        return [Finding("ffmpeg", found["error"], RED if works_here else WARNING, "" if works_here else _ELSEWHERE)]
    findings = []
    for kind in ("encoders", "filters"):
        if found[f"{kind}_missing"]:
            word = f"{found['version']} has no {', '.join(found[f'{kind}_missing'])}"
            verdict = RED if kind == "encoders" and works_here else WARNING
            advice = "another build: HPC_CURATE_FFMPEG=…; or stage.cut.codec" if kind == "encoders" else _FILTERS
            findings.append(Finding(f"ffmpeg {kind}", word, verdict, advice))
    if found["broken"]:
        advice = "stage.cut.codec=libx264; not every GPU has an encoder"
        findings.append(Finding("ffmpeg encodes", found["broken"], RED if works_here else WARNING, advice))
    return findings or [Finding("ffmpeg", f"{found['version']}, {found['path']}")]


_ON_EVERY_NODE = "a path that every node sees, and the container binds"
_ELSEWHERE = "nothing here, if tasks have one: they run elsewhere"
_FILTERS = "HDR or interlaced videos will fail: another build, or stage.cut.hdr=reject, stage.cut.interlaced=reject"


def _judge_weights(found: Mapping[str, Any]) -> list[Finding]:
    lost = {name: facts for name, facts in found.items() if not isinstance(facts, int)}
    findings = [Finding(f"weights of {name}", facts["error"], RED, facts["advice"]) for name, facts in lost.items()]
    there = [f"{name}, {size / 1e6:.0f} MB" for name, size in found.items() if name not in lost]
    return findings + ([Finding("weights", "; ".join(there))] if there else [])


def _judge_places(facts: Facts, plan: Plan) -> list[Finding]:
    places = {name: str(path) for name, path in folders(plan).items()}
    findings = []
    if not facts["input"]:
        findings.append(Finding("input", f"{plan.settings['input']}"))
    else:
        word = f"{plan.settings['input']}: {facts['input']}"
        findings.append(Finding("input", word, RED, _ON_EVERY_NODE))
    for name, wrong in facts["folders"].items():
        advice = f"{name}=… in a folder of yours on a file system that every node sees"
        word = f"{places[name]}: {wrong or 'can be written'}"
        findings.append(Finding(name, word, RED if wrong else OK, advice if wrong else ""))
    return findings


def _judge_scratch(found: Mapping[str, Any], plan: Plan) -> list[Finding]:
    reserve_gb = config.source(plan.settings).reserve_gb
    findings = []
    for path, room in found.items():
        verdict, advice = OK, ""
        word = f"{path}: " + (room["error"] or f"{room['free_gb']:.1f} GB free")
        if room["error"]:
            verdict, advice = RED, "resources.default.scratch=… names a folder that every node has"
        elif room["free_gb"] < reserve_gb:
            verdict, advice = (
                (RED if needs_store(plan) or "fetch" in plan.steps else WARNING),
                "resources.default.scratch=… on a larger disk",
            )
        findings.append(Finding("scratch", word, verdict, advice))
    return findings


def _judge_gpus(facts: Facts) -> list[Finding]:
    if facts["gpus"] >= facts["gpus_asked"]:
        used = [_judge_use(stage, found) for stage, found in facts["gpu_stages"].items()]
        return [Finding("GPUs", f"{facts['gpus']} visible"), *used]
    word = f"{facts['gpus_asked']} asked for, {facts['gpus']} visible"
    return [Finding("GPUs", word, RED, "ask the site how jobs get GPUs; in a container, does it bind the driver?")]


def _judge_use(stage: str, found: Mapping[str, str]) -> Finding:
    """GPU hours are billed whether anything uses them or not."""
    what, without = f"GPU use of {stage}", f"resources.{stage}.gpus=0"
    if "error" in found:
        return Finding(what, found["error"], RED, "the same would stop every task of the stage")
    idle = [f"{runtime}: {why}" for runtime, why in found.items() if why]
    if idle and len(idle) == len(found):
        advice = f"install the extra gpu where tasks run (launch.python, the image), or {without}"
        return Finding(what, f"none, the GPU would be idle: {'; '.join(idle)}", RED, advice)
    if not found:
        return Finding(what, "it loads no model before its first unit, or none at all", WARNING, without)
    word = f"with {', '.join(runtime for runtime, why in found.items() if not why)}"
    return Finding(what, "; ".join([word, *idle]))
