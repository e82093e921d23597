"""Starting a rehearsal: a database of its own, and a sandbox where a test key is given, else the stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from tollkeeper.clock import SystemClock
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.embedded import Services
from tollkeeper.payments.stripe import StripePayments, livemode_of
from tollkeeper.rehearsal.figures import Figures
from tollkeeper.rehearsal.life import Life
from tollkeeper.rehearsal.world import World
from tollkeeper.services.upgrading import upgrade_database
from tollkeeper.storage.database import Database
from tollkeeper.testing import FrozenClock, StripeStandIn

_SANDBOX_PATIENCE, _STANDIN_PATIENCE = 180.0, 1.0
_AGO = timedelta(days=62)


def begins(now: datetime) -> datetime:
    """When the life begins: so long ago that two of its three months are over, at a full hour."""
    return (now - _AGO).replace(minute=0, second=0, microsecond=0)


def rehearse(api_key: str | None, api_base: str | None, say: Callable[[str], None]) -> Figures:
    """Live the life once, in a sandbox with the key of one, without a key against the stand-in.

    A live key is `InvalidInput`. Everything that was started ends with it; products and prices stay in the sandbox.
    """
    if api_key is not None and livemode_of(api_key) is not False:
        raise InvalidInput("STRIPE_API_KEY", "the key of a sandbox (sk_test_… or rk_test_…); nothing was rehearsed")
    clock = FrozenClock(begins(SystemClock().now()))
    say("Starting PostgreSQL")
    with Services(redis=False) as services, Database(services.database_url) as database:
        upgrade_database(database, clock.now())
        if api_key is not None:
            say("In your sandbox at Stripe")
            return live_in(StripePayments(api_key, api_base=api_base), database, clock, say, _SANDBOX_PATIENCE)
        say("Against the stand-in")
        with _standin(clock) as payments:
            return live_in(payments, database, clock, say, _STANDIN_PATIENCE)


def live_in(
    payments: StripePayments, database: Database, clock: FrozenClock, say: Callable[[str], None], patience: float
) -> Figures:
    """Live the life in this account, with this database."""
    figures = Figures()
    world = World(payments, database, clock, patience)
    try:
        Life(world, say, figures).live()
    finally:
        world.close()
    return figures


@contextmanager
def _standin(clock: FrozenClock) -> Iterator[StripePayments]:
    standin = StripeStandIn(clock)
    with standin.serve() as server:
        yield StripePayments(standin.api_key, api_base=server.url)
