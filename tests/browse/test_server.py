"""Where the viewer listens, and what it says where it does not."""

import argparse
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from viewer import PATIENCE_S

from hpc_curate import cli
from hpc_curate.browse import server
from hpc_curate.browse.guard import is_loopback
from hpc_curate.errors import ConfigError

TOOL = Path(__file__).resolve().parents[2] / "tools" / "streamlit_sample_video_app.py"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_this_machine_is_known_by_its_own_names(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "localhost.evil.example", "127.0.0.1.nip.io", ""])
def test_nothing_else_is_this_machine(host):
    assert not is_loopback(host)


def test_another_address_is_refused_with_the_commands_that_work(tmp_path, capsys):
    assert cli.main(["browse", str(tmp_path / "my videos"), "--address", "0.0.0.0", "--port", "8123"]) == 2
    said = capsys.readouterr().err
    assert f"hpc-curate browse '{tmp_path}/my videos' --port 8123" in said
    assert "ssh -N -L 8123:localhost:8123 " in said


def test_where_no_video_is_no_server_is_started(tmp_path, capsys):
    pytest.importorskip("streamlit")
    (tmp_path / "notes.txt").write_text("x")
    assert cli.main(["browse", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "holds no video" in said.err and said.out == ""
    (tmp_path / "one run" / "plans").mkdir(parents=True)
    assert cli.main(["browse", str(tmp_path)]) == 2
    assert f"There are runs in it:\n    hpc-curate browse '{tmp_path}/one run'\n" in capsys.readouterr().err


def test_a_port_that_is_taken_is_passed_over_unless_it_was_asked_for():
    with server._listening("127.0.0.1", None) as first, server._listening("127.0.0.1", None) as second:
        taken = first.getsockname()[1]
        assert second.getsockname()[1] > taken >= 8501
        with pytest.raises(ConfigError, match=f"^port {taken} is taken; give another"):
            server._listening("127.0.0.1", taken)
    with socket.create_server(("127.0.0.1", 0)) as another:  # not of those that viewers of other tests take
        free = another.getsockname()[1]
    with server._listening("127.0.0.1", free) as asked:
        assert asked.getsockname()[1] == free
    with pytest.raises(ConfigError, match="cannot listen on 192.0.2.1, port 8760"):
        server._listening("192.0.2.1", 8760)


def stock(*flags: str, folder: Path, tool: Path = TOOL) -> subprocess.Popen:
    """The command of the source page, with flags of Streamlit's."""
    command = [sys.executable, "-m", "streamlit", "run", str(tool), *flags]
    own = {"HOME": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)}
    words = ["--", "--input_dir", str(folder), "--nsamples", "36"]
    return subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **own}
    )


def listeners(port: int) -> set[str]:
    """The local addresses that somebody listens on at a port, as the kernel writes them."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            if state == "0A" and int(address.rpartition(":")[2], 16) == port:
                found.add(address.rpartition(":")[0])
    return found


def test_streamlit_run_as_it_stands_is_served_on_loopback_alone_and_says_the_address_with_the_token(tmp_path):
    pytest.importorskip("streamlit")
    (tmp_path / "video.mp4").write_bytes(b"x")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = stock(f"--server.port={port}", folder=tmp_path)
    try:
        assert process.stdout is not None
        said = list(itertools.takewhile(lambda line: not line.startswith("Verdicts go to "), process.stdout))
        address = said[0].strip()
        assert address.startswith(f"http://localhost:{port}/?token=") and len(said) == 3
        assert urllib.request.urlopen(address, timeout=PATIENCE_S).status == 200
        assert listeners(port) == {"0100007F"}
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


def test_streamlit_run_on_another_address_ends_with_the_command_that_works(tmp_path):
    pytest.importorskip("streamlit")
    process = stock("--server.address=0.0.0.0", "--server.port=8799", folder=tmp_path)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert f"hpc-curate browse {tmp_path} --port 8799" in said
    assert "Traceback" not in said


def test_streamlit_run_says_alone_what_is_wrong(tmp_path):
    pytest.importorskip("streamlit")
    process = stock(folder=tmp_path)
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert re.fullmatch(r"hpc-curate: \S+ holds no video; .*\n", said)


def test_a_copy_of_the_script_without_its_settings_serves_nothing(tmp_path):
    pytest.importorskip("streamlit")
    process = stock("--server.headless=true", folder=tmp_path, tool=Path(shutil.copy(TOOL, tmp_path)))
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "hpc-curate: the viewer is not served on 0.0.0.0" in said


def test_without_its_extra_the_verb_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit", None)
    given = argparse.Namespace(address="127.0.0.1", of=str(tmp_path), port=8501)
    with pytest.raises(ConfigError, match=r"pip install 'hpc-curate\[app\]'"):
        server.browse(given)
