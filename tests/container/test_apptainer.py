"""Tasks in a real Apptainer, in the image of slurm/hpc_curate.def, as an ordinary user of a cluster runs them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import eventually

from hpc_curate import __version__, config, launch, plan, run
from hpc_curate.cluster import container

Prepare = Callable[..., plan.Plan]

CANARY = "do-not-tell"
# Heeds signals as a worker does, and says when it is ready for them.
HEEDS = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
signal.signal(signal.SIGUSR2, lambda *_: sys.exit(76))
print("ready", flush=True)
time.sleep(60)
"""
# Does a unit as the payload of an array element does.
WORKER = """
import sys
from pathlib import Path
from hpc_curate import launch, plan
sys.exit(launch.work(plan.load(Path(sys.argv[1])), "scan", [0]))
"""


@pytest.fixture
def prepare(image: Path, make_video: Callable[..., Path], tmp_path: Path) -> Prepare:
    """Makes a saved plan over one small video, from overrides."""

    def make(*overrides: str) -> plan.Plan:
        if not (tmp_path / "videos").exists():
            make_video("videos/one.mp4")
        config.register()
        places = [f"input={tmp_path / 'videos'}", f"run_dir={tmp_path / 'run'}", f"container.image={image}"]
        settings = config.resolve(run.compose(["launch=slurm", "container=apptainer", *places, *overrides]))
        run.make_folders(settings)
        return run.prepare(settings)

    return make


def start(line: plan.Plan, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A task of stage scan, with arguments for its interpreter."""
    told = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "PATH": os.environ["PATH"], "HOME": str(Path.home())}
    return subprocess.Popen(
        ["bash", "-c", f'exec {container.inside(line, "scan").python} "$@"', "bash", *arguments],
        env={**told, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tell(line: plan.Plan, code: str, **environment: str) -> str:
    """What a line of Python in a task prints."""
    with start(line, "-c", f"import os, sys; from pathlib import Path; {code}", **environment) as process:
        said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return said.strip()


def test_a_task_is_told_all_that_slurm_says_and_no_secret(prepare: Prepare) -> None:
    line = prepare("container.pass_env=[AWS_REGION]")
    name = '$(touch /tmp/pwned) `id` "two\nlines"'
    environment = {"SLURM_JOB_NAME": name, "AWS_SECRET_ACCESS_KEY": CANARY, "AWS_REGION": "$(id)"}
    assert tell(line, "print(os.environ['SLURM_JOB_NAME'])", **environment) == name
    assert tell(line, "print(os.environ['SLURM_PROCID'], os.environ['AWS_REGION'])", **environment) == "0 $(id)"
    assert CANARY not in tell(line, "print(dict(os.environ))", **environment)
    named = prepare("container.pass_env=[AWS_SECRET_ACCESS_KEY]")
    assert tell(named, "print(os.environ['AWS_SECRET_ACCESS_KEY'])", **environment) == CANARY


def test_a_secret_stands_in_no_argument(prepare: Prepare) -> None:
    line = prepare("container.pass_env=[AWS_SECRET_ACCESS_KEY]")
    with start(line, "-c", HEEDS, AWS_SECRET_ACCESS_KEY=CANARY) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        everybody_reads = [path.read_text(errors="replace") for path in Path("/proc").glob("[0-9]*/cmdline")]
        process.terminate()
    assert any("apptainer" in text.lower() for text in everybody_reads)
    assert not any(CANARY in text for text in everybody_reads)


def test_of_the_machine_a_task_sees_what_is_bound(prepare: Prepare, tmp_path: Path) -> None:
    line = prepare()
    scratch, private = tmp_path / 'scratch, "b:c"', tmp_path / "private"
    scratch.mkdir()
    private.mkdir()
    there = f"print([Path(path).exists() for path in {[str(private), str(scratch)]!r}])"
    assert tell(line, there, TMPDIR=str(scratch)) == "[False, True]"
    look = "import site, tempfile; print(site.ENABLE_USER_SITE, tempfile.gettempdir(), os.listdir(Path.home()))"
    assert tell(line, look, TMPDIR=str(scratch)) == f"False {scratch} []"


def test_videos_can_be_read_and_the_run_folder_be_written(
    prepare: Prepare, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_video('odd: a,b "c"/one.mp4').parent
    line = prepare(f"input='{folder}'", f"run_dir='{folder}/run'")
    rights = (
        f"print([os.access(path, way) for path in {[str(folder), f'{folder}/run']!r} for way in (os.R_OK, os.W_OK)])"
    )
    assert tell(line, rights) == "[True, False, True, True]"


def test_codes_and_the_umask_come_through(prepare: Prepare, tmp_path: Path) -> None:
    line = prepare()
    for code, expected in (("sys.exit(37)", 37), ("os.kill(os.getpid(), 9)", -signal.SIGKILL)):
        with start(line, "-c", f"import os, sys; {code}") as process:
            process.communicate(timeout=120)
        assert process.returncode == expected
    before = os.umask(0o077)
    try:
        tell(line, f"Path({str(tmp_path / 'run' / 'made')!r}).touch()")
    finally:
        os.umask(before)
    assert (tmp_path / "run" / "made").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR2, 76)])
def test_signals_reach_the_interpreter(prepare: Prepare, number: signal.Signals, code: int) -> None:
    with start(prepare(), "-c", HEEDS) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode == code


def test_signals_and_codes_pass_an_image_in_one_file(prepare: Prepare, image: Path, tmp_path: Path) -> None:
    """Unpacked for the task, which works without FUSE; with nothing but a shell in it, so that this is quick."""
    root, file = tmp_path / "root", tmp_path / "shell.sif"
    for name in ("bin/sh", "bin/sleep", "lib/x86_64-linux-gnu/libc.so.6", "lib64/ld-linux-x86-64.so.2"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy((image / name).resolve(), root / name)
    subprocess.run(["apptainer", "--silent", "build", file, root], check=True)
    line = prepare(f"container.image={file}", "container.python=/bin/sh", "container.options=[--unsquash]")
    heeds = "trap 'exit 75' TERM; echo ready; while :; do sleep 0.1; done"
    with start(line, "-c", heeds) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 75


def test_a_worker_that_is_told_to_stop_says_so_and_goes_on_later(
    prepare: Prepare, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        make_video(f"videos/{name}.mp4", "testsrc=s=640x360:r=25:d=20", "-c:v", "libx264", "-preset", "ultrafast")
    line = prepare()
    with start(line, "-c", WORKER, str(line.file)) as process:
        parts = line.paths.parts("scan", line.static_signature("scan"), 0)
        eventually(lambda: any(parts.glob("**/*")))
        process.terminate()
        _, errors = process.communicate(timeout=120)
    assert (process.returncode, "SIGTERM" in errors) == (launch.START_ME_AGAIN, True), errors
    assert not line.paths.done("scan", line.static_signature("scan"), 0).exists()
    with start(line, "-c", WORKER, str(line.file)) as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert line.paths.done("scan", line.static_signature("scan"), 0).exists()


def test_a_decoder_without_network_decodes_as_well(prepare: Prepare) -> None:
    line = prepare("container.network=none")
    interfaces = tell(line, "print([row.split(':')[0].strip() for row in open('/proc/net/dev') if ':' in row])")
    assert interfaces == "['lo']"
    with start(line, "-c", WORKER, str(line.file)) as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert line.paths.done("scan", line.static_signature("scan"), 0).exists()


def test_the_old_name_works_too(prepare: Prepare) -> None:
    line = prepare("container=singularity")
    version = tell(line, "import hpc_curate; print(hpc_curate.__version__, os.environ['SLURM_JOB_ID'])")
    assert version == f"{__version__} 7"
