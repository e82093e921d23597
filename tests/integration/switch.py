"""One server for a whole folder of tests: starting one for each takes longer than the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tollkeeper.testing.standin.server import Served


class Switch:
    """Serves whichever app a test has put behind it, on `url`."""

    app: ASGIApp | None = None
    url: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def switch() -> Iterator[Switch]:
    switch = Switch()
    with Served(switch, "127.0.0.1", 0) as server:
        switch.url = server.url
        yield switch
