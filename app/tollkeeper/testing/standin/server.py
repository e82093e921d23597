"""Running a stand-in on a socket, in a thread of this process or as the whole process."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from starlette.types import ASGIApp, Receive, Scope, Send

DROP = "tollkeeper.drop"
"""The ASGI extension by which an app closes its connection without a reply; `["now"]` is what to call."""


class Served:
    """A stand-in on a loopback port, until the `with` block ends."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._socket = _listening(host, port)
        self.url = _url(self._socket)
        self._server = _server(app)
        self._thread = threading.Thread(target=self._run, name="standin", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._server.force_exit = True  # does not wait for calls that hang on purpose
        self._thread.join(timeout=5)
        self._socket.close()

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])


def run_until_stopped(app: ASGIApp, host: str, port: int) -> None:
    """Serves in this process until it is told to stop; the first line of output is the URL, printed once it listens."""
    listening = _listening(host, port)
    sys.stdout.write(f"{_url(listening)}\n")
    sys.stdout.flush()
    _server(app).run(sockets=[listening])


def _listening(host: str, port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    listening.listen()
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()
    return f"http://{host}:{port}"


def _server(app: ASGIApp) -> Any:
    # uvicorn comes with the `demo` extra; whoever only drives the app in process does not need it.
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class DroppableProtocol(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.app = _with_drop(self.app, transport.abort)

    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=DroppableProtocol,
            lifespan="off",
            access_log=False,
            log_level="warning",
            timeout_graceful_shutdown=1,
        )
    )


def _with_drop(app: Any, abort: Callable[[], None]) -> Any:
    async def droppable(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {**scope.get("extensions", {}), DROP: {"now": abort}}}, receive, send)

    return droppable
