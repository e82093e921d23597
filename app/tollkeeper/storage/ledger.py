"""One customer's period while a batch of events is added to it, and the rows that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from tollkeeper.domain.account import Account
from tollkeeper.domain.event import UsageEvent
from tollkeeper.domain.money import bigint
from tollkeeper.domain.notice import Notice, quota_notices, spend_cap_notices
from tollkeeper.domain.plan_part import PlanPart, part_at
from tollkeeper.domain.pricing import FINE, Position, Tariff, minor_text
from tollkeeper.domain.usage import Totals, quantities
from tollkeeper.storage.memory import Known
from tollkeeper.storage.plan_parts import plan_parts_to_json
from tollkeeper.storage.totals import Sums, totals_to_json
from tollkeeper.storage.usage_json import parts_to_json


class Ledger:
    """The figures of a row of `usage_periods`, growing event by event."""

    __slots__ = (
        "_account", "_changed", "_position", "_spend_before", "_tokens_before", "_totals",
        "cost", "events", "key", "revision", "rows", "spent", "tokens", "version",
    )  # fmt: skip

    def __init__(
        self,
        account: Account,
        *,
        position: Position,
        totals: Sums,
        version: int,
        revision: int,
        tokens: int,
        cost: int,
        spent: int,
    ) -> None:
        self._account = account
        self._position = position
        self._totals = totals
        self._tokens_before = tokens
        self._spend_before = max(spent * FINE, cost)
        self._changed = False
        self.key = (account.user_id, account.period.start)
        self.version = version
        """The version that the row has once this is written."""
        self.revision = revision
        self.tokens = tokens
        self.cost = cost
        """Fine units."""
        self.spent = spent
        self.events = 0
        """Billable ones."""
        self.rows: list[dict[str, Any]] = []
        """The events to insert."""

    @classmethod
    def of_known(cls, account: Account, known: Known) -> Ledger:
        """From what this process remembers; `account` has the plan as the request found it."""
        last = known.account
        return cls(
            account,
            position=last.position.copy(),
            totals=Sums(last.totals),
            version=last.version + 1,
            revision=known.revision,
            tokens=last.tokens,
            cost=last.cost,
            spent=last.spent,
        )

    @classmethod
    def of_row(cls, account: Account, tariff: Tariff, row: dict[str, Any], totals: Sums, cost: int) -> Self:
        """From a row that was locked for this."""
        return cls(
            account,
            position=Position(tariff, totals),
            totals=totals,
            version=row["version"],
            revision=row["revision"],
            tokens=int(row["tokens"]),
            cost=cost,
            spent=row["spent"],
        )

    @property
    def spend(self) -> int:
        """What counts against the cap, in fine units."""
        return max(self.spent * FINE, self.cost)

    def add(self, event: UsageEvent) -> bool:
        """Add a new event; whether some of it has no price."""
        cost, unpriced = self._charge(event) if event.billable else (0, False)
        self.rows.append(_row(event, self.revision, cost, unpriced))
        return unpriced

    def _charge(self, event: UsageEvent) -> tuple[int, bool]:
        usage = event.usage
        added = quantities(usage)
        cost, unpriced = self._price(added, event.timestamp)
        self._totals.add(added)
        self.tokens += usage.tokens_in + usage.tokens_out
        self.cost += cost
        self.events += 1
        self._changed = True
        return cost, unpriced

    def _price(self, added: Totals, at: datetime) -> tuple[int, bool]:
        """What is added costs, in fine units, and whether tokens of it have no price."""
        return self._position.add(added)

    def rated(self) -> None:
        """Bring the rounded bill up to date; `AmountTooLarge` where it does not fit."""
        if self._changed:
            self.spent = self._position.spent

    def period(self) -> dict[str, Any]:
        """What changes in the period's row."""
        return {
            "user_id": self._account.user_id,
            "period_start": self._account.period.start,
            "events": self.events,
            "tokens": str(self.tokens),
            "totals": totals_to_json(self._totals),
            "cost_units": minor_text(self.cost),
            "spent": self.spent,
        }

    def notices(self, now: datetime) -> list[Notice]:
        """The thresholds that this batch crossed. A period that is over has none: its figures are a matter for the invoice."""
        if not self._account.period.start <= now < self._account.period.end:
            return []
        return [
            *quota_notices(self._account, self._tokens_before, self.tokens, self.spent),
            *spend_cap_notices(self._account, self._spend_before, self.spend),
        ]

    def account(self, before: Account) -> Account:
        """The account after this is written; all that a batch does not change is as it was before."""
        return Account(
            before.user_id,
            before.status,
            before.plan,
            before.tariff_plan_id,
            before.tariff_version,
            before.period,
            self._position,
            self.version,
            self.tokens,
            self._totals,
            self.spent,
            self.cost,
        )


class PartedLedger(Ledger):
    """The same where the plan changes inside the period: an event belongs to the part that its instant lies in."""

    __slots__ = ("_parts", "_positions", "_sums")

    _parts: list[PlanPart]
    _positions: list[Position]
    _sums: list[Sums]

    @classmethod
    def of_parts(
        cls, account: Account, parts: Sequence[tuple[PlanPart, Tariff]], row: dict[str, Any], totals: Sums, cost: int
    ) -> PartedLedger:
        """From a locked row and what each part of it is priced by."""
        ledger = cls.of_row(account, parts[-1][1], row, totals, cost)
        ledger._parts = [part for part, _ in parts]
        ledger._positions = [Position(tariff, part.totals) for part, tariff in parts]
        ledger._sums = [Sums(part.totals) for part, _ in parts]
        return ledger

    def _price(self, added: Totals, at: datetime) -> tuple[int, bool]:
        part = part_at(self._parts, at)
        self._sums[part].add(added)
        return self._positions[part].add(added)

    def rated(self) -> None:
        if self._changed:
            self.spent = bigint(sum(position.spent for position in self._positions))

    def period(self) -> dict[str, Any]:
        parts = [replace(part, totals=sums) for part, sums in zip(self._parts, self._sums, strict=True)]
        return super().period() | {"plan_parts": plan_parts_to_json(parts)}


def _row(event: UsageEvent, revision: int, cost: int, unpriced: bool) -> dict[str, Any]:
    usage = event.usage
    return {
        "id": event.id,
        "user_id": event.user_id,
        "timestamp": event.timestamp,
        "model_id": usage.model_id,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "cached_tokens_in": usage.cached_tokens_in,
        "cache_write_tokens_in": usage.cache_write_tokens_in,
        "reasoning_tokens_out": usage.reasoning_tokens_out,
        "compute_minutes": str(usage.compute_minutes) if usage.compute_minutes else 0,
        "cost_units": minor_text(cost),
        "latency_ms": event.latency_ms,
        "status_code": event.status_code,
        "method": event.method,
        "path": event.path,
        "request_id": event.request_id,
        "estimated": event.estimated,
        "complete": event.complete,
        "units": {name: _number(quantity) for name, quantity in usage.units.items()},
        "parts": parts_to_json(usage) if usage.parts else None,
        "usage_state": event.state,
        "unpriced": unpriced,
        "billable": event.billable,
        "revision": revision,
    }


def _number(quantity: Decimal) -> int | str:
    return int(quantity) if quantity == quantity.to_integral_value() else f"{quantity:f}"
