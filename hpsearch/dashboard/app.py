"""The web application: optuna-dashboard behind a guard that lets nothing be written."""

from __future__ import annotations

from collections.abc import Sequence

import optuna_dashboard
from a2wsgi import WSGIMiddleware
from optuna.storages import BaseStorage
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

READING = ("GET", "HEAD")
N_THREADS = 2

_HEADERS = {
    b"content-security-policy": b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
}


class ReadOnly:
    """Refuses every method that may write: optuna-dashboard itself asks nobody who they are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 405 to a writing method, and passes everything else on."""
        if scope["type"] == "http" and scope["method"] not in READING:
            refusal = PlainTextResponse(
                "This dashboard is read-only; use the hpsearch command to change a study.\n",
                status_code=405,
                headers={"Allow": ", ".join(READING)},
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Headers:
    """Adds the headers that keep other sites' scripts and frames out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; the answer gets our headers in place of its own."""

        async def sending(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", [])
                assert isinstance(given, Sequence)
                dropped = (*_HEADERS, b"access-control-allow-origin")
                kept = [(name, value) for name, value in given if name.lower() not in dropped]
                message["headers"] = [*kept, *_HEADERS.items()]
            await send(message)

        # optuna-dashboard fails on static files for a client that names no encoding.
        if scope["type"] == "http" and b"accept-encoding" not in dict(scope["headers"]):
            scope = {**scope, "headers": [*scope["headers"], (b"accept-encoding", b"identity")]}
        await self._app(scope, receive, sending)  # type: ignore[arg-type]


def make_app(storage: BaseStorage, *, hosts: Sequence[str]) -> ASGIApp:
    """Returns the application.

    Args:
      storage: Optuna's, for reading.
      hosts: names under which it may be asked; any other `Host` is refused, so that a foreign
        site cannot reach it through a name that it made point here.
    """
    return Starlette(
        routes=[Mount("/", app=WSGIMiddleware(optuna_dashboard.wsgi(storage), workers=N_THREADS))],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts)),
            Middleware(ReadOnly),
            Middleware(Headers),
        ],
    )
