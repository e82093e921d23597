"""What stands at Stripe for us: meters, products, prices, the portal, endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row

StripeKind: TypeAlias = Literal["meter", "product", "price", "portal", "webhook", "thin_webhook"]

_LOCK = 0x73747270  # "strp": two setups at once queue up


@dataclass(frozen=True, slots=True)
class StripeObject:
    """One object. `key` is our name for it: of those with the same key one is in use, the others were replaced."""

    kind: StripeKind
    key: str
    stripe_id: str
    fingerprint: str
    plan_id: str | None = None


def lock_setup(connection: Connection) -> None:
    """Wait until no other setup is under way; held until the transaction ends."""
    change(connection, "SELECT pg_advisory_xact_lock(:lock)", lock=_LOCK)


def save_object(connection: Connection, livemode: bool, one: StripeObject, now: datetime) -> None:
    """Remember an object as the one in use under its key."""
    change(
        connection,
        "UPDATE stripe_objects SET active = false WHERE livemode = :livemode AND kind = :kind AND key = :key AND active "
        "AND stripe_id <> :stripe_id",
        livemode=livemode,
        kind=one.kind,
        key=one.key,
        stripe_id=one.stripe_id,
    )
    change(
        connection,
        """
        INSERT INTO stripe_objects (livemode, kind, stripe_id, key, plan_id, fingerprint, found_at)
        VALUES (:livemode, :kind, :stripe_id, :key, :plan_id, :fingerprint, :now)
        ON CONFLICT (livemode, kind, stripe_id) DO UPDATE SET key = excluded.key, plan_id = excluded.plan_id,
            fingerprint = excluded.fingerprint, active = true, found_at = excluded.found_at
        """,
        livemode=livemode,
        kind=one.kind,
        stripe_id=one.stripe_id,
        key=one.key,
        plan_id=one.plan_id,
        fingerprint=one.fingerprint,
        now=now,
    )


def objects_in_use(connection: Connection, livemode: bool) -> dict[tuple[str, str], StripeObject]:
    """What is in use, by kind and key."""
    rows = all_rows(
        connection,
        "SELECT kind, key, stripe_id, fingerprint, plan_id FROM stripe_objects WHERE livemode = :livemode AND active",
        livemode=livemode,
    )
    return {(row["kind"], row["key"]): StripeObject(**row) for row in rows}


def plan_of_prices(connection: Connection, price_ids: list[str], user_id: str) -> str | None:
    """The plan that these prices were made for, replaced ones included; where they are of several, the customer's own first."""
    row = first_row(
        connection,
        """
        SELECT o.plan_id FROM stripe_objects AS o
        WHERE o.kind = 'price' AND o.stripe_id = ANY(:ids) AND o.plan_id IS NOT NULL
        ORDER BY o.plan_id = (SELECT plan_id FROM customers WHERE user_id = :user) DESC NULLS LAST, o.plan_id LIMIT 1
        """,
        ids=price_ids,
        user=user_id,
    )
    return None if row is None else str(row["plan_id"])


def names_of_prices(connection: Connection, price_ids: list[str]) -> dict[str, str]:
    """Our names for these prices, replaced ones included."""
    rows = all_rows(
        connection,
        "SELECT stripe_id, key FROM stripe_objects WHERE kind = 'price' AND stripe_id = ANY(:ids)",
        ids=price_ids,
    )
    return {row["stripe_id"]: row["key"] for row in rows}
