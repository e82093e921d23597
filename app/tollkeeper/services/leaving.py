"""Leaving: a customer is gone from an instant on, and the period up to it becomes the last one.

Requests are refused first. Then the period is cut, once nothing can come any more that would lie behind the cut. The next
close drafts the final invoice, its base fee for the share of the time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.period import Period, utc
from tollkeeper.services.opening import open_missing
from tollkeeper.services.previewing import unused_period
from tollkeeper.services.repricing import replan
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.periods import NewPeriod, insert_periods, stored_period
from tollkeeper.storage.reports import move_period_end
from tollkeeper.storage.spans import end_period, last_instant, refuse_requests, span_of
from tollkeeper.storage.usage_periods import lock_periods_past

_INSTANT = timedelta(microseconds=1)
_CHUNK = 500


def close_customer(database: Database, user_id: str, now: datetime, at: datetime | None = None) -> datetime:
    """Let a customer leave at an instant, now if none is given; the instant. The same call again changes nothing.

    Raises `NotFound`, and `InvalidInput` for an instant that is still to come, lies before the customer came, or before
    something that the customer used or a period that is closed.
    """
    at = None if at is None else utc(at, "at")
    open_missing(database, now if at is None else min(at, now), _CHUNK)  # nobody does for a customer who is gone
    with database.transaction() as connection:
        customer = load_customer(connection, validate_user_id(user_id), lock=True)
        gone = span_of(connection, user_id).closed_at
        if customer.status == "closed" and gone is not None:
            return gone
        if at is not None and not customer.created_at <= at <= now:
            raise InvalidInput("at", "an instant since the customer was added that is not still to come")
        if at is not None and (last := last_instant(connection, user_id, at)) is not None:
            raise InvalidInput("at", f"an instant after {last:%Y-%m-%dT%H:%M:%S.%fZ}, when something was used last")
        if at is not None and (stored := stored_period(connection, user_id, at)) is not None:
            _check_open(stored.status, stored.period.start == at)
        refuse_requests(connection, user_id)
    return _cut(database, user_id, now if at is None else at, now, fixed=at is not None)


def _cut(database: Database, user_id: str, at: datetime, now: datetime, *, fixed: bool) -> datetime:
    """End the period. Requests that were under way meanwhile move the instant behind them, unless it was given."""
    with database.transaction() as connection:
        load_customer(connection, user_id, lock=True)
        last = last_instant(connection, user_id, at)
        if last is not None and not fixed:
            at = last + _INSTANT
        before = at - _INSTANT
        if stored_period(connection, user_id, before) is None:
            unused = unused_period(connection, user_id, before)
            insert_periods(
                connection,
                [NewPeriod(user_id, unused.period, unused.plan_id, unused.plan_version, unused.currency)],
            )
        for row in lock_periods_past(connection, user_id, at):
            stays = [(part.start, part.plan_id) for part in row.parts if part.start < at]
            if stays:  # changes of plan that were still to come are called off
                replan(connection, row, stays)
                move_period_end(connection, user_id, Period(stays[-1][0], at))
        end_period(connection, user_id, at)
        record(connection, "customer.left", user_id, now, user_id=user_id, after={"closed_at": at})
    return at


def _check_open(status: str, begins_there: bool) -> None:
    if status != "open" and not begins_there:
        raise InvalidInput("at", "an instant in a period that is not closed yet")
