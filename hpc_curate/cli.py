"""The verbs. Nothing heavy is imported until a verb needs it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from hpc_curate import __version__
from hpc_curate.browse import options as browsing
from hpc_curate.errors import ConfigError, CurateError
from hpc_curate.preview import options

_RUN_HELP = (
    "curate: what follows are Hydra overrides (input=… run_dir=… launch=local|slurm|inline, -m sweeps), but for "
    "--dry-run [--json | --whole], which says what it would do and does nothing"
)
_FETCH_HELP = (
    "bring videos from stores, hubs and the web into a run folder, once, with licence and provenance; it is "
    "run recipe=fetch, and takes what run takes. Then: run input=THAT_FOLDER"
)
_DOCTOR_HELP = "whether run would work, with the same overrides, on this machine, on the cluster and on its nodes"
_BROWSE_HELP = (
    "videos, clips or samples in a browser: watch, filter, compare, judge; on this machine only, with a token"
)
_PREVIEW_HELP = "a grid of sampled videos or clips, all playing at once: of a folder, a store, or a run as it stands"

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point `hpc-curate`; returns the exit code: 0 well, 1 something failed, 2 wrong question."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    try:
        if arguments[:1] in (["run"], ["fetch"]):
            from hpc_curate import run

            return run.main(_with_recipe(arguments[1:]) if arguments[0] == "fetch" else arguments[1:])
        if arguments[:1] == ["doctor"]:
            from hpc_curate.planning import doctor

            return doctor.main(arguments[1:])
        return _verb(_parser().parse_args(arguments))
    except CurateError as error:
        print(f"hpc-curate: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except PermissionError as error:
        print(f"hpc-curate: {error.filename}: {error.strerror}; ask its owner, or see who may enter", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("hpc-curate: interrupted; the same command does what is missing", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # `… | head` has seen enough; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _with_recipe(words: list[str]) -> list[str]:
    """Beside the other overrides, of which Hydra wants all in one row."""
    recipe = ["recipe=fetch"]
    return [*words, *recipe] if words[:1] and words[0].startswith("-") else [*recipe, *words]


def verbs() -> list[str]:
    """The names of all verbs."""
    groups = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return [name for group in groups for name in group.choices]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hpc-curate", description="Raw video to training data, by job arrays.")
    parser.add_argument("--version", action="version", version=f"hpc-curate {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("help", help="this; help VERB: more about one")
    verbs.add_parser("run", help=_RUN_HELP, add_help=False)
    verbs.add_parser("fetch", help=_FETCH_HELP, add_help=False)

    verbs.add_parser("doctor", help=_DOCTOR_HELP, add_help=False)
    _add_looking(verbs)
    _add_doing(verbs)
    _add_learning(verbs)

    completion = verbs.add_parser(
        "completion", help='print a script for the shell: eval "$(hpc-curate completion bash)"'
    )
    completion.add_argument("shell", choices=["bash"])
    return parser


def _add_looking(verbs: Verbs) -> None:
    """The verbs that change nothing."""
    status = _of_a_run(verbs, "status", "where a run stands, from its ledger and one question to Slurm")
    shape = status.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="for scripts; `state` is done when it is")
    shape.add_argument("--watch", action="store_true", help="until it has ended; exit code 0 if it is done")

    propose = _of_a_run(
        verbs, "propose", "from what is done, in RUN or its pilot: walltime, memory, arrays, hours, bytes"
    )
    propose.add_argument(
        "--parallel", type=int, metavar="N", help="elements of a stage at once; default: as launch says"
    )
    propose.add_argument("--json", action="store_true", help="for scripts")

    logs = _of_a_run(
        verbs,
        "logs",
        "the end of the logs of what failed, those of a unit, or what became of a video or clip",
    )
    logs.add_argument("stage", nargs="?", metavar="STAGE")
    one = logs.add_mutually_exclusive_group()
    one.add_argument("--unit", type=int, help="one unit of the stage")
    one.add_argument(
        "--of",
        metavar="ID",
        help="a video's id, URI or name, or a clip's id: what each stage says of it",
    )

    logs.add_argument("--lines", type=int, default=20, metavar="N", help="last lines of each that failed; default: 20")
    logs.add_argument("--most", type=int, default=5, metavar="N", help="logs of what failed; default: 5")

    funnel = _of_a_run(verbs, "funnel", "what became of every video and clip, and what each rule removes; it adds up")
    funnel.add_argument("--json", action="store_true", help="for scripts: a list with one entry for each plan")
    funnel.add_argument(
        "--beside", nargs="+", default=[], metavar="PLAN", help="other plans, side by side with this one"
    )
    funnel.add_argument("-o", "--output", type=Path, metavar="HTML", help="with --beside: also as a page with pictures")

    report = _of_a_run(verbs, "report", "pages to look at, of a run as it stands: a folder that opens anywhere")
    report.set_defaults(module="hpc_curate.report.command")
    report.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="default: in the run folder")

    preview = verbs.add_parser("preview", help=_PREVIEW_HELP, description=_PREVIEW_HELP)
    preview.set_defaults(module="hpc_curate.preview.command")
    options.add_verb(preview)

    browse = verbs.add_parser("browse", help=_BROWSE_HELP, description=_BROWSE_HELP)
    browse.set_defaults(module="hpc_curate.browse.server")
    browsing.add_verb(browse)

    table = _of_a_run(verbs, "table", "one row per clip, with every column, state and reason")
    table.add_argument("-o", "--output", type=Path, required=True, help=".parquet, .csv or .jsonl")
    table.add_argument("--videos", action="store_true", help="one row per video instead")


def _add_doing(verbs: Verbs) -> None:
    """The verbs that start or end something."""
    retry = _of_a_run(verbs, "retry", "say what ended badly and why, forgive it, and do what is missing")
    retry.add_argument("stages", nargs="*", metavar="STAGES", help="only these stages; default: all")
    retry.add_argument(
        "--class",
        dest="kind",
        choices=("transient", "oom", "timeout", "cancelled", "quarantined", "unfetched", "all"),
        help="transient: faults of machines, preemption, deaths without a word; oom: with more memory; timeout: with "
        "more time; cancelled: by a person; quarantined: rows given up for other reasons than the data; unfetched: "
        "videos whose source did not answer. Default: transient, cancelled, unfetched, and what failed",
    )
    retry.add_argument("--factor", type=float, default=2.0, metavar="X", help="of memory or time; default: 2")
    retry.add_argument("--dry-run", action="store_true", help="only say it")

    work = _of_a_run(verbs, "work", "do some units in this process, for whatever starts processes; exit code 75: again")
    work.add_argument("stages", nargs="*", metavar="STAGES", help="default: all before the first merge")
    work.add_argument("--unit", type=int, nargs="+", default=[], help="which; a merge has none", metavar="N")

    _of_a_run(verbs, "cancel", "cancel what this run has queued or running, and nothing else")


def _add_learning(verbs: Verbs) -> None:
    """The verbs that fit small models to people's labels, and the one that searches."""
    fits = {
        "utility": "fit the number of stage utility to labels that people gave: 0 and 1, or ratings",
        "probe": "fit a classifier over embeddings to labels that people gave, for stage probe",
    }
    for name, text in fits.items():
        verb = verbs.add_parser(name, help=text, description=text)
        fit = verb.add_subparsers(dest="action", required=True, metavar="fit").add_parser("fit", help=text)
        fit.set_defaults(module="hpc_curate.learning.verbs")
        labels = (
            "a .csv, .parquet or .jsonl with a column clip_id and the label's; or RUN/verdicts, with --label verdict"
        )
        fit.add_argument("labels", type=Path, help=labels)
        fit.add_argument("run", type=Path, metavar="RUN", help="the run folder that the clips are in")
        fit.add_argument("--plan", help="a plan's hash, or its first digits; default: the last plan")
        fit.add_argument("-o", "--output", type=Path, required=True, help="weights.json; weights.html says how good")
        fit.add_argument("--label", default="label", metavar="COLUMN", help="default: label")
        fit.add_argument("--l2", type=float, default=1.0, help="penalty on squared weights; default: 1")
        fit.add_argument("--folds", type=int, default=5, help="groups of videos for cross-validation; default: 5")
        if name == "utility":
            fit.add_argument("--columns", metavar="A,B,…", help="only these scores; default: all numbers of the run")

    search = _of_a_run(verbs, "search", "clips by words (embeddings of open_clip), or by likeness to a clip")
    search.set_defaults(module="hpc_curate.search")
    search.add_argument("text", nargs="?", metavar="WORDS", help='such as "a red car at night"')
    search.add_argument("--like", metavar="CLIP_ID", help="a clip of the run, with any embedding")
    search.add_argument("--top", type=int, default=20, metavar="N", help="how many; default: 20")
    search.add_argument("--json", action="store_true", help="for scripts")


def _of_a_run(verbs: Verbs, name: str, text: str) -> argparse.ArgumentParser:
    verb = verbs.add_parser(name, help=text, description=text)
    verb.add_argument("run", type=Path, metavar="RUN", help="the run folder")
    verb.add_argument("--plan", help="a plan's hash, or its first digits; default: the last plan")
    return verb


def _verb(given: argparse.Namespace) -> int:
    from hpc_curate import verbs

    if given.verb == "completion":
        return verbs.completion()
    module = importlib.import_module(given.module) if "module" in given else verbs
    return int(getattr(module, given.verb)(given))
