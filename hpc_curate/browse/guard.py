"""Who may talk to the viewer: those who were given its token, from a page that it served itself.

Loopback alone protects from nobody: on a login node everybody is on the same machine, and any web page that is open in
a browser can send requests to its loopback. So each request, for pages, media and the websocket, must bring the token,
name this machine as its host (or a foreign name could be made to point here), and come from no other site.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from hpc_curate.browse import routes

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Server: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_REFUSED = "403: this viewer is opened by the address that `hpc-curate browse` printed, with its token.\n"
# What the page may load and talk to is this server and nobody else: no picture in somebody's caption calls home.
_HEADERS = {
    "content-security-policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
# A redirect would still count as coming from the site whose link was followed: the browser would keep the cookie back.
_ENTRY = '<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>hpc_curate</title>'


def is_loopback(host: str) -> bool:
    """Whether a host's name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware: lets through what brings the token, and makes a cookie of the one in the first address."""

    def __init__(self, app: Server, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        from starlette.requests import HTTPConnection

        asked = HTTPConnection(scope)
        headers, query = asked.headers, asked.query_params
        if not (_from_here(headers) and routes.has_token(headers, query, self._token)):
            await _refuse(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/" and "token" in query:
            await self._enter(scope, receive, send)
        else:
            await self._app(scope, receive, _with_headers(send))

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the token where scripts cannot read it, and take it out of the address and the history."""
        from starlette.responses import HTMLResponse

        entry = HTMLResponse(_ENTRY, headers={**_HEADERS, "cache-control": "no-store"})
        entry.set_cookie(routes.cookie(self._token), self._token, httponly=True, samesite="strict")
        await entry(scope, receive, send)


def _from_here(headers: Any) -> bool:
    """Whether a request was sent to this machine by its own name, and not by a page of another site."""
    host, origin = headers.get("host", ""), headers.get("origin")
    name = urlsplit(f"//{host}").hostname or ""
    return is_loopback(name) and (origin is None or origin == f"http://{host}")


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import PlainTextResponse

    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the server answers 403
        return
    await PlainTextResponse(_REFUSED, 403)(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", ()))
            there = {name.lower() for name, _ in own}
            more = [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name.encode() not in there]
            message = {**message, "headers": [*own, *more]}
        await send(message)

    return sending
