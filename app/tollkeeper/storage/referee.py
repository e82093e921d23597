"""Admission by PostgreSQL alone, for the time that Redis is away: slower, and just as strict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from tollkeeper.domain.account import Account
from tollkeeper.domain.plan import Plan
from tollkeeper.grouping import Grouped
from tollkeeper.storage.gate import StoredHold
from tollkeeper.storage.wire import Wire

Price = Callable[[Plan, StoredHold], Decimal]
"""What a hold sets aside, in minor units."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request to decide on. Its hold stands in the table already."""

    hold_id: UUID
    account: Account
    bound: Decimal
    soft: bool


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether the request may run, and the figures that decided it, in minor units."""

    admitted: bool
    spent: Decimal
    held: Decimal


class Referee:
    """Decides under a lock per customer. Holds of requests that are not decided yet count as held, so it never admits too much."""

    def __init__(self, url: str, schema: str | None, price: Price, *, budget_seconds: float) -> None:
        self._wire = Wire(url, schema, budget_seconds=budget_seconds, durable=False)
        self._price = price
        self.rule: Grouped[Case, Ruling] = Grouped(self._rule)

    def discard(self) -> None:
        """Let go of the connection without waiting."""
        self._wire.discard()

    async def _rule(self, cases: list[Case]) -> list[Ruling | Exception]:
        order = sorted(range(len(cases)), key=lambda n: cases[n].account.user_id)
        rulings: dict[int, Ruling] = {}
        for n in order:
            rulings[n] = await self._wire.run(lambda connection, case=cases[n]: self._decide(connection, case))  # type: ignore[misc] # the default binds this round's case
        return [rulings[n] for n in range(len(cases))]

    async def _decide(self, connection: psycopg.AsyncConnection[Any], case: Case) -> Ruling:
        account, cap = case.account, case.account.plan.spend_cap
        async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (account.user_id,))
            spent = await self._spent(cursor, account)
            await cursor.execute(
                "SELECT id, model_id, tokens_in, tokens_out, expires_at FROM holds "
                "WHERE user_id = %s AND id <> %s AND expires_at > (SELECT started_at FROM holds WHERE id = %s)",
                (account.user_id, case.hold_id, case.hold_id),
            )
            held = sum(self._prices(account.plan, await cursor.fetchall()), Decimal(0))
            room = None if cap is None else cap - spent - held
            admitted = room is None or case.bound <= room or (case.soft and room > 0)
            if not admitted:
                await cursor.execute("DELETE FROM holds WHERE id = %s", (case.hold_id,))
            return Ruling(admitted, spent, held)

    async def _spent(self, cursor: psycopg.AsyncCursor[Any], account: Account) -> Decimal:
        await cursor.execute(
            "SELECT greatest(spent, cost_units) FROM usage_periods WHERE user_id = %s AND period_start = %s",
            (account.user_id, account.period.start),
        )
        row = await cursor.fetchone()
        return Decimal(0) if row is None else Decimal(row[0])

    def _prices(self, plan: Plan, rows: Sequence[tuple[Any, ...]]) -> list[Decimal]:
        return [self._price(plan, StoredHold(*row)) for row in rows]
