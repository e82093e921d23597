"""Invoices and their lines: drafted once by the close, moved on by reports and payments, never changed in between."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

import orjson
from sqlalchemy import Connection

from tollkeeper.domain.errors import NotFound
from tollkeeper.domain.period import Period
from tollkeeper.domain.pricing import LineKind
from tollkeeper.storage.adjustments import put_on_invoices
from tollkeeper.storage.database import all_rows, change, copy_rows, first_row
from tollkeeper.storage.periods import PeriodKey

InvoiceStatus: TypeAlias = Literal["draft", "finalized", "paid", "void", "uncollectible"]
Collect: TypeAlias = Literal["meters", "invoices", "off"]
InvoicePlace: TypeAlias = tuple[datetime, int]
"""(period_start, revision): where in a customer's list an invoice stands"""


class InvoiceLine(NamedTuple):
    """One line. `model_id` and `token_type` are the price's patterns; the period is the one that the usage is from.

    A tuple, because a close makes them by the hundred thousand.
    """

    kind: LineKind
    model_id: str | None
    token_type: str | None
    quantity: Decimal
    unit_amount: Decimal
    """Minor units for one, unrounded, without flat fees."""
    amount: int
    description: str
    period: Period
    revision: int = 1
    """The last revision of that period whose events it bills."""
    since_revision: int = 1
    """The first one."""
    adjustment_id: UUID | None = None
    """What a person added by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    """A row of `invoices`; amounts in minor units of its currency."""

    id: UUID
    user_id: str
    period: Period
    revision: int
    currency: str
    status: InvoiceStatus = "draft"
    total_amount: int
    plan_id: str
    plan_version: int
    collect: Collect
    stripe_invoice_id: str | None = None
    arrival_cutoff: datetime
    created_at: datetime
    finalized_at: datetime | None = None
    paid_at: datetime | None = None
    alarm: str | None = None
    carried: int = 0
    void_reason: str | None = None
    replaced: bool = False
    """Void because its period was drafted anew: what stands on it bills nothing."""


_COLUMNS = """
id, user_id, period_start, period_end, revision, currency, status, total_amount, plan_id, plan_version, collect,
stripe_invoice_id, arrival_cutoff, created_at, finalized_at, paid_at, alarm, carried, void_reason, replaced
"""
_LINE = """
l.kind, l.model_id, l.token_type, l.quantity, l.unit_amount_decimal, l.amount, l.description, l.period_start, l.period_end,
l.revision, l.since_revision, l.adjustment_id
"""


def insert_drafts(connection: Connection, drafts: Iterable[tuple[Invoice, Sequence[InvoiceLine]]]) -> None:
    """Store new drafts with their lines; a second one of the same period and revision is refused by the table."""
    drafts = list(drafts)
    change(connection, _INSERT, rows=_rows(_invoice_json(invoice) for invoice, _ in drafts))
    copy_rows(
        connection, "invoice_line_items", _LINE_COLUMNS, chain.from_iterable(_line_rows(*draft) for draft in drafts)
    )
    adjusted = [(line.adjustment_id, invoice.id) for invoice, lines in drafts for line in lines if line.adjustment_id]
    if adjusted:
        put_on_invoices(connection, adjusted)


def list_invoices(connection: Connection, user_id: str | None = None) -> list[Invoice]:
    """All invoices, or those of one customer: by period, newest first, then by customer."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM invoices WHERE CAST(:user AS text) IS NULL OR user_id = :user
        ORDER BY period_start DESC, user_id, revision
        """,  # noqa: S608 - put together from constants
        user=user_id,
    )
    return [_invoice(row) for row in rows]


def customer_invoices(connection: Connection, user_id: str, after: InvoicePlace | None, limit: int) -> list[Invoice]:
    """One customer's invoices, newest period first, from the one after a place on."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM invoices
        WHERE user_id = :user AND (CAST(:start AS timestamptz) IS NULL OR (period_start, revision) < (:start, :revision))
        ORDER BY period_start DESC, revision DESC LIMIT :limit
        """,  # noqa: S608 - put together from constants
        user=user_id,
        start=None if after is None else after[0],
        revision=None if after is None else after[1],
        limit=limit,
    )
    return [_invoice(row) for row in rows]


def load_invoice(connection: Connection, invoice_id: UUID) -> Invoice:
    """The invoice, or `NotFound`."""
    found = _find(connection, "id = :id", id=invoice_id)
    if found is None:
        raise NotFound("invoice", str(invoice_id))
    return found


def lines_of(connection: Connection, invoice_id: UUID) -> list[InvoiceLine]:
    """An invoice's lines by position."""
    rows = all_rows(
        connection,
        f"SELECT {_LINE} FROM invoice_line_items AS l WHERE l.invoice_id = :id ORDER BY l.position",  # noqa: S608 - from constants
        id=invoice_id,
    )
    return [_line(row) for row in rows]


def usage_lines_of(connection: Connection, keys: Iterable[PeriodKey]) -> dict[PeriodKey, list[InvoiceLine]]:
    """By period or part of one, every line that bills usage of it, whichever invoice it stands on."""
    found: dict[PeriodKey, list[InvoiceLine]] = {key: [] for key in keys}
    rows = all_rows(
        connection,
        f"""
        SELECT i.user_id, {_LINE}
        FROM json_to_recordset(CAST(:keys AS json)) AS k(user_id text, period_start timestamptz)
        JOIN invoices AS i ON i.user_id = k.user_id AND i.period_end > k.period_start
        JOIN invoice_line_items AS l ON l.invoice_id = i.id AND l.period_start = k.period_start
        WHERE l.kind IN ('usage', 'late_usage', 'adjustment') AND l.adjustment_id IS NULL AND NOT i.replaced
        ORDER BY i.period_start, i.revision, l.position
        """,  # noqa: S608 - put together from constants
        keys=_keys(found),
    )
    for row in rows:
        found[row.pop("user_id"), row["period_start"]].append(_line(row))
    return found


def invoices_of(connection: Connection, keys: Iterable[PeriodKey]) -> dict[PeriodKey, list[tuple[Invoice, int]]]:
    """By period, its own invoices, each with what its lines add up to."""
    found: dict[PeriodKey, list[tuple[Invoice, int]]] = {key: [] for key in keys}
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS}, (SELECT coalesce(sum(amount), 0) FROM invoice_line_items WHERE invoice_id = i.id) AS lines
        FROM json_to_recordset(CAST(:keys AS json)) AS k(user_id text, period_start timestamptz)
        JOIN invoices AS i USING (user_id, period_start)
        ORDER BY revision
        """,  # noqa: S608 - put together from constants
        keys=_keys(found),
    )
    for row in rows:
        lines = int(row.pop("lines"))
        invoice = _invoice(row)
        found[invoice.user_id, invoice.period.start].append((invoice, lines))
    return found


def carried_balances(connection: Connection, users: Sequence[str]) -> dict[tuple[str, str], int]:
    """What customers still have coming from negative totals, by customer and currency."""
    rows = all_rows(
        connection,
        """
        SELECT user_id, currency, sum(carried) AS left FROM invoices
        WHERE user_id = ANY(:users) AND carried <> 0 GROUP BY user_id, currency
        """,
        users=list(users),
    )
    return {(row["user_id"], row["currency"]): int(row["left"]) for row in rows}


def last_charges(connection: Connection, users: Sequence[str], most: int) -> dict[tuple[str, str], list[int]]:
    """What customers' last invoices charged before credits, by customer and currency, the newest last; void ones apart."""
    rows = all_rows(
        connection,
        """
        SELECT last.user_id, last.currency, last.charges
        FROM unnest(CAST(:users AS text[])) AS named(user_id) CROSS JOIN LATERAL (
            SELECT i.user_id, i.currency, i.period_start,
                   (SELECT coalesce(sum(l.amount), 0) FROM invoice_line_items AS l
                    WHERE l.invoice_id = i.id AND l.kind <> 'credit') AS charges
            FROM invoices AS i WHERE i.user_id = named.user_id AND i.status <> 'void'
            ORDER BY i.period_start DESC LIMIT :most) AS last
        ORDER BY last.user_id, last.period_start
        """,
        users=list(users),
        most=most,
    )
    found: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        found.setdefault((row["user_id"], row["currency"]), []).append(int(row["charges"]))
    return found


def finalize_reported(connection: Connection, now: datetime, invoice_id: UUID | None = None) -> list[Invoice]:
    """Finalize drafts (or one) whose period is over and whose every report Stripe has acknowledged; as they were before.

    One that has nothing to report owes Stripe nothing, so it is final too, unless an alarm on it waits for a person.
    """
    change(connection, "SELECT FROM invoices WHERE id = :id FOR UPDATE", id=invoice_id)
    rows = all_rows(
        connection,
        f"""
        UPDATE invoices AS i SET status = 'finalized', finalized_at = :now
        WHERE i.status = 'draft' AND i.collect = 'meters' AND i.period_end <= :now
          AND (i.alarm IS NULL OR EXISTS (SELECT FROM stripe_reports AS r WHERE r.invoice_id = i.id)
               OR EXISTS (SELECT FROM collections AS o WHERE o.invoice_id = i.id))
          AND (CAST(:id AS uuid) IS NULL OR i.id = :id)
          AND NOT EXISTS (SELECT FROM stripe_reports AS r
                          WHERE r.invoice_id = i.id AND r.state NOT IN ('acknowledged', 'confirmed', 'missed'))
          AND NOT EXISTS (SELECT FROM collections AS o
                          WHERE o.invoice_id = i.id AND o.state NOT IN ('issued', 'nothing_due'))
        RETURNING {_COLUMNS}
        """,  # noqa: S608 - put together from constants
        now=now,
        id=invoice_id,
    )
    return [replace(_invoice(row), status="draft", finalized_at=None) for row in rows]


def sound_alarm(connection: Connection, invoice_id: UUID | None, alarm: str) -> None:
    """Note on an invoice what does not agree, beside what was noted before; nowhere where there is none yet."""
    change(
        connection,
        """
        UPDATE invoices SET alarm = concat_ws('; ', alarm, CAST(:alarm AS text))
        WHERE id = :id AND (alarm IS NULL OR :alarm <> ALL(string_to_array(alarm, '; ')))
        """,
        id=invoice_id,
        alarm=_one_note(alarm),
    )


def call_off_alarm(connection: Connection, invoice_id: UUID | None, alarm: str) -> None:
    """Take back a note, once what it says has been mended; others stay."""
    change(
        connection,
        """
        UPDATE invoices SET alarm = nullif(array_to_string(array_remove(string_to_array(alarm, '; '), :alarm), '; '), '')
        WHERE id = :id AND alarm IS NOT NULL
        """,
        id=invoice_id,
        alarm=_one_note(alarm),
    )


def call_off_alarms(connection: Connection, invoice_id: UUID) -> None:
    """Take back every note on an invoice: a person has looked at them."""
    change(connection, "UPDATE invoices SET alarm = NULL WHERE id = :id", id=invoice_id)


def lock_by_stripe_id(connection: Connection, stripe_invoice_id: str) -> Invoice | None:
    """The invoice that is known to be this one of Stripe's, locked."""
    return _find(connection, "stripe_invoice_id = :stripe_id FOR UPDATE", stripe_id=stripe_invoice_id)


def lock_invoice(connection: Connection, invoice_id: UUID) -> Invoice | None:
    """The invoice of this id, locked."""
    return _find(connection, "id = :id FOR UPDATE", id=invoice_id)


def lock_by_period(connection: Connection, stripe_customer_id: str, period_end: datetime) -> Invoice | None:
    """The one invoice of a Stripe customer whose period ends at this instant, locked; None where there are more."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM invoices
        WHERE user_id = (SELECT c.user_id FROM customers AS c WHERE c.stripe_customer_id = :customer)
          AND period_end = :ends AND stripe_invoice_id IS NULL AND NOT replaced
        ORDER BY id FOR UPDATE
        """,  # noqa: S608 - put together from constants
        customer=stripe_customer_id,
        ends=period_end,
    )
    return _invoice(rows[0]) if len(rows) == 1 else None


def name_stripe_invoice(connection: Connection, invoice_id: UUID, stripe_invoice_id: str) -> None:
    """Remember which of Stripe's invoices this is; the first one named stays."""
    change(
        connection,
        "UPDATE invoices SET stripe_invoice_id = coalesce(stripe_invoice_id, :stripe_id) WHERE id = :id",
        id=invoice_id,
        stripe_id=stripe_invoice_id,
    )


def save_status(connection: Connection, invoice_id: UUID, status: InvoiceStatus, at: datetime) -> None:
    """Move a locked invoice on; it is finalized no later than anything that can only follow."""
    change(
        connection,
        """
        UPDATE invoices SET status = :status, finalized_at = coalesce(finalized_at, :at),
                            paid_at = CASE WHEN :status = 'paid' THEN :at ELSE paid_at END
        WHERE id = :id
        """,
        id=invoice_id,
        status=status,
        at=at,
    )


def _one_note(alarm: str) -> str:
    """Notes stand side by side with "; " between them."""
    return alarm.replace("; ", ", ")


def _find(connection: Connection, condition: str, **parameters: object) -> Invoice | None:
    row = first_row(connection, f"SELECT {_COLUMNS} FROM invoices WHERE {condition}", **parameters)  # noqa: S608 - from constants
    return None if row is None else _invoice(row)


def _invoice(row: dict[str, Any]) -> Invoice:
    return Invoice(period=Period(row.pop("period_start"), row.pop("period_end")), **row)


def _line(row: dict[str, Any]) -> InvoiceLine:
    period = Period(row.pop("period_start"), row.pop("period_end"))
    return InvoiceLine(unit_amount=row.pop("unit_amount_decimal"), period=period, **row)


def _keys(keys: Iterable[PeriodKey]) -> str:
    return json.dumps([{"user_id": user_id, "period_start": start.isoformat()} for user_id, start in keys])


def _rows(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as JSON; ids and instants are written as text."""
    return orjson.dumps(list(rows)).decode()


def _invoice_json(invoice: Invoice) -> dict[str, Any]:
    return {
        "id": invoice.id,
        "user_id": invoice.user_id,
        "period_start": invoice.period.start,
        "period_end": invoice.period.end,
        "revision": invoice.revision,
        "currency": invoice.currency,
        "total_amount": invoice.total_amount,
        "plan_id": invoice.plan_id,
        "plan_version": invoice.plan_version,
        "collect": invoice.collect,
        "arrival_cutoff": invoice.arrival_cutoff,
        "created_at": invoice.created_at,
        "alarm": invoice.alarm,
        "carried": invoice.carried,
    }


def _line_rows(invoice: Invoice, lines: Sequence[InvoiceLine]) -> Iterator[tuple[str | None, ...]]:
    """The lines as text, in the order of `_LINE_COLUMNS`."""
    invoice_id = str(invoice.id)
    period: Period | None = None
    start = end = ""
    for position, line in enumerate(lines, 1):
        if line.period is not period:  # nearly all lines of an invoice are of one
            period = line.period
            start, end = period.start.isoformat(), period.end.isoformat()
        adjustment_id = None if line.adjustment_id is None else str(line.adjustment_id)
        yield (
            invoice_id, str(position), line.kind, line.model_id, line.token_type, f"{line.quantity:f}",
            f"{line.unit_amount:f}", str(line.amount), line.description, start, end, str(line.revision),
            str(line.since_revision), adjustment_id,
        )  # fmt: skip


_INSERT = """
INSERT INTO invoices (id, user_id, period_start, period_end, revision, currency, total_amount, plan_id, plan_version,
                      collect, arrival_cutoff, created_at, alarm, carried)
SELECT r.* FROM json_to_recordset(CAST(:rows AS json)) AS r(
    id uuid, user_id text, period_start timestamptz, period_end timestamptz, revision smallint, currency text,
    total_amount bigint, plan_id text, plan_version int, collect text, arrival_cutoff timestamptz,
    created_at timestamptz, alarm text, carried bigint)
"""
_LINE_COLUMNS = (
    "invoice_id", "position", "kind", "model_id", "token_type", "quantity", "unit_amount_decimal", "amount", "description",
    "period_start", "period_end", "revision", "since_revision", "adjustment_id",
)  # fmt: skip
