from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from tollkeeper.payments.paystack import PaystackPayments
from tollkeeper.testing import FrozenClock, PaystackStandIn
from tollkeeper.testing.standin.server import Served


class Switch:
    """Serves whichever stand-in a test has put behind it, so that one server lasts for all tests."""

    app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@pytest.fixture(scope="session")
def _served() -> Iterator[tuple[Switch, str]]:
    switch = Switch()
    with Served(switch, "127.0.0.1", 0) as server:
        yield switch, server.url


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(datetime(2026, 11, 1, 0, 6, tzinfo=UTC))


@pytest.fixture
def standin(clock: FrozenClock) -> PaystackStandIn:
    return PaystackStandIn(clock)


@pytest.fixture
def url(standin: PaystackStandIn, _served: tuple[Switch, str]) -> str:
    _served[0].app = standin.app
    return _served[1]


@pytest.fixture
def payments(standin: PaystackStandIn, url: str) -> PaystackPayments:
    return PaystackPayments(standin.secret_key, api_base=url, timeout_seconds=5)
