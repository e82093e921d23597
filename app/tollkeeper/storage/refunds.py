"""Money that went back for an invoice at Stripe: refunds by their charge, disputes by their own id."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.storage.database import change


@dataclass(frozen=True, slots=True)
class Refund:
    """All that was refunded of a charge so far, or a dispute over it as it was at an instant. Minor units."""

    stripe_id: str
    invoice_id: UUID
    kind: str
    amount: int
    currency: str
    status: str
    told_at: datetime


def save_refund(connection: Connection, refund: Refund) -> bool:
    """Write down the newest that is known; False where nothing is new. What is refunded only grows, and closed disputes stay closed."""
    changed = change(
        connection,
        """
        INSERT INTO invoice_refunds AS r (stripe_id, invoice_id, kind, amount, currency, status, told_at)
        VALUES (:stripe_id, :invoice_id, :kind, :amount, :currency, :status, :told_at)
        ON CONFLICT (stripe_id) DO UPDATE SET amount = greatest(r.amount, excluded.amount), status = excluded.status,
            told_at = excluded.told_at
        WHERE (r.kind = 'refund' AND excluded.amount > r.amount)
           OR (r.kind = 'dispute' AND excluded.told_at >= r.told_at AND r.status NOT IN ('won', 'lost', 'warning_closed')
               AND excluded.status <> r.status)
        """,
        **asdict(refund),
    )
    return changed == 1
