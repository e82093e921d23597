"""Sends one history through the package and through the oracle, and says where the two differ."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any

from tollkeeper.domain.money import AmountTooLarge, as_number, decimal_of
from tollkeeper.domain.period import Period, period_of
from tollkeeper.domain.plan_file import parse_plans
from tollkeeper.domain.plan_part import PlanPart, from_then_on, part_at, shares
from tollkeeper.domain.pricing import (
    COST_PLACES,
    Position,
    Tariff,
    bound_at,
    rate,
    running_cost,
    upper_bound,
    usage_amount,
)
from tollkeeper.domain.pricing.rating import unpriced
from tollkeeper.domain.proration import for_part
from tollkeeper.domain.usage import COMPUTE_MINUTES, REQUESTS, Key, Quantities, Totals, Usage, quantities
from unit.domain import oracle
from unit.domain.history import History

BIGGEST = 2**63 - 1
FINEST = Fraction(1, 2 * 10**12)


def disagreements(history: History, random: Random) -> Iterator[str]:
    """One sentence for each difference; `random` shuffles the order of arrival."""
    plans = parse_plans(history.toml())
    tariffs = [Tariff.from_json(json.loads(json.dumps(plan.tariff.to_json()))) for plan in plans]
    if tariffs != [plan.tariff for plan in plans]:
        yield "the tariff is another one after a trip through JSON"
    expected = oracle.bills(history.plans, history.moves, history.events, history.anchor)
    arrivals = list(history.events)
    random.shuffle(arrivals)
    found = _by_period(plans[0].interval, arrivals, history.anchor)
    if {period.start for period in found} != set(expected):
        yield f"periods {sorted(p.start for p in found)} instead of {sorted(expected)}"
        return
    for period, used in found.items():
        parts = _parts(period, history.moves)
        if [(part.start, int(part.plan_id), part.share) for part in parts] != [
            (part.start, part.plan, part.share) for part, _ in expected[period.start]
        ]:
            yield f"{period.start:%Y-%m-%d}: parts {parts} instead of {expected[period.start]}"
            continue
        for n, (part, verdict) in enumerate(
            zip(parts, (verdict for _, verdict in expected[period.start]), strict=True)
        ):
            tariff = for_part(tariffs[int(part.plan_id)], part.share)
            usages = [usage for at, usage in used if part_at(parts, at) == n]
            for sentence in _compare(tariff, usages, verdict):
                yield f"{part.start:%Y-%m-%d %H:%M:%S}: {sentence}"


def _parts(period: Period, moves: list[tuple[datetime, int]]) -> list[PlanPart]:
    """What a period is made of once everything was said."""
    parts = [PlanPart(period.start, "0", 1)]
    for at, plan in moves:
        if at < period.end:
            parts = [PlanPart(start, plan_id, 1) for start, plan_id in from_then_on(parts, at, str(plan))]
    of_time = shares([part.start for part in parts], period.end)
    return [replace(part, share=share) for part, share in zip(parts, of_time, strict=True)]


def _by_period(
    interval: str, arrivals: list[tuple[datetime, dict[str, Any]]], anchor: datetime
) -> dict[Period, list[tuple[datetime, Usage]]]:
    found: dict[Period, list[tuple[datetime, Usage]]] = {}
    for at, usage in arrivals:
        found.setdefault(period_of(interval, at, anchor), []).append((at, Usage(**usage)))
    return found


def _compare(tariff: Tariff, usages: list[Usage], expected: oracle.Verdict) -> Iterator[str]:
    totals: dict[Key, Decimal | int] = {}
    spent = Fraction(0)
    position = Position(tariff, {})
    for usage in usages:
        added = quantities(usage)
        cost = running_cost(tariff, totals, added)
        yield from _at_another_position(position.copy(), totals, usage, cost)
        position.add(added)
        yield from _above_its_bound(tariff, totals, usage, cost)
        spent += Fraction(cost)
        _add(totals, added)
    yield from _above_their_bounds(tariff, usages, spent)
    if expected.usage_amount > BIGGEST:
        yield from _accepted_too_much(tariff, totals)
        return
    if not position.spent == Position(tariff, totals).spent == expected.usage_amount:
        yield f"{position.spent} spent at the position instead of {expected.usage_amount}"
    bill = rate(tariff, totals)
    lines = [(x.price, x.tier, Fraction(x.quantity or 0), x.exact, x.amount) for x in bill.lines if x.kind == "usage"]
    if lines != [tuple(line) for line in expected.lines]:
        yield f"lines {lines} instead of {expected.lines}"
    if bill.exact != expected.exact or abs(spent - expected.exact) > FINEST * len(tariff.prices):
        yield f"{bill.exact} unrounded, {spent} as a running cost, instead of {expected.exact}"
    if (bill.usage_amount, usage_amount(tariff, totals), bill.total) != (expected.usage_amount,) * 2 + (
        expected.total,
    ):
        yield f"{bill.usage_amount} and {bill.total} in total instead of {expected.usage_amount} and {expected.total}"
    if set(bill.unpriced) != expected.unpriced:
        yield f"{bill.unpriced} unpriced instead of {expected.unpriced}"


def _at_another_position(position: Position, totals: Totals, usage: Usage, cost: Decimal) -> Iterator[str]:
    """What a position that grew event by event makes of the next one."""
    tariff = position.tariff
    others = {COMPUTE_MINUTES: as_number(usage.compute_minutes), REQUESTS: 1}
    others |= {name: as_number(quantity) for name, quantity in usage.units.items()}
    bound = decimal_of(bound_at(position, usage.model_id, usage.tokens_in, usage.tokens_out, others), COST_PLACES)
    if bound != _bound(tariff, usage.model_id, usage, totals, tariff.included_tokens):
        yield f"{usage} holds {bound} at its position after {totals}"
    grown, no_price = position.add(quantities(usage))
    if decimal_of(grown, COST_PLACES) != cost or no_price != any(unpriced(tariff, quantities(usage))):
        yield f"{usage} costs {grown} fine units at its position after {totals} instead of {cost}"


def _above_its_bound(tariff: Tariff, totals: Quantities, usage: Usage, cost: Decimal) -> Iterator[str]:
    for model in (usage.model_id, None):
        for known in (totals, None):
            bound = _bound(tariff, model, usage, known)
            if cost > bound:
                yield f"{usage} costs {cost} after {totals}, more than its bound {bound} ({model}, {known is not None})"


def _above_their_bounds(tariff: Tariff, usages: list[Usage], spent: Fraction) -> Iterator[str]:
    """All the requests of a period in flight at once, from its beginning."""
    held, in_flight, anywhere = Fraction(0), 0, Fraction(0)
    for usage in usages:
        held += Fraction(_bound(tariff, usage.model_id, usage, {}, in_flight))
        anywhere += Fraction(_bound(tariff, usage.model_id, usage, None))
        in_flight += usage.tokens_in + usage.tokens_out
    if spent > min(held, anywhere):
        yield f"{spent} spent by requests that hold {held}, or {anywhere} without totals"


def _bound(tariff: Tariff, model: str | None, usage: Usage, totals: Totals | None, in_flight: int = 0) -> Decimal:
    return upper_bound(
        tariff,
        model,
        usage.tokens_in,
        usage.tokens_out,
        compute_minutes=usage.compute_minutes,
        units=usage.units,
        totals=totals,
        held_tokens=in_flight,
    )


def _accepted_too_much(tariff: Tariff, totals: Quantities) -> Iterator[str]:
    for ask in (rate, usage_amount, _spent_at):
        with suppress(AmountTooLarge):
            yield f"{ask(tariff, totals)}, though it does not fit 64 bits"


def _spent_at(tariff: Tariff, totals: Totals) -> int:
    return Position(tariff, totals).spent


def _add(totals: Quantities, added: Quantities) -> None:
    for key, quantity in added.items():
        totals[key] = totals.get(key, 0) + quantity
