"""The handles that every stand-in has for the test that drives it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.types import ASGIApp

from tollkeeper.testing.standin.door import Door
from tollkeeper.testing.standin.faults import Fault, FaultKind
from tollkeeper.testing.standin.server import Served


class Handles:
    """What is asked of a stand-in, and what goes wrong with it. Its API is behind `_door`, and `app` is all of it."""

    app: ASGIApp
    _door: Door

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> Served:
        """`with standin.serve() as server:` runs it on `server.url` in a thread; port 0 takes a free one."""
        return Served(self.app, host, port)

    def calls(self) -> list[dict[str, Any]]:
        """Every call, oldest first: method, path, params, idempotency_key, status, replayed, replied, fault."""
        return [record.as_dict() for record in self._door.calls]

    def inject(
        self,
        kind: FaultKind | str,
        *,
        method: str = "*",
        path: str = "*",
        times: int = 1,
        seconds: float = 0.0,
        retry_after: int | None = None,
        status: int = 500,
    ) -> None:
        """Makes the next `times` calls that match meet this fault; see `FaultKind`."""
        self._door.faults.add(Fault(FaultKind(kind), method, path, times, seconds, retry_after, status))

    def faults(self) -> list[dict[str, Any]]:
        """The faults that no call has met yet."""
        return [asdict(fault) for fault in self._door.faults.waiting()]

    def clear_faults(self) -> None:
        """Nothing goes wrong any more."""
        self._door.faults.clear()
