"""Admission by PostgreSQL alone, for the time that Redis is away: slower, and just as strict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from tollkeeper.domain.account import Account
from tollkeeper.domain.hold import Bound
from tollkeeper.domain.pricing import fine_of
from tollkeeper.grouping import Grouped
from tollkeeper.storage.gate import StoredHold
from tollkeeper.storage.wire import Wire

Worth = Callable[[Account, Iterable[StoredHold], int], Iterable[tuple[StoredHold, int, int]]]
"""What holds set aside, in fine units and in tokens, placed one after another on top of the tokens used."""


@dataclass(frozen=True, slots=True)
class Case:
    """One request to decide on. Its hold stands in the table already."""

    hold_id: UUID
    account: Account
    bound: Bound


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether the request may run, and the figures that decided it, in fine units."""

    admitted: bool
    spent: int
    held: int


class Referee:
    """Decides under a lock per customer. Holds of requests that are not decided yet count as held, so it never admits too much."""

    def __init__(self, url: str, schema: str | None, worth: Worth, *, budget_seconds: float) -> None:
        self._wire = Wire(url, schema, budget_seconds=budget_seconds, durable=False)
        self._worth = worth
        self.rule: Grouped[Case, Ruling] = Grouped(self._rule)

    def discard(self) -> None:
        """Let go of the connection without waiting."""
        self._wire.discard()

    async def _rule(self, cases: list[Case]) -> list[Ruling | Exception]:
        together: dict[tuple[str, datetime], list[Case]] = {}
        for case in cases:
            together.setdefault((case.account.user_id, case.account.period.start), []).append(case)
        rulings: dict[UUID, Ruling] = {}
        for _, same in sorted(together.items()):
            rulings |= await self._wire.run(lambda connection, same=same: self._decide(connection, same))  # type: ignore[misc] # the default binds this round's cases
        return [rulings[case.hold_id] for case in cases]

    async def _decide(self, connection: psycopg.AsyncConnection[Any], cases: list[Case]) -> dict[UUID, Ruling]:
        """Rulings on requests of one customer in one period, each on top of those that were admitted before it."""
        account = cases[0].account
        mine = [case.hold_id for case in cases]
        async with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (account.user_id,))
            await cursor.execute(_USED, (account.user_id, account.period.start))
            used, tokens = await cursor.fetchone() or (0, 0)
            spent = fine_of(used)
            await cursor.execute(_OTHER_HOLDS, (account.user_id, mine, mine))
            others = [StoredHold(*row) for row in await cursor.fetchall()]
            worth = list(self._worth(account, others, int(tokens)))
            held = sum(amount for _, amount, _ in worth)
            taken = int(tokens) + sum(count for _, _, count in worth)
            rulings: dict[UUID, Ruling] = {}
            for case in cases:
                admitted = case.bound.fits(case.account.plan.spend_cap, spent, held, taken)
                rulings[case.hold_id] = Ruling(admitted, spent, held)
                if admitted:
                    taken += case.bound.tokens
                    held += 0 if taken <= case.bound.free_until else case.bound.amount
            turned_away = [hold for hold, ruling in rulings.items() if not ruling.admitted]
            await cursor.execute("DELETE FROM holds WHERE id = ANY(%s)", (turned_away,))
            return rulings


_USED = """
SELECT greatest(spent, cost_units), tokens FROM usage_periods WHERE user_id = %s AND period_start = %s
"""

_OTHER_HOLDS = """
SELECT id, model_id, tokens_in, tokens_out, expires_at FROM holds
WHERE user_id = %s AND id <> ALL(%s) AND expires_at > coalesce((SELECT min(started_at) FROM holds WHERE id = ANY(%s)), '-infinity')
"""
