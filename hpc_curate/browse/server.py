"""`hpc-curate browse`: pages, media and websocket on one port of this machine's own address, behind a token."""

from __future__ import annotations

import argparse
import errno
import getpass
import os
import secrets
import shlex
import socket
import sys
from pathlib import Path
from typing import Any

from hpc_curate.browse import opened, routes
from hpc_curate.browse.catalogue import open_collection, runs_in
from hpc_curate.browse.guard import Guard, is_loopback
from hpc_curate.browse.options import PORT
from hpc_curate.errors import ConfigError
from hpc_curate.io.s5cmd import SourceSettings
from hpc_curate.learning.verdicts import VerdictFile, of_run
from hpc_curate.run_folder import privacy

PAGE = Path(__file__).with_name("pages") / "main.py"
_FIRST_S = 10.0  # that one waits for the first video; a long listing goes on behind the page
_PORTS = 50  # tried one after the other
_SETTINGS = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",  # a traceback tells paths
    "client.toolbarMode": "minimal",
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.enableXsrfProtection": True,
    "theme.light.primaryColor": "#2f6fbd",  # the colours of the report
    "theme.dark.primaryColor": "#6aa5ec",
    "theme.dark.backgroundColor": "#141518",
    "theme.dark.secondaryBackgroundColor": "#1c1e22",
}


def browse(given: argparse.Namespace) -> int:
    """The verb: serve until Ctrl-C."""
    refuse_other(given.address, given.of, given.port or PORT)
    try:
        import uvicorn
        from streamlit import config
        from streamlit.starlette import App
    except ImportError as error:
        raise ConfigError(f"browse needs the extra app: pip install 'hpc-curate[app]' ({error})") from error
    with _listening(given.address, given.port) as listening:
        port = listening.getsockname()[1]
        config.set_option("server.port", port)
        app = App(PAGE, **guarded(given, port))
        served = uvicorn.Config(app, log_level="warning", access_log=False, ws="websockets-sansio")
        try:
            uvicorn.Server(served).run(sockets=[listening])
        except KeyboardInterrupt:
            print("closed")
        finally:
            opened.current().collection.close()
    return 0


def stock(given: argparse.Namespace) -> dict[str, Any]:
    """What `App` takes where `streamlit run` has been started, which by itself listens on every address of the machine.

    Ends it unless `tools/.streamlit/config.toml`, or whoever started it, has it listen on loopback.
    """
    from streamlit import config

    port = int(config.get_option("server.port"))
    try:
        refuse_other(config.get_option("server.address") or "0.0.0.0", given.of, port)
        return guarded(given, port)
    except ConfigError as error:
        print(f"hpc-curate: {error}", file=sys.stderr, flush=True)
        os._exit(2)  # an exception would be taken for one of the script, behind a traceback


def guarded(given: argparse.Namespace, port: int) -> dict[str, Any]:
    """Open what is to be looked at, and say where: `routes` and `middleware` for `App`.

    Raises:
        ConfigError: there is no such thing to look at, or nothing in it as far as is known soon.
    """
    from starlette.middleware import Middleware
    from streamlit import config

    for name, value in _SETTINGS.items():
        config.set_option(name, value)
    settings = SourceSettings(endpoint=given.endpoint, profile=given.profile)
    collection = open_collection(given.of, settings, given.plan)
    collection.wait(_FIRST_S)
    if error := collection.progress().error:
        collection.close()
        runs = "".join(f"\n    hpc-curate browse {shlex.quote(str(run))}" for run in runs_in(given.of))
        raise ConfigError(f"{error}{runs and f'. There are runs in it:{runs}'}")
    own = VerdictFile(given.verdicts.absolute(), privacy.me())
    where = own if collection.plan is None else of_run(collection.plan)
    opened.show(opened.Opened(collection, where, given.nsamples, given.seed))
    token = secrets.token_urlsafe(24)
    print(_where(port, token, where.path), flush=True)
    return {"routes": routes.routes(collection, token), "middleware": [Middleware(Guard, token=token)]}


def refuse_other(address: str, of: str, port: int) -> None:
    """Raises:
    ConfigError: the address is not this machine's own; the message says what to do instead.
    """
    if not is_loopback(address):
        raise ConfigError(
            f"the viewer is not served on {address}, where anybody on the network could reach it. Serve it here:\n"
            f"    hpc-curate browse {shlex.quote(of)} --port {port}\n"
            f"and on the computer that you sit at:\n    {_tunnel(port)}"
        )


def _where(port: int, token: str, verdicts: Path) -> str:
    return (
        f"http://localhost:{port}/?token={token}\n"
        f"From another computer first: {_tunnel(port)}\nWhoever has this address sees the videos. Ctrl-C closes it.\n"
        f"Verdicts go to {verdicts}"
    )


def _tunnel(port: int) -> str:
    return f"ssh -N -L {port}:localhost:{port} {getpass.getuser()}@{socket.gethostname()}"


def _listening(address: str, port: int | None) -> socket.socket:
    """This port; without one the first that is free, from `PORT` on.

    Raises:
        ConfigError: it is taken, or may not be had.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ports = range(PORT, PORT + _PORTS) if port is None else [port]
    for number in ports:
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address, number))
        except OSError as error:
            listening.close()
            if error.errno != errno.EADDRINUSE:
                raise ConfigError(f"cannot listen on {address}, port {number}: {error.strerror}") from error
        else:
            listening.listen()
            return listening
    if port is not None:
        raise ConfigError(f"port {port} is taken; give another, or leave --port out: then it is one that is free")
    raise ConfigError(f"none of the ports {PORT} to {ports[-1]} is free; give --port")
