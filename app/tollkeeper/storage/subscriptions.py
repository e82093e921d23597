"""Subscriptions as they were last read at Stripe."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row

_COLUMNS = (
    "id, user_id, plan_id, status, period_start, period_end, cancel_at_period_end, first_fee_item, started_at, prices"
)
LIVE = frozenset({"active", "trialing", "past_due"})
"""Statuses in which Stripe renews it."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A row. `first_fee_item` is '-' where the first fee needs nothing more to be done."""

    id: str
    user_id: str
    plan_id: str | None
    status: str
    period_start: datetime | None
    period_end: datetime | None
    cancel_at_period_end: bool
    first_fee_item: str | None
    started_at: datetime
    prices: list[str]

    @property
    def live(self) -> bool:
        return self.status in LIVE


def lock_subscription(connection: Connection, subscription_id: str) -> Subscription | None:
    """The row as it is, and nobody else reads this subscription at Stripe until the transaction ends.

    So whoever reads it there later also writes it here later, and an old state never replaces a newer one.
    """
    change(connection, "SELECT pg_advisory_xact_lock(hashtextextended(:id, 0))", id=f"subscription {subscription_id}")
    row = first_row(
        connection,
        f"SELECT {_COLUMNS} FROM subscriptions WHERE id = :id",  # noqa: S608 # the columns are ours
        id=subscription_id,
    )
    return None if row is None else Subscription(**row)


def save_subscription(connection: Connection, one: Subscription, now: datetime) -> None:
    """Write a subscription as it is now."""
    change(
        connection,
        """
        INSERT INTO subscriptions (id, user_id, plan_id, status, period_start, period_end, cancel_at_period_end,
                                   first_fee_item, started_at, prices, updated_at)
        VALUES (:id, :user_id, :plan_id, :status, :period_start, :period_end, :cancel_at_period_end,
                :first_fee_item, :started_at, :prices, :now)
        ON CONFLICT (id) DO UPDATE SET plan_id = excluded.plan_id, status = excluded.status,
            period_start = excluded.period_start, period_end = excluded.period_end,
            cancel_at_period_end = excluded.cancel_at_period_end, first_fee_item = excluded.first_fee_item,
            prices = excluded.prices, updated_at = excluded.updated_at
        """,
        **asdict(one),
        now=now,
    )


def subscriptions_of(connection: Connection, user_id: str) -> list[Subscription]:
    """A customer's subscriptions, those that ended too, oldest first."""
    rows = all_rows(
        connection,
        f"SELECT {_COLUMNS} FROM subscriptions WHERE user_id = :user ORDER BY started_at, id",  # noqa: S608
        user=user_id,
    )
    return [Subscription(**row) for row in rows]


def subscriptions_behind(connection: Connection, livemode: bool, now: datetime, limit: int) -> list[str]:
    """Subscriptions that go on and whose prices are not those that their customer's plan has at Stripe now."""
    rows = all_rows(
        connection,
        """
        SELECT s.id FROM subscriptions AS s JOIN customers AS c USING (user_id)
        JOIN LATERAL (
            SELECT array_agg(o.stripe_id) AS ids FROM stripe_objects AS o
            WHERE o.kind = 'price' AND o.livemode = :livemode AND o.active AND o.plan_id = c.plan_id
        ) AS sold ON sold.ids IS NOT NULL
        WHERE s.status IN ('active', 'trialing', 'past_due') AND NOT s.cancel_at_period_end
          AND NOT (s.prices @> sold.ids AND s.prices <@ sold.ids) AND coalesce(s.follow_at, :now) <= :now
        ORDER BY s.follow_at NULLS FIRST, s.id LIMIT :limit
        """,
        livemode=livemode,
        now=now,
        limit=limit,
    )
    return [row["id"] for row in rows]


def look_again_at(connection: Connection, subscription_id: str, at: datetime) -> None:
    """When a subscription that is behind is looked at next."""
    change(connection, "UPDATE subscriptions SET follow_at = :at WHERE id = :id", id=subscription_id, at=at)
