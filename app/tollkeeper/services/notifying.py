"""Notifying: spread notices to everybody concerned, and deliver them. Each channel on its own, so that none holds up another.

A delivery is a row that one sender takes for a while, tries outside of any transaction, and gives back with what came of it.
Whoever is killed in between leaves it to the next one: it may then arrive twice, with the same id both times.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.clock import Clock
from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.delivery import MOST_ATTEMPTS, ChannelName, Outcome, wait_before
from tollkeeper.domain.errors import NotFound
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import flag_address
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import lines_of
from tollkeeper.storage.notices import (
    Audience,
    Delivery,
    DeliveryState,
    ListedDelivery,
    claim_delivery,
    drop_stale,
    forget_notices,
    list_deliveries,
    rest_target,
    retry_deliveries,
    save_attempt,
    spread_notices,
)
from tollkeeper.storage.webhook_endpoints import disable_endpoint

log = logging.getLogger(__name__)

LEASE = timedelta(minutes=5)
"""After this a delivery under way counts as lost with its process. Longer than any conversation with a server."""
STALE = timedelta(days=7)
REMEMBERED = timedelta(days=400)
"""Longer than any period, so that nothing of one that is open is told anew."""
_FORGOTTEN_AT_ONCE = 1000
_SPREAD_AT_ONCE = 500
_MOST_IN_A_ROW = 3

Lines = Sequence[tuple[str, int]]
"""An invoice's lines: what each is for, and its amount."""


class Channel(Protocol):
    """One way of telling. Returns what came of the attempt; raises nothing that it can foresee."""

    @property
    def name(self) -> ChannelName: ...

    def deliver(self, delivery: Delivery, lines: Lines, clock: Clock) -> Outcome: ...


@dataclass(slots=True)
class Delivering:
    """How many deliveries of one run were sent, put off, parked for a person, and dropped for want of a receiver."""

    sent: int = 0
    put_off: int = 0
    parked: int = 0
    dropped: int = 0
    more: bool = False
    """The run stopped at its limit, and there is more to do at once."""


def spread(database: Database, audience: Audience, clock: Clock) -> int:
    """Make a delivery of each new notice for everybody who is to hear of it; how many notices there were."""
    total = 0
    while True:
        with database.transaction() as connection:
            spread_now = spread_notices(connection, audience, clock.now(), _SPREAD_AT_ONCE)
        total += spread_now
        if spread_now < _SPREAD_AT_ONCE:
            return total


def deliver_due(database: Database, channel: Channel, clock: Clock, *, limit: int = 20) -> Delivering:
    """Try at most `limit` of the deliveries of one channel that are due.

    A mail server, or Slack, that puts three off in a row is left alone for this run; an endpoint that fails, until it is due
    again, with all that waits for it.
    """
    with database.transaction() as connection:
        drop_stale(connection, channel.name, clock.now() - STALE)
    run = _Run(database, channel, clock)
    for _ in range(limit):
        if run.in_a_row >= _MOST_IN_A_ROW or not run.deliver_next():
            return run.done
    run.done.more = True
    return run.done


def all_deliveries(
    database: Database,
    *,
    user_id: str | None = None,
    state: DeliveryState | None = None,
    kind: str | None = None,
    limit: int = 100,
) -> list[ListedDelivery]:
    """The newest deliveries, oldest of them first."""
    user_id = None if user_id is None else validate_user_id(user_id)
    with database.transaction() as connection:
        return list_deliveries(connection, user_id=user_id, state=state, kind=kind, limit=limit)


def retry(database: Database, clock: Clock, delivery_id: UUID | None = None) -> int:
    """Let parked deliveries (or one) be tried again; how many. `NotFound` for one that does not wait for that."""
    now = clock.now()
    with database.transaction() as connection:
        ids = retry_deliveries(connection, now, delivery_id)
        if delivery_id is not None and not ids:
            raise NotFound("parked delivery", str(delivery_id))
        for one in ids:
            record(connection, "delivery.retried", str(one), now)
    return len(ids)


def forget_old(database: Database, now: datetime) -> bool:
    """Remove some notices of more than a year ago of which nothing is left to do; whether there may be more."""
    with database.transaction() as connection:
        return forget_notices(connection, now - REMEMBERED, _FORGOTTEN_AT_ONCE) == _FORGOTTEN_AT_ONCE


@dataclass
class _Run:
    """One run through the deliveries of a channel."""

    database: Database
    channel: Channel
    clock: Clock
    in_a_row: int = 0
    done: Delivering = field(default_factory=Delivering)

    def deliver_next(self) -> bool:
        """Try the delivery that is due next; False where none is."""
        taken = self._claim()
        if taken is None:
            return False
        delivery, lines = taken
        began = self.clock.monotonic()
        outcome = self.channel.deliver(delivery, lines, self.clock)
        milliseconds = max(0, int((self.clock.monotonic() - began) * 1000))
        self._count(outcome)
        with self.database.transaction() as connection:
            self._save(connection, delivery, outcome, milliseconds)
        return True

    def _claim(self) -> tuple[Delivery, Lines] | None:
        now = self.clock.now()
        with self.database.transaction() as connection:
            delivery = claim_delivery(connection, self.channel.name, now, now + LEASE)
            if delivery is None:
                return None
            return delivery, _lines(connection, delivery)

    def _count(self, outcome: Outcome) -> None:
        one_after_another = outcome.kind == "put_off" and self.channel.name != "webhook"
        self.in_a_row = self.in_a_row + 1 if one_after_another else 0

    def _save(self, connection: Connection, delivery: Delivery, outcome: Outcome, milliseconds: int) -> None:
        now, state, again_at = self.clock.now(), _STATES[outcome.kind], None
        if outcome.kind == "put_off":
            again_at = now + wait_before(delivery.attempts, outcome.retry_after)
            if delivery.attempts >= MOST_ATTEMPTS:
                state = "parked"
        self._tell(delivery, outcome, state)
        save_attempt(connection, delivery, state, outcome, now, milliseconds=milliseconds, next_attempt_at=again_at)
        if again_at is not None and delivery.channel == "webhook":
            rest_target(connection, "webhook", delivery.target, again_at)
        if outcome.gone:
            _note_gone(connection, delivery, outcome, self.clock)

    def _tell(self, delivery: Delivery, outcome: Outcome, state: DeliveryState) -> None:
        match state:
            case "sent":
                self.done.sent += 1
            case "pending":
                self.done.put_off += 1
            case "parked":
                self.done.parked += 1
            case "dropped":
                self.done.dropped += 1
        if state != "sent":
            level = logging.ERROR if state == "parked" else logging.WARNING
            log.log(level, "%s by %s is %s: %s", delivery.kind, delivery.channel, outcome.kind, outcome.detail)


_STATES: dict[str, DeliveryState] = {"sent": "sent", "put_off": "pending", "refused": "parked", "dropped": "dropped"}


def _lines(connection: Connection, delivery: Delivery) -> Lines:
    invoice_id = delivery.payload.get("invoice_id")
    if delivery.channel != "mail" or not isinstance(invoice_id, str):
        return ()
    return [(line.description, line.amount) for line in lines_of(connection, UUID(invoice_id))]


def _note_gone(connection: Connection, delivery: Delivery, outcome: Outcome, clock: Clock) -> None:
    """The receiver is gone for good: remember it where people look for it."""
    if delivery.channel == "mail" and delivery.user_id is not None:
        flag_address(connection, delivery.user_id, clock.now())
    elif delivery.channel == "webhook":
        reason = f"it answered {outcome.detail}"
        disable_endpoint(connection, UUID(delivery.target), reason, clock.now())
        record(connection, "hook.disabled", delivery.target, clock.now(), user_id=delivery.user_id, reason=reason)
