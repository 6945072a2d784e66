"""Secrets in settings and inputs are refused before anything is written, and no message repeats them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hpc_curate import cli, credentials
from hpc_curate.errors import ConfigError

CANARY = "canary5d02c9e8"
IN_WORDS = {
    "the password of a URL": f"input=https://user:{CANARY}@example.org/film.mp4",
    "a presigned URL": f"input=https://example.org/film.mp4?X-Amz-Expires=60&X-Amz-Signature={CANARY}",
    "a key before a bucket": f"input=s3://user:{CANARY}@bucket/prefix",
    "an endpoint": f"source.endpoint=https://user:{CANARY}@example.org",
    "an endpoint without a scheme": f"source.endpoint=user:{CANARY}@example.org",
    "an output": f"output=s3://user:{CANARY}@bucket/prefix",
    "a resolver": "source.profile=${oc.env:AWS_SECRET_ACCESS_KEY}",
    "a resolver in a setting of a launcher": "+launch.sbatch.comment=${oc.env:AWS_SECRET_ACCESS_KEY}",
    "what the shell has put in": f"run_dir=runs/{CANARY}",
    "a line of shell": f"+launch.setup=['export HF_TOKEN={CANARY[3:]}']",
    "a variable for Slurm": f"+launch.sbatch.export='ALL,HF_TOKEN={CANARY[3:]}'",
    "a variable by its name": f"+launch.sbatch.environment={{HF_TOKEN: {CANARY[3:]}}}",
    "a variable of Hydra's": f"+hydra.job.env_set.HF_TOKEN={CANARY[3:]}",
}
IN_TABLES = {
    "a key before a bucket": f"uri\ns3://user:{CANARY}@bucket/film.mp4\n",
    "a presigned URL": f"uri\nhttps://example.org/film.mp4?X-Amz-Signature={CANARY}\n",
    "a presigned URL in a row that is too long": f"uri\nhttps://example.org/a.mp4?X-Amz-Signature={CANARY},1,2\n",
    "a column": f"uri,thumbnail\nfilm.mp4,https://example.org/film.jpg?X-Amz-Signature={CANARY}\n",
    "the value of a variable in a column": f"uri,note\nfilm.mp4,made with {CANARY}\n",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"x")
    return tmp_path


def words(word: str) -> list[str]:
    given = {"input": "film.mp4", "run_dir": "run", "launch": "none"}
    return [f"{name}={value}" for name, value in given.items() if not word.startswith(f"{name}=")] + [word]


@pytest.mark.parametrize("case", IN_WORDS)
@pytest.mark.parametrize("verb", [["run"], ["run", "--dry-run"], ["run", "-m"], ["doctor", "--no-job"]], ids=" ".join)
def test_a_secret_in_a_setting_is_refused(
    verb: list[str], case: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    word = IN_WORDS[case]
    assert cli.main([*verb, *words(word)]) == 2
    said = capsys.readouterr()
    assert CANARY[3:] not in said.out + said.err
    assert word.partition("=")[0].lstrip("+") in said.err and "environment" in said.err + "environment" * (
        "endpoint" in case
    )
    assert [path.name for path in here.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize("case", IN_TABLES)
def test_a_secret_in_a_table_is_refused(case: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "films.csv").write_text(IN_TABLES[case])
    assert cli.main(["run", *words("input=films.csv")]) == 2
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err
    assert not (here / "run").exists()


def test_a_secret_in_a_list_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "films.txt").write_text(f"s3://user:{CANARY}@bucket/film.mp4\n")
    assert cli.main(["run", *words("input=films.txt")]) == 2
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err and "://...@bucket" in said.err


def test_a_secret_in_a_folder_of_settings_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "site" / "cluster").mkdir(parents=True)
    (here / "site" / "cluster" / "mine.yaml").write_text(f"# @package _global_\nsource: {{profile: '{CANARY}'}}\n")
    monkeypatch.setenv("HPC_CURATE_CONF", str(here / "site"))
    assert cli.main(["run", *words("cluster=mine")]) == 2
    said = capsys.readouterr()
    assert CANARY not in said.out + said.err and "$AWS_SECRET_ACCESS_KEY" in said.err


def leaked(here: Path, word: str) -> bool:
    """Whether a secret is printed or written where the refusals are switched off."""
    off = "\n".join(f"credentials.{name} = lambda *_: None" for name in ("refuse", "refuse_words", "in_url", "found"))
    code = f"import sys; from hpc_curate import cli, credentials\n{off}\nsys.exit(cli.main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "run", *words(word)], capture_output=True, text=True)
    files = [path for path in here.rglob("*") if path.is_file() and path.suffix != ".csv"]
    tables = [str(pq.read_table(path).to_pylist()) for path in files if path.suffix == ".parquet"]
    texts = [path.read_text() for path in files if path.suffix not in (".parquet", ".mp4")]
    return CANARY[3:] in "".join([done.stdout, done.stderr, *tables, *texts, *map(str, files)])


@pytest.mark.parametrize("case", ["the password of a URL", "a resolver", "a variable of Hydra's"])
def test_without_the_refusal_a_secret_of_a_setting_is_told(case: str, here: Path) -> None:
    assert leaked(here, IN_WORDS[case])


@pytest.mark.parametrize("case", ["a key before a bucket", "a column"])
def test_without_the_refusal_a_secret_of_a_table_is_told(case: str, here: Path) -> None:
    (here / "films.csv").write_text(IN_TABLES[case])
    assert leaked(here, "input=films.csv")


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a@b/film.mp4",
        "file:///data/a@b.mp4",
        "https://example.org/watch?v=4&t=3",
        "runs/${oc.env:USER}",
        "export HF_TOKEN=$(cat ~/.token)",
        "export HF_TOKEN=$HF_TOKEN TOKENIZERS_PARALLELISM=false HF_TOKEN_PATH=~/.token",
        "AWS_ACCESS_KEY_ID=AKIA0000 KEY=",
    ],
)
def test_what_tells_nothing_is_let_through(text: str) -> None:
    credentials.refuse_words([f"input={text}"])
    credentials.refuse({"launch": {"setup": [text]}})


def test_the_setting_is_named_and_its_value_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    with pytest.raises(ConfigError, match=r"^launch\.setup holds the value of \$HF_TOKEN; ") as caught:
        credentials.refuse({"launch": {"setup": ["module load ffmpeg", f"login {CANARY}"]}})
    assert CANARY not in str(caught.value)


def test_a_short_value_is_found_by_chance_and_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "none")
    assert credentials.found("container=none") is None


def test_what_a_store_says_loses_its_secrets() -> None:
    said = f"GET https://me:{CANARY}@store/x?X-Amz-Signature={CANARY}&X-Amz-Date=1: 403"
    assert credentials.redacted(said) == "GET https://...@store/x?X-Amz-Signature=...&X-Amz-Date=... 403"
