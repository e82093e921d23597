"""Checkouts: who set out to subscribe to what, and whether the one API key that belongs to it was handed over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.storage.database import change, first_row

CheckoutState: TypeAlias = Literal["open", "granted", "failed", "expired"]

_COLUMNS = "id, user_id, plan_id, session_id, claim_hash, state, subscription_id, claimed_at"


@dataclass(frozen=True, slots=True)
class Checkout:
    """One checkout. `granted` once it is paid and its subscription runs."""

    id: UUID
    user_id: str
    plan_id: str
    session_id: str | None
    claim_hash: bytes = field(repr=False)
    state: CheckoutState
    subscription_id: str | None
    claimed_at: datetime | None


def insert_checkout(connection: Connection, checkout: Checkout, now: datetime) -> None:
    """Remember a checkout before its page is made."""
    change(
        connection,
        "INSERT INTO checkouts (id, user_id, plan_id, claim_hash, created_at) VALUES (:id, :user, :plan, :hash, :now)",
        id=checkout.id,
        user=checkout.user_id,
        plan=checkout.plan_id,
        hash=checkout.claim_hash,
        now=now,
    )


def name_session(connection: Connection, checkout_id: UUID, session_id: str) -> None:
    """Which page at Stripe it is."""
    change(
        connection,
        "UPDATE checkouts SET session_id = :session WHERE id = :id AND session_id IS NULL",
        id=checkout_id,
        session=session_id,
    )


def lock_checkout(
    connection: Connection, *, checkout_id: UUID | None = None, session_id: str | None = None
) -> Checkout | None:
    """The checkout of this id or page, locked."""
    row = first_row(
        connection,
        f"SELECT {_COLUMNS} FROM checkouts WHERE id = :id OR session_id = :session FOR UPDATE",  # noqa: S608 # ours
        id=checkout_id,
        session=session_id,
    )
    return None if row is None else Checkout(**{**row, "claim_hash": bytes(row["claim_hash"])})


def save_checkout(
    connection: Connection,
    checkout_id: UUID,
    state: CheckoutState,
    now: datetime,
    subscription_id: str | None = None,
) -> bool:
    """Move a checkout on; what was granted stays so. Whether anything changed."""
    changed = change(
        connection,
        """
        UPDATE checkouts SET state = :state, subscription_id = coalesce(:subscription, subscription_id),
            granted_at = CASE WHEN :state = 'granted' THEN CAST(:now AS timestamptz) END
        WHERE id = :id AND state NOT IN ('granted', :state)
        """,
        id=checkout_id,
        state=state,
        subscription=subscription_id,
        now=now,
    )
    return changed == 1


def save_claimed(connection: Connection, checkout_id: UUID, now: datetime) -> None:
    """The key was handed over."""
    change(connection, "UPDATE checkouts SET claimed_at = :now WHERE id = :id", id=checkout_id, now=now)
