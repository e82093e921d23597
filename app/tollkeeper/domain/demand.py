"""A demand for payment: what a collector is told to collect, in just the form in which it is sent.

It is frozen with the first call, because a repeated call has to carry the same body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tollkeeper.domain.period import Period
from tollkeeper.domain.split import Share


@dataclass(frozen=True, slots=True)
class DemandLine:
    """One line: an amount in minor units, rounded by us, so that nobody can round it differently."""

    id: str
    """Its position on our invoice, or `rest` for what was folded together."""
    amount: int
    description: str
    period: Period


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One invoice of ours as a collector sees it.

    `customer` is the collector's own name for the customer. With `days_until_due` the invoice is sent and waits for payment,
    without it is charged at once. What the `shares` leave of the total is the platform's.
    """

    invoice_id: UUID
    user_id: str
    customer: str
    email: str | None
    currency: str
    period: Period
    drafted_at: datetime
    lines: tuple[DemandLine, ...]
    days_until_due: int | None = None
    shares: tuple[Share, ...] = ()

    @property
    def total(self) -> int:
        return sum(line.amount for line in self.lines)

    @property
    def platform_share(self) -> int:
        return self.total - sum(share.amount for share in self.shares)

    def to_json(self) -> dict[str, Any]:
        return {
            "invoice_id": str(self.invoice_id),
            "user_id": self.user_id,
            "customer": self.customer,
            "email": self.email,
            "currency": self.currency,
            "period": _period_json(self.period),
            "drafted_at": self.drafted_at.isoformat(),
            "lines": [
                {
                    "id": line.id,
                    "amount": line.amount,
                    "description": line.description,
                    "period": _period_json(line.period),
                }
                for line in self.lines
            ],
            "days_until_due": self.days_until_due,
            "shares": [{"account": share.account, "amount": share.amount} for share in self.shares],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Demand:
        return cls(
            invoice_id=UUID(stored["invoice_id"]),
            user_id=stored["user_id"],
            customer=stored["customer"],
            email=stored["email"],
            currency=stored["currency"],
            period=_period(stored["period"]),
            drafted_at=datetime.fromisoformat(stored["drafted_at"]),
            lines=tuple(
                DemandLine(line["id"], int(line["amount"]), line["description"], _period(line["period"]))
                for line in stored["lines"]
            ),
            days_until_due=stored["days_until_due"],
            shares=tuple(Share(share["account"], int(share["amount"])) for share in stored["shares"]),
        )


def fold(lines: Sequence[DemandLine], most: int) -> tuple[DemandLine, ...]:
    """At most so many lines over the same total: the largest stay, the others become one line at the end.

    Large is meant without regard to the sign; of two that are equally large the earlier one stays.
    """
    if len(lines) <= most:
        return tuple(lines)
    by_size = sorted(range(len(lines)), key=lambda index: (-abs(lines[index].amount), index))
    kept = set(by_size[: most - 1])
    rest = [line for index, line in enumerate(lines) if index not in kept]
    span = Period(min(line.period.start for line in rest), max(line.period.end for line in rest))
    folded = DemandLine("rest", sum(line.amount for line in rest), f"{len(rest)} smaller lines", span)
    return (*(lines[index] for index in sorted(kept)), folded)


def _period_json(period: Period) -> list[str]:
    return [period.start.isoformat(), period.end.isoformat()]


def _period(stored: Sequence[str]) -> Period:
    return Period(datetime.fromisoformat(stored[0]), datetime.fromisoformat(stored[1]))
