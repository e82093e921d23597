"""Reversing: take back an event that should not have been counted. The event stays; a second row takes it off every sum.

In a period that is closed already this is late usage below zero: its invoice stays, the next one has the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

from sqlalchemy import Connection

from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput, NotFound
from tollkeeper.domain.money import bigint
from tollkeeper.domain.plan_part import part_at
from tollkeeper.domain.pricing import running_cost, usage_amount
from tollkeeper.domain.proration import for_part
from tollkeeper.domain.usage import quantities
from tollkeeper.storage.audit import record
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.reversals import StoredEvent, insert_reversal, stored_event
from tollkeeper.storage.totals import Sums
from tollkeeper.storage.usage_periods import UsagePeriod, lock_period_at, save_taken_back

_REVERSALS = UUID("a8c3f4d2-50f5-4c0c-93b5-5e0b7f3ad0c1")


@dataclass(frozen=True, slots=True)
class Reversed:
    """What became of the event. `cost_units` is what the bill changed by, in minor units, unrounded: 0 the second time."""

    reversal_id: UUID
    user_id: str
    period_start: datetime
    period_status: str
    currency: str
    cost_units: Decimal
    already: bool = False


def reverse(database: Database, event_id: UUID, *, by: str, reason: str, now: datetime) -> Reversed:
    """Take an event back, once, however often it is asked for.

    `NotFound` for an unknown event, `InvalidInput` for one that there is nothing to take back of.
    """
    plain_text(by, "by")
    plain_text(reason, "reason")
    with database.transaction() as connection:
        event = _reversible(connection, event_id)
        period = lock_period_at(connection, event.user_id, event.timestamp)
        if period is None:
            raise NotFound("period of event", str(event_id))
        reversal_id = uuid5(_REVERSALS, str(event_id))
        already = stored_event(connection, reversal_id) is not None
        cost = Decimal(0) if already else _take_back(connection, event, reversal_id, period, now)
        if not already:
            after = {"reversal_id": reversal_id, "model_id": event.usage.model_id, "cost_units": cost}
            record(
                connection,
                "event.reversed",
                str(event_id),
                now,
                user_id=event.user_id,
                after=after,
                reason=reason,
                by=by,
            )
    return Reversed(
        reversal_id, event.user_id, period.period_start, period.status, period.currency, cost, already=already
    )


def _reversible(connection: Connection, event_id: UUID) -> StoredEvent:
    event = stored_event(connection, event_id)
    if event is None:
        raise NotFound("event", str(event_id))
    if event.reverses is not None:
        raise InvalidInput(
            "event_id", "an event, and not the row that takes one back; import it under another id instead"
        )
    if not event.billable:
        raise InvalidInput("event_id", "an event that was charged for; this one never was")
    return event


def _take_back(
    connection: Connection, event: StoredEvent, reversal_id: UUID, period: UsagePeriod, now: datetime
) -> Decimal:
    """Take it off the locked period's totals; what the bill changes by. Costs add up to the bill as they did before."""
    taken, parts = quantities(event.usage), list(period.parts)
    tariffs = [for_part(load_tariff(connection, part.plan_id, part.plan_version), part.share) for part in parts]
    concerned = part_at(parts, event.timestamp)
    left, whole = Sums(parts[concerned].totals), Sums(period.totals)
    left.take(taken)
    whole.take(taken)
    parts[concerned] = replace(parts[concerned], totals=left)
    cost = -running_cost(tariffs[concerned], left, taken)
    insert_reversal(connection, event.id, reversal_id, cost, now)
    save_taken_back(
        connection,
        period,
        whole,
        parts,
        tokens=event.usage.tokens_in + event.usage.tokens_out,
        cost_units=cost,
        spent=bigint(sum(usage_amount(tariff, part.totals) for tariff, part in zip(tariffs, parts, strict=True))),
    )
    return cost
