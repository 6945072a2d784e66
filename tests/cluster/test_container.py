"""How tasks enter a container: what they see of the machine and of the environment, and what is refused at once."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_curate import config, plan, run
from hpc_curate.cluster import container
from hpc_curate.errors import ConfigError

Prepare = Callable[..., plan.Plan]

# Stands for Apptainer: says what it was given.
PROGRAM = f"""#!{sys.executable}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "environment": dict(os.environ), "pid": os.getpid()}}))
"""
CANARY = "do-not-tell"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "hpc_curate.sif"
    path.touch()
    return path


@pytest.fixture
def prepare(image: Path, tmp_path: Path) -> Prepare:
    """Makes a saved plan over one video for Slurm and Apptainer, from overrides."""
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "one.mp4").write_bytes(b"x")

    def make(*overrides: str) -> plan.Plan:
        config.register()
        places = [f"input={videos}", f"run_dir={tmp_path / 'run'}"]
        inside = [] if "container=none" in overrides else ["container=apptainer", f"container.image={image}"]
        settings = config.resolve(run.compose(["launch=slurm", *places, *inside, *overrides]))
        run.make_folders(settings)
        return run.prepare(settings)

    return make


def words(line: plan.Plan, stage: str = "scan") -> list[str]:
    """The command line of a stage's interpreter, as a shell reads it."""
    return shlex.split(container.inside(line, stage).python)


def bound(line: plan.Plan, stage: str = "scan") -> dict[str, bool]:
    """Whether a path can be written inside, by path; in the order of mounting."""
    return {one.path: one.writable for one in container.binds(container.check(line.settings), line, stage)}


def test_without_a_container_the_interpreter_is_the_one_that_queues(prepare: Prepare) -> None:
    line = prepare("container=none")
    assert container.inside(line, "scan") == container.Inside(shlex.quote(sys.executable))


def test_the_whole_command_line(prepare: Prepare, image: Path, tmp_path: Path) -> None:
    bash, option, script, program, *rest = words(prepare())
    assert (bash, option, program) == ("bash", "-c", "apptainer")
    assert script.splitlines()[-1].startswith('exec "$0" exec --mount ')
    run_dir, videos = tmp_path / "run", tmp_path / "videos"
    assert rest == [
        *("--cleanenv", "--no-eval", "--contain", "--pwd", "/"),
        *("--mount", f'type=bind,"src={run_dir}","dst={run_dir}"'),
        *("--mount", f'type=bind,"src={videos}","dst={videos}",ro'),
        *(str(image), "python3"),
    ]


def test_only_stages_with_gpus_get_the_driver(prepare: Prepare) -> None:
    line = prepare("resources.embed.gpus=1")
    assert ("--nv" in words(line, "embed"), "--nv" in words(line, "scan")) == (True, False)


def test_a_stage_may_have_an_image_of_its_own(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "gpu.sif").touch()
    line = prepare(f"+container.images.embed={tmp_path}/gpu.sif")
    assert [words(line, stage)[-2].rpartition("/")[2] for stage in ("scan", "embed")] == ["hpc_curate.sif", "gpu.sif"]


def test_options_of_the_site_come_last(prepare: Prepare) -> None:
    assert words(prepare("container.options=[--nvccli]"))[-3] == "--nvccli"


# -- what is bound -------------------------------------------------------------------------------------------------


def test_names_that_bind_would_split_are_mounted(prepare: Prepare, tmp_path: Path) -> None:
    folder = tmp_path / 'a:b,c "d"'
    folder.mkdir()
    (folder / "one.mp4").write_bytes(b"x")
    line = prepare(f"input='{folder}'")
    quoted = f'{tmp_path}/a:b,c ""d""'
    assert f'type=bind,"src={quoted}","dst={quoted}",ro' in words(line)


def test_a_name_that_no_mount_can_hold_is_refused(prepare: Prepare, tmp_path: Path) -> None:
    folder = tmp_path / "two\nlines"
    folder.mkdir()
    (folder / "one.mp4").write_bytes(b"x")
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "list.txt").write_text("file://" + str(folder / "one.mp4").replace("\n", "%0A"))
    line = prepare(f"input={tmp_path}/list.txt")
    with pytest.raises(ConfigError, match="cannot be bound into a container"):
        container.inside(line, "scan")


def test_videos_of_a_list_bring_their_folders_and_none_that_is_missing(prepare: Prepare, tmp_path: Path) -> None:
    for name in ("a/1.mp4", "a/deeper/2.mp4", "b/3.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text("a/1.mp4\na/deeper/2.mp4\nb/3.mp4\nmissing/4.mp4\n")
    line = prepare(f"input={tmp_path}/list.txt")
    assert bound(line) == {f"{tmp_path}/a": False, f"{tmp_path}/b": False, f"{tmp_path}/run": True}


def test_many_folders_are_bound_as_the_one_that_holds_them(prepare: Prepare, tmp_path: Path) -> None:
    names = [f"many/{number}/{number}.mp4" for number in range(40)]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text("\n".join(names))
    assert f"{tmp_path}/many" in bound(prepare(f"input={tmp_path}/list.txt"))


def test_videos_of_an_earlier_input_stay_in_sight(prepare: Prepare, tmp_path: Path) -> None:
    prepare()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "two.mp4").write_bytes(b"x")
    assert {f"{tmp_path}/videos", f"{tmp_path}/more"} <= set(bound(prepare(f"input={tmp_path}/more")))


def test_what_is_written_may_lie_in_what_is_read(prepare: Prepare, tmp_path: Path) -> None:
    inside, out = tmp_path / "videos" / "run", tmp_path / "videos" / "out"
    mounts = bound(prepare(f"run_dir={inside}", f"output={out}", "+resources.scan.scratch=/scratch"))
    assert list(mounts.items()) == sorted(
        {"/scratch": True, f"{tmp_path}/videos": False, str(out): True, str(inside): True}.items()
    )


def test_weights_that_a_setting_names_can_be_read(prepare: Prepare, tmp_path: Path) -> None:
    weights = tmp_path / "weights" / "sscd.onnx"
    weights.parent.mkdir()
    weights.write_bytes(b"x")
    named = ["stage.embed.model=sscd", f"stage.embed.weights_path={weights}"]
    line = prepare(*named, "container.binds=[/usr/share]")
    assert {str(weights): False, "/usr/share": False}.items() <= bound(line, "embed").items()
    assert str(weights) not in bound(line, "scan")


def test_weights_with_a_relative_path_are_refused(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sscd.onnx").write_bytes(b"x")
    line = prepare("stage.embed.model=sscd", "stage.embed.weights_path=sscd.onnx")
    with pytest.raises(ConfigError, match="absolute path"):
        container.inside(line, "embed")


def test_later_commands_may_run_in_another_folder(
    prepare: Prepare, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = prepare(f"container.image={image.name}", "container.binds=[videos]")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    later = plan.load(line.file)
    assert words(later)[-2] == str(image)
    assert f"{tmp_path}/videos" in bound(later)


# -- what the environment is ---------------------------------------------------------------------------------------


def entered(line: plan.Plan, tmp_path: Path, environment: dict[str, str]) -> dict[str, object]:
    """What a program that stands for Apptainer is given by a task."""
    program = tmp_path / "bin" / line.settings["container"]["kind"]
    program.parent.mkdir(exist_ok=True)
    program.write_text(PROGRAM)
    program.chmod(0o755)
    with subprocess.Popen(
        ["bash", "-c", f"exec {container.inside(line, 'scan').python} -u -m module"],
        env={"PATH": f"{program.parent}:/usr/bin:/bin", **environment},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        seen = json.load(process.stdout)
    assert seen["pid"] == process.pid  # nothing stands between the task and the one who sends it signals
    return seen


def test_what_slurm_and_submitit_say_is_handed_over_as_it_is(prepare: Prepare, tmp_path: Path) -> None:
    told = {
        "SLURM_PROCID": "3",
        "SLURM_JOB_NAME": '$(echo pwned) `id` "\nsecond line',
        "SUBMITIT_EXECUTOR": "slurm",
        "CUDA_VISIBLE_DEVICES": "",
        "TMPDIR": str(tmp_path),
    }
    seen = entered(prepare(), tmp_path, {**told, "AWS_SECRET_ACCESS_KEY": CANARY})
    prefix = "APPTAINERENV_"
    inside = {name.removeprefix(prefix): value for name, value in seen["environment"].items() if prefix in name}
    assert inside == {**told, "PYTHONNOUSERSITE": "1"}
    assert seen["arguments"][:3] == ["exec", "--mount", f'type=bind,"src={tmp_path}","dst={tmp_path}"']
    assert seen["arguments"][-5:] == [str(tmp_path / "hpc_curate.sif"), "python3", "-u", "-m", "module"]


def test_a_secret_comes_in_by_name_only_and_never_in_an_argument(
    prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    line = prepare("container.pass_env=[AWS_SECRET_ACCESS_KEY,AWS_REGION]")
    assert CANARY not in container.inside(line, "scan").python + line.file.read_text()
    seen = entered(line, tmp_path, {"AWS_SECRET_ACCESS_KEY": CANARY})
    assert seen["environment"]["APPTAINERENV_AWS_SECRET_ACCESS_KEY"] == CANARY
    assert "APPTAINERENV_AWS_REGION" not in seen["environment"]
    assert CANARY not in " ".join(seen["arguments"])


def test_a_folder_for_temporary_files_that_the_node_lacks_is_the_systems(prepare: Prepare, tmp_path: Path) -> None:
    seen = entered(prepare(), tmp_path, {"TMPDIR": "/not/there"})
    assert seen["arguments"][2] == 'type=bind,"src=/tmp","dst=/tmp"'


def test_singularity_goes_by_its_own_name(prepare: Prepare, tmp_path: Path) -> None:
    seen = entered(prepare("container=singularity"), tmp_path, {"SLURM_PROCID": "3"})
    assert seen["environment"]["SINGULARITYENV_SLURM_PROCID"] == "3"


# -- the network ---------------------------------------------------------------------------------------------------


def test_tasks_lose_the_network_where_that_is_asked_for(prepare: Prepare, tmp_path: Path) -> None:
    offline = ["--userns", "--net", "--network", "none"]
    line = prepare("container.network=none", "output=s3://bucket/data")
    assert offline == [word for word in words(line) if word in offline]
    assert "--net" not in words(line, "pack")  # it uploads


def test_videos_that_are_fetched_need_the_network(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{tmp_path}/videos/one.mp4\ns3://bucket/two.mp4\n")
    line = prepare("container.network=none", f"input={tmp_path}/list.txt")
    with pytest.raises(ConfigError, match="fetched over it"):
        container.inside(line, "scan")


# -- what is wrong before anything is listed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("container.image=null", "stage scan has no image; add container.image="),
        ("container.image=/not/there.sif", "container.image: /not/there.sif is not there"),
        ("+container.images.embd=x.sif", "did you mean 'embed'"),
        ("+container.images.embed=/not/there.sif", "container.image: /not/there.sif is not there"),
        ("container.binds=[/not/there]", "container.binds: /not/there is not there"),
        ("container.pass_env=['LANG=value']", "takes names of variables, without values"),
        ("container.pass_env=['$(id)']", "takes names of variables, without values"),
        ("container.network=off", "container.network='off' is no choice"),
        ("launch=local", "add container=none, or launch=slurm"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(prepare: Prepare, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[").replace("(", r"\(")):
        prepare(override)


# -- pyxis: only planned here; no machine of ours has the plugin ---------------------------------------------------


def test_pyxis_is_options_of_srun(prepare: Prepare, tmp_path: Path) -> None:
    line = prepare("container=pyxis", "container.image='nvcr.io#team/hpc_curate:1'", "container.pass_env=[AWS_PROFILE]")
    mounts = f"/tmp:/tmp,{tmp_path}/run:{tmp_path}/run,{tmp_path}/videos:{tmp_path}/videos:ro"
    assert container.inside(line, "scan") == container.Inside(
        "python3",
        (
            "--container-image=nvcr.io#team/hpc_curate:1",
            f"--container-mounts={mounts}",
            "--no-container-mount-home",
            "--container-readonly",
            "--container-workdir=/",
            "--export=SUBMITIT_EXECUTOR,SUBMITIT_PREEMPT_SIGNAL,PYTHONNOUSERSITE=1,AWS_PROFILE",
            "--container-env=AWS_PROFILE",
        ),
    )


def test_pyxis_cannot_mount_every_name(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a:b").mkdir()
    (tmp_path / "a:b" / "one.mp4").write_bytes(b"x")
    line = prepare("container=pyxis", f"input='{tmp_path}/a:b'")
    with pytest.raises(ConfigError, match="pyxis cannot mount .*; rename it"):
        container.inside(line, "scan")


def test_pyxis_cannot_take_the_network_away(prepare: Prepare) -> None:
    with pytest.raises(ConfigError, match="pyxis cannot take it away"):
        prepare("container=pyxis", "+container.network=none")
