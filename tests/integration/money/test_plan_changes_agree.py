"""Random changes of plan inside a period, said before, between and after the usage: all figures are the oracle's, to the unit.

Everything runs against the database: what events cost, the spend, the preview, the invoices with late usage on the next one,
and reconcile. The oracle shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from integration.closing.ledger import DECEMBER, JANUARY, NOVEMBER, Ledger
from tollkeeper.services.moving import move_customer
from tollkeeper.services.previewing import preview
from tollkeeper.services.reconciling import reconcile
from unit.domain import oracle
from unit.domain.history import as_toml, random_plan, random_usage

HISTORIES = 12
MINUTE = timedelta(minutes=1)
FINEST = Fraction(1, 2 * 10**12)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_a_random_history_of_plan_changes_is_billed_as_the_oracle_says(ledger: Ledger, seed: int) -> None:
    random = Random(seed)
    story = _Story(ledger, random)
    story.live()
    story.close_and_come_late()
    assert list(story.differences()) == []


class _Story:
    """A customer of November, on up to three plans."""

    def __init__(self, ledger: Ledger, random: Random) -> None:
        self._ledger, self._random = ledger, random
        currency = random.choice(sorted(oracle.DECIMALS))
        self._plans = [self._plan(currency) for _ in range(3)]
        for n, plan in enumerate(self._plans):
            ledger.plan(as_toml(f"p{n}", plan))
        ledger.customer(plan="p0", stripe="cus_ada")
        self._moves: list[tuple[datetime, int]] = []
        self._events: list[tuple[datetime, dict[str, Any]]] = []

    def _plan(self, currency: str) -> dict[str, Any]:
        plan = random_plan(self._random, currency, "month")
        if self._random.random() < 0.7:
            plan["base_fee"] = str(self._random.choice((1, 30, 99)))
        return plan

    def live(self) -> None:
        """Usage and changes of plan in any order: a change may be said before the usage that it concerns, or after it."""
        for _ in range(self._random.randint(4, 14)):
            if self._random.random() < 0.3:
                self._move()
            else:
                self._use(NOVEMBER + timedelta(seconds=self._random.randrange(30 * 86_400)))

    def close_and_come_late(self) -> None:
        self._spend_is_what_an_invoice_would_say()
        self._ledger.close()
        for _ in range(self._random.randint(0, 3)):
            self._use(
                self._random.choice(self._bounds()) + timedelta(microseconds=self._random.choice((-1, 0))), late=True
            )
        self._ledger.close(JANUARY)

    def differences(self) -> Iterator[str]:
        expected = self._expected()
        billed = self._ledger.rows(
            "SELECT l.period_start, sum(l.amount) AS amount FROM invoice_line_items AS l JOIN invoices AS i ON i.id = l.invoice_id "
            "WHERE l.kind <> 'credit' AND l.period_start < :december GROUP BY l.period_start",
            december=DECEMBER,
        )
        found = {row["period_start"]: int(row["amount"]) for row in billed if row["amount"]}
        if found != {start: amount for start, amount in expected.items() if amount}:
            yield f"{found} billed instead of {expected}"
        first = [row for row in self._ledger.invoices() if row["period_start"] < DECEMBER]
        if len(first) > 1:
            yield f"{len(first)} invoices"
        if not reconcile(self._ledger.database, None, now=JANUARY + timedelta(days=1)).ok:
            yield "reconcile finds differences"
        cost = sum(
            (Fraction(row["cost_units"]) for row in self._ledger.rows("SELECT cost_units FROM usage_events")),
            Fraction(0),
        )
        exact = sum((verdict.exact for _, verdict in self._bill()), Fraction(0))
        if abs(cost - exact) > FINEST * 20:
            yield f"events cost {cost}, the bill is {exact}"

    def _move(self) -> None:
        at = NOVEMBER + self._random.randrange(1, 30 * 1_440 - 1) * MINUTE
        if self._random.random() < 0.2:
            at = NOVEMBER
        elif self._moves and self._random.random() < 0.2:
            at = self._random.choice(self._moves)[0]  # said again, perhaps otherwise
        plan = self._random.randrange(3)
        now = NOVEMBER + timedelta(days=self._random.randrange(30))
        move_customer(self._ledger.database, "ada", f"p{plan}", now, at=at)
        self._moves.append((at, plan))

    def _use(self, at: datetime, *, late: bool = False) -> None:
        at = min(max(at, NOVEMBER), DECEMBER - timedelta(microseconds=1))
        usage = random_usage(self._random, most=10**9)  # so that no sum is too large to be stored
        self._ledger.use(
            at=at, stored=DECEMBER + timedelta(days=1) if late else at, model=usage["model_id"],
            **{name: value for name, value in usage.items() if name != "model_id"},
        )  # fmt: skip
        self._events.append((at, usage))

    def _bounds(self) -> list[datetime]:
        return [NOVEMBER, DECEMBER, *(at for at, _ in self._moves)]

    def _bill(self) -> list[tuple[oracle.Part, oracle.Verdict]]:
        found = oracle.bills(self._plans, self._moves, self._events, NOVEMBER).get(NOVEMBER)
        return found or [
            (part, oracle.bill(self._plans[part.plan], {}, part.share))
            for part in oracle.parts(oracle.in_force(0, self._moves), NOVEMBER, DECEMBER)
        ]

    def _expected(self) -> dict[datetime, int]:
        """What each part comes to: its fee by time, and its usage; a minimum only where something was used or a fee is due."""
        sums = {}
        for part, verdict in self._bill():
            plan = self._plans[part.plan]
            used = any(part.start <= at < part.end and self._counts(plan, usage) for at, usage in self._events)
            fee = oracle.base_fee({"base_fee": "0", **plan}, part.start, part.end, (NOVEMBER, DECEMBER))
            sums[part.start] = fee + (verdict.total if used or "base_fee" in plan else 0)
        return sums

    def _counts(self, plan: dict[str, Any], usage: dict[str, Any]) -> bool:
        """A request that used nothing is no usage, unless requests have a price."""
        return any(
            meter != "requests" or oracle.choose(plan.get("prices", []), model, meter) is not None
            for model, meter in oracle.counted(usage)
        )

    def _spend_is_what_an_invoice_would_say(self) -> None:
        spent = self._ledger.rows("SELECT spent FROM usage_periods WHERE period_start = :november", november=NOVEMBER)
        if spent:
            assert preview(self._ledger.database, "ada", at=DECEMBER - MINUTE).usage_amount == spent[0]["spent"]
