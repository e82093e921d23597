"""Adjustments: what a person adds to or takes off a customer's next invoice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.storage.database import all_rows, change, first_row


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A row of `adjustments`; `amount` in minor units, below zero in the customer's favour."""

    id: UUID
    user_id: str
    currency: str
    amount: int
    reason: str
    author: str
    created_at: datetime
    invoice_id: UUID | None = None
    """The invoice that it stands on; None while it waits for one."""


def insert_adjustment(connection: Connection, adjustment: Adjustment) -> bool:
    """Store a new one; False where its id is taken."""
    statement = """
        INSERT INTO adjustments (id, user_id, currency, amount, reason, author, created_at, invoice_id)
        VALUES (:id, :user_id, :currency, :amount, :reason, :author, :created_at, :invoice_id)
        ON CONFLICT (id) DO NOTHING
    """
    return change(connection, statement, **asdict(adjustment)) == 1


def find_adjustment(connection: Connection, adjustment_id: UUID) -> Adjustment | None:
    """The adjustment of this id."""
    row = first_row(connection, "SELECT * FROM adjustments WHERE id = :id", id=adjustment_id)
    return None if row is None else Adjustment(**row)


def adjustments_of(connection: Connection, user_id: str) -> list[Adjustment]:
    """A customer's adjustments, oldest first."""
    statement = "SELECT * FROM adjustments WHERE user_id = :user ORDER BY created_at, id"
    return [Adjustment(**row) for row in all_rows(connection, statement, user=user_id)]


def waiting_adjustments(connection: Connection, users: Sequence[str]) -> list[Adjustment]:
    """Those of some customers that stand on no invoice yet, oldest first."""
    statement = "SELECT * FROM adjustments WHERE user_id = ANY(:users) AND invoice_id IS NULL ORDER BY created_at, id"
    return [Adjustment(**row) for row in all_rows(connection, statement, users=list(users))]


def put_on_invoices(connection: Connection, places: Sequence[tuple[UUID, UUID]]) -> None:
    """Let adjustments stand on invoices: (adjustment, invoice) each."""
    change(
        connection,
        """
        UPDATE adjustments AS a SET invoice_id = p.invoice_id
        FROM unnest(CAST(:adjustments AS uuid[]), CAST(:invoices AS uuid[])) AS p(id, invoice_id) WHERE a.id = p.id
        """,
        adjustments=[adjustment for adjustment, _ in places],
        invoices=[invoice for _, invoice in places],
    )


def take_off_invoice(connection: Connection, invoice_id: UUID) -> None:
    """Let the adjustments of an invoice wait for the next one."""
    change(connection, "UPDATE adjustments SET invoice_id = NULL WHERE invoice_id = :invoice", invoice=invoice_id)
