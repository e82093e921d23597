from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from integration.closing.ledger import NOVEMBER, Ledger
from integration.closing.shared import ledger, shared_database
from integration.stripe_setup.shop import PRO, Shop
from tollkeeper.testing import FrozenClock, StripeStandIn

__all__ = ["ledger", "shared_database"]

OPENED = NOVEMBER + timedelta(days=13, hours=9)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock(OPENED)


@pytest.fixture
def shop(ledger: Ledger, clock: FrozenClock) -> Iterator[Shop]:
    """A seller whose plans are set up at Stripe, with a customer on the free plan."""
    ledger.plan(PRO, datetime(2026, 10, 1, tzinfo=NOVEMBER.tzinfo))
    standin = StripeStandIn(clock)
    with standin.serve() as server:
        shop = Shop(ledger, standin, server.url, clock)
        shop.set_up()
        ledger.customer("ada", "free", since=OPENED)
        yield shop
