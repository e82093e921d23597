"""The ledger of collecting: for each invoice somebody is told to collect, what was asked of them and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.demand import Demand
from tollkeeper.storage.database import all_rows, change, first_row

CollectorName: TypeAlias = Literal["stripe", "stripe_items", "paystack"]
CollectionKey: TypeAlias = tuple[UUID, int]
"""(invoice_id, part)"""
CollectionState: TypeAlias = Literal["pending", "sending", "issued", "nothing_due", "parked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """A row of `collections`: one invoice of ours that is collected once.

    `sending` is a call under way; `next_attempt_at` is then when its sender counts as lost. In `issued` it is when to look
    again whether it was paid.
    """

    invoice_id: UUID
    part: int = 0
    """0 but for items that were found to be owed after the close."""
    user_id: str
    collector: CollectorName
    demand: Demand | None = None
    external_id: str | None = None
    state: CollectionState = "pending"
    key_attempt: int = 1
    attempts: int = 0
    first_sent_at: datetime | None = None
    last_sent_at: datetime | None = None
    next_attempt_at: datetime | None = None
    issued_at: datetime | None = None
    last_error: str | None = None
    created_at: datetime

    @property
    def key(self) -> str:
        """What idempotency keys of calls about it begin with."""
        part = f":{self.part}" if self.part else ""
        return f"inv:{self.invoice_id}{part}:{self.key_attempt}"


# Which column of `customers` a collector knows the customer by.
_CUSTOMER = {"stripe": "stripe_customer_id", "stripe_items": "stripe_customer_id", "paystack": "email"}
_COLUMNS = """
o.invoice_id, o.part, o.user_id, o.collector, o.demand, o.external_id, o.state, o.key_attempt, o.attempts, o.first_sent_at,
o.last_sent_at, o.next_attempt_at, o.issued_at, o.last_error, o.created_at
"""
_SENDABLE = """
(o.state = 'pending' AND (o.next_attempt_at IS NULL OR o.next_attempt_at <= :now)
 OR o.state = 'sending' AND o.next_attempt_at <= :now)
"""
_SENDABLE_IF_ASKED = "(o.state IN ('pending', 'parked') OR o.state = 'sending' AND o.next_attempt_at <= :now)"
_KNOWN = " OR ".join(
    f"(o.collector = '{name}' AND (c.{column} IS NOT NULL OR o.first_sent_at IS NOT NULL))"
    for name, column in _CUSTOMER.items()
)


def enter_drafts(connection: Connection, default: CollectorName | None, now: datetime, until: datetime) -> int:
    """Enter drafts that we price ourselves and nobody was told to collect yet; how many.

    Who collects is what the plan says, or the `default`; without either they wait. Of periods over by `until` alone.
    """
    return change(
        connection,
        """
        INSERT INTO collections (invoice_id, user_id, collector, created_at)
        SELECT i.id, i.user_id, coalesce(p.collector, :default), :now
        FROM invoices AS i JOIN plans AS p ON p.id = i.plan_id
        WHERE i.status = 'draft' AND i.collect = 'invoices' AND i.period_end <= :until
          AND coalesce(p.collector, :default) IS NOT NULL
          AND NOT EXISTS (SELECT FROM collections AS o WHERE o.invoice_id = i.id)
        ORDER BY i.created_at, i.id LIMIT 1000
        ON CONFLICT (invoice_id, part) DO NOTHING
        """,
        default=default,
        now=now,
        until=until,
    )


def insert_collections(connection: Connection, collections: Iterable[Collection]) -> None:
    """Enter what is to be collected; the same invoice a second time is refused by the table."""
    change(
        connection,
        """
        INSERT INTO collections (invoice_id, part, user_id, collector, demand, created_at)
        SELECT r.* FROM json_to_recordset(CAST(:rows AS json)) AS r(
            invoice_id uuid, part smallint, user_id text, collector text, demand jsonb, created_at timestamptz)
        """,
        rows=json.dumps(
            [
                {
                    "invoice_id": str(one.invoice_id),
                    "part": one.part,
                    "user_id": one.user_id,
                    "collector": one.collector,
                    "demand": None if one.demand is None else one.demand.to_json(),
                    "created_at": one.created_at.isoformat(),
                }
                for one in collections
            ]
        ),
    )


def sendable_collections(
    connection: Connection, collectors: Sequence[str], now: datetime, until: datetime, limit: int, *, insist: bool
) -> list[CollectionKey]:
    """What can be collected now, the oldest period first; `insist` takes what waits for a later attempt, and what is parked."""
    rows = all_rows(
        connection,
        f"""
        SELECT o.invoice_id, o.part FROM collections AS o
        JOIN invoices AS i ON i.id = o.invoice_id JOIN customers AS c ON c.user_id = o.user_id
        WHERE {_SENDABLE_IF_ASKED if insist else _SENDABLE} AND ({_KNOWN})
          AND o.collector = ANY(:collectors) AND i.period_end <= :until
        ORDER BY i.period_end, o.user_id, o.invoice_id, o.part LIMIT :limit
        """,  # noqa: S608 - put together from constants
        collectors=list(collectors),
        now=now,
        until=until,
        limit=limit,
    )
    return [(row["invoice_id"], row["part"]) for row in rows]


def claim_collection(connection: Connection, key: CollectionKey, now: datetime, *, insist: bool) -> Collection | None:
    """Lock a row that can still be sent, or None."""
    row = first_row(
        connection,
        f"""
        SELECT {_COLUMNS} FROM collections AS o
        WHERE o.invoice_id = :id AND o.part = :part AND {_SENDABLE_IF_ASKED if insist else _SENDABLE}
        FOR UPDATE SKIP LOCKED
        """,  # noqa: S608 - put together from constants
        id=key[0],
        part=key[1],
        now=now,
    )
    return None if row is None else _collection(row)


def customer_there(connection: Connection, one: Collection) -> tuple[str | None, str | None]:
    """What the collector calls the customer, and the customer's address; None where either is not known."""
    row = first_row(
        connection,
        f"SELECT {_CUSTOMER[one.collector]} AS name, email FROM customers WHERE user_id = :user",  # noqa: S608 - from constants
        user=one.user_id,
    )
    return (None, None) if row is None else (row["name"], row["email"])


def save_collection(connection: Connection, one: Collection, *, claimed: int) -> bool:
    """Store what became of a row that was claimed as attempt `claimed`; False where somebody else has gone on with it.

    That an invoice is issued is true whoever hears of it, so that is stored all the same.
    """
    return (
        change(
            connection,
            """
            UPDATE collections
            SET demand = CAST(:demand AS jsonb), external_id = :external_id, state = :state, key_attempt = :key_attempt,
                attempts = :attempts, first_sent_at = :first_sent_at, last_sent_at = :last_sent_at,
                next_attempt_at = :next_attempt_at, issued_at = :issued_at, last_error = :last_error
            WHERE invoice_id = :invoice_id AND part = :part AND state IN ('pending', 'sending', 'parked')
              AND (attempts <= :claimed OR :state = 'issued')
            """,
            claimed=claimed,
            demand=None if one.demand is None else json.dumps(one.demand.to_json()),
            **{name: getattr(one, name) for name in _CHANGING},
        )
        == 1
    )


def is_still_mine(connection: Connection, one: Collection) -> bool:
    """Whether nobody has taken over what was claimed."""
    found = first_row(
        connection,
        "SELECT FROM collections WHERE invoice_id = :id AND part = :part AND state = 'sending' AND attempts = :attempts",
        id=one.invoice_id,
        part=one.part,
        attempts=one.attempts,
    )
    return found is not None


def look_again_at(connection: Connection, invoice_id: UUID, at: datetime | None) -> None:
    """When to look again at an invoice that is issued; None where there is nothing more to see."""
    change(
        connection,
        "UPDATE collections SET next_attempt_at = :at WHERE invoice_id = :id AND part = 0 AND state = 'issued'",
        id=invoice_id,
        at=at,
    )


def reopen_collection(connection: Connection, invoice_id: UUID) -> bool:
    """Send an issued invoice again, because what went out has come to nothing; False where it is not issued."""
    return (
        change(
            connection,
            "UPDATE collections SET state = 'pending', next_attempt_at = NULL WHERE invoice_id = :id AND part = 0 AND state = 'issued'",
            id=invoice_id,
        )
        == 1
    )


def issued_to_look_at(connection: Connection, collectors: Sequence[str], now: datetime, limit: int) -> list[Collection]:
    """Issued invoices that are not known to be settled and whose time to be looked at has come."""
    rows = all_rows(
        connection,
        f"""
        SELECT {_COLUMNS} FROM collections AS o
        WHERE o.state = 'issued' AND o.next_attempt_at <= :now AND o.collector = ANY(:collectors)
        ORDER BY o.next_attempt_at LIMIT :limit
        """,  # noqa: S608 - put together from constants
        collectors=list(collectors),
        now=now,
        limit=limit,
    )
    return [_collection(row) for row in rows]


def collections_of(connection: Connection, invoices: Iterable[UUID]) -> dict[UUID, Collection]:
    """What is known of collecting some invoices: what was to be collected from the close on."""
    rows = all_rows(
        connection,
        f"SELECT {_COLUMNS} FROM collections AS o WHERE o.invoice_id = ANY(:ids) AND o.part = 0",  # noqa: S608 - from constants
        ids=list(invoices),
    )
    return {row["invoice_id"]: _collection(row) for row in rows}


def items_of(connection: Connection, invoices: Iterable[UUID]) -> list[Collection]:
    """Items that were found to be owed for some invoices after the close, in their order."""
    rows = all_rows(
        connection,
        f"SELECT {_COLUMNS} FROM collections AS o WHERE o.invoice_id = ANY(:ids) AND o.part > 0 ORDER BY o.part",  # noqa: S608 - from constants
        ids=list(invoices),
    )
    return [_collection(row) for row in rows]


def collection_named(connection: Connection, collector: str, external_id: str) -> Collection | None:
    """What the collector calls by this name, if it is known."""
    row = first_row(
        connection,
        f"SELECT {_COLUMNS} FROM collections AS o WHERE o.collector = :collector AND o.external_id = :name",  # noqa: S608 - from constants
        collector=collector,
        name=external_id,
    )
    return None if row is None else _collection(row)


def count_uncollected(
    connection: Connection, until: datetime, collectors: Sequence[str] | None = None
) -> dict[str, int]:
    """How many invoices of periods over by `until` are not issued, by state; `waiting` are those nobody was told of."""
    rows = all_rows(
        connection,
        """
        SELECT coalesce(o.state, 'waiting') AS state, count(*) AS n
        FROM invoices AS i LEFT JOIN collections AS o ON o.invoice_id = i.id
        WHERE i.period_end <= :until AND (o.state IN ('pending', 'sending', 'parked')
              OR o.invoice_id IS NULL AND i.status = 'draft' AND i.collect = 'invoices')
          AND (CAST(:collectors AS text[]) IS NULL OR o.collector = ANY(:collectors))
        GROUP BY 1
        """,
        until=until,
        collectors=None if collectors is None else list(collectors),
    )
    return {row["state"]: row["n"] for row in rows}


def note_unknown_there(connection: Connection) -> int:
    """Say on the rows of customers whom the collector does not know why they wait; how many there are."""
    return change(
        connection,
        f"""
        UPDATE collections AS o SET last_error = 'the collector does not know the customer yet'
        FROM customers AS c WHERE c.user_id = o.user_id AND o.state = 'pending' AND NOT ({_KNOWN})
        """,  # noqa: S608 - put together from constants
    )


def _collection(row: dict[str, Any]) -> Collection:
    demand = row.pop("demand")
    return Collection(demand=None if demand is None else Demand.from_json(demand), **row)


_CHANGING = (
    "invoice_id", "part", "external_id", "state", "key_attempt", "attempts", "first_sent_at", "last_sent_at", "next_attempt_at",
    "issued_at", "last_error",
)  # fmt: skip
