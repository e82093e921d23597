"""Whether this process lives, and whether it can do its work."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.runtime import Runtime
from tollkeeper.storage.database import first_row


class Health:
    """Answers `/healthz` and `/readyz`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def alive(self, request: Request) -> Response:
        """The process answers; nothing else is asked."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """The database answers; 503 where it does not."""
        try:
            await run_in_threadpool(self._ask_database)
        except TollkeeperError:
            return JSONResponse({"status": "unavailable"}, status_code=503, headers={"Retry-After": "5"})
        return JSONResponse({"status": "ok"})

    def _ask_database(self) -> None:
        with self._runtime.database.transaction() as connection:
            first_row(connection, "SELECT 1 AS one")
