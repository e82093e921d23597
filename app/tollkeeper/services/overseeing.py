"""Overseeing: what an operator looks at. Revenue, margins and who is near a cap are added up now and then, and kept.

A page never waits for sums over all customers: it shows the last ones and says from when they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection

from tollkeeper.domain.errors import ExtraMissing
from tollkeeper.domain.margin import MILLION, margin_percent, shared_out
from tollkeeper.domain.money import as_decimal, exact, round_half_away
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.usage import TOKEN_TYPES, Key, Totals
from tollkeeper.plain import plain
from tollkeeper.services.linting import CostOf, list_price
from tollkeeper.storage.database import Database
from tollkeeper.storage.plans import load_tariff
from tollkeeper.storage.schema import waiting_for_a_person
from tollkeeper.storage.stock import (
    PlanUse,
    claim_stock,
    counted_things,
    near_caps,
    open_charges,
    revenue_by_month,
    store_stock,
    stored_stock,
    thinnest_margins,
    use_by_plan,
)
from tollkeeper.storage.totals import Sums

GOOD_FOR = timedelta(minutes=10)
_MONTHS_BACK = timedelta(days=366)
_MOST_NEAR = 200
_MOST_MARGINS = 50
_MOST_MODELS = 300


@dataclass(frozen=True, slots=True)
class ModelMargin:
    """What one model's tokens were charged and what the AI side lists for them, in cents; None where nobody knows."""

    plan_id: str
    model_id: str
    tokens: int
    charged: int
    cost: int | None
    percent: Decimal | None


class Costs:
    """List prices, each looked up once. `known` is false where the package that knows them is not installed."""

    def __init__(self, now: datetime, cost_of: CostOf = list_price) -> None:
        self._now = now
        self._cost_of = cost_of
        self._found: dict[Key, Decimal | None] = {}
        self.known = True

    def of(self, key: Key) -> Decimal | None:
        """Cents for a million tokens of a model; None for what is not on the lists, and for what is no token."""
        if key not in self._found:
            self._found[key] = self._look_up(key)
        return self._found[key]

    def _look_up(self, key: Key) -> Decimal | None:
        if key[1] not in TOKEN_TYPES:
            return None
        try:
            return self._cost_of(key[0], key[1], self._now)
        except ExtraMissing:
            self.known = False
            return None


def stock(database: Database) -> tuple[dict[str, Any], datetime] | None:
    """The figures as they were taken last, and when; None where they never were."""
    with database.transaction() as connection:
        return stored_stock(connection)


def take_stock(database: Database, now: datetime, *, cost_of: CostOf = list_price) -> bool:
    """Add everything up and keep it; False where somebody else is at it."""
    with database.transaction() as connection:
        if not claim_stock(connection):
            return False
        store_stock(connection, plain(_figures(connection, now, Costs(now, cost_of))), now)
    return True


def customer_margins(parts: Sequence[tuple[Tariff, Totals]], costs: Costs) -> list[ModelMargin]:
    """One customer's usage, model by model: what is charged for it, each part by its own plan, and what it costs us."""
    charged: dict[Key, Fraction] = {}
    used = Sums()
    for tariff, totals in parts:
        used.add(totals)
        for key, share in shared_out(tariff, totals).items():
            charged[key] = charged.get(key, Fraction(0)) + share
    return list(_by_model("", charged, used, costs))


def _figures(connection: Connection, now: datetime, costs: Costs) -> dict[str, Any]:
    uses = use_by_plan(connection, now)
    near, number_near = near_caps(connection, now, _MOST_NEAR)
    prices = _unit_costs(uses, costs)
    margins = thinnest_margins(connection, now, prices, _MOST_MARGINS) if prices else []
    return {
        "counted": counted_things(connection),
        "waiting": waiting_for_a_person(connection),
        "open_charges": open_charges(connection, now),
        "revenue": revenue_by_month(connection, now - _MONTHS_BACK),
        "near_caps": near,
        "number_near": number_near,
        "models": [margin for use in uses if use.currency == "usd" for margin in _of_plan(connection, use, costs)],
        "thinnest": [
            {**plain(one), "cost": round_half_away(one.cost), "margin": round_half_away(one.margin)} for one in margins
        ],
        "costs_known": costs.known,
    }


def _of_plan(connection: Connection, use: PlanUse, costs: Costs) -> Iterable[ModelMargin]:
    tariff = load_tariff(connection, use.plan_id, use.plan_version)
    return _by_model(use.plan_id, shared_out(tariff, use.totals, use.spent), use.totals, costs)


def _by_model(plan_id: str, charged: Mapping[Key, Any], totals: Totals, costs: Costs) -> Iterable[ModelMargin]:
    """The models with the most tokens first. Of a model with one unknown cost the whole cost is unknown."""
    by_model: dict[str, list[Key]] = {}
    for key in totals:
        by_model.setdefault(key[0], []).append(key)
    tokens = {model: int(sum(totals[key] for key in keys if key[1] in TOKEN_TYPES)) for model, keys in by_model.items()}
    for model in sorted(by_model, key=lambda model: (-tokens[model], model))[:_MOST_MODELS]:
        keys = by_model[model]
        cost = _cost([key for key in keys if key[1] in TOKEN_TYPES and totals[key]], totals, costs)
        whole = sum(charged.get(key, 0) for key in keys)
        percent = None if cost is None else margin_percent(as_decimal(whole), as_decimal(cost))
        rounded = None if cost is None else round_half_away(cost)
        yield ModelMargin(plan_id, model, tokens[model], round_half_away(whole), rounded, percent)


def _cost(keys: Sequence[Key], totals: Totals, costs: Costs) -> Fraction | None:
    found = [(costs.of(key), totals[key]) for key in keys]
    if not found or any(cost is None for cost, _ in found):
        return None
    return sum((exact(cost) * exact(quantity) / MILLION for cost, quantity in found if cost is not None), Fraction(0))


def _unit_costs(uses: Sequence[PlanUse], costs: Costs) -> dict[Key, Decimal]:
    """Cents for one token, for whatever was used of the models that were used most."""
    tokens: dict[Key, Decimal | int] = {}
    for use in uses:
        for key, quantity in use.totals.items():
            tokens[key] = tokens.get(key, 0) + quantity
    most = sorted(tokens, key=lambda key: (-tokens[key], key))[: _MOST_MODELS * len(TOKEN_TYPES)]
    found = {key: costs.of(key) for key in most}
    return {key: as_decimal(exact(cost) / MILLION) for key, cost in found.items() if cost is not None}
