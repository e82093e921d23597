"""Why an embedded server is not there."""

from __future__ import annotations

from tollkeeper.domain.errors import TollkeeperError


class ServerProgramMissing(TollkeeperError):
    """The program of a server is not installed."""

    def __init__(self, server: str, remedy: str) -> None:
        super().__init__(f"no {server} program found; {remedy}")
        self.server = server


class ServerFailed(TollkeeperError):
    """A server did not start, or is gone."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(f"{server}: {reason}")
        self.server = server
        self.reason = reason
