"""A second opinion on every bill, written from the rules alone. It shares no code with the package, and imports none of it.

A plan is the mapping that a plan file's table holds, with prices as the strings that people write. Everything is a
`Fraction`, and each rule is spelled out in the plainest way there is, however slow.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, NamedTuple

# How many decimals there are between the major unit and what is charged, and what lines are rounded to.
DECIMALS = {"usd": 2, "eur": 2, "jpy": 0, "kwd": 3, "isk": 2, "ugx": 2, "ngn": 2, "ghs": 2, "mga": 0}
STEPS = {"kwd": 10, "isk": 100, "ugx": 100}
TOKEN_TYPES = ("input", "cached_input", "cache_write", "output")


class Line(NamedTuple):
    price: int
    tier: int
    quantity: Fraction
    exact: Fraction
    amount: int


class Verdict(NamedTuple):
    lines: list[Line]
    exact: Fraction
    usage_amount: int
    total: int
    unpriced: set[tuple[str, str]]


def nearest(number: Fraction, step: int) -> int:
    """The nearest multiple of the step; of two equally near ones, the one further from zero."""
    below = number // step * step
    above = below + step
    if number - below == above - number:
        return int(above if number > 0 else below)
    return int(below if number - below < above - number else above)


def minor(text: str, currency: str) -> Fraction:
    return Fraction(text) * Fraction(10) ** DECIMALS[currency]


def matches(pattern: str, model: str) -> bool:
    parts = [".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern]
    return re.fullmatch("".join(parts), model, re.DOTALL) is not None


def literal(pattern: str) -> tuple[bool, int]:
    """Whether it is an exact name, and the length of its literal part."""
    rest = pattern.replace("*", "").replace("?", "")
    return (rest == pattern, len(rest))


def meter_of(price: dict[str, Any]) -> str:
    return str(price.get("meter", price.get("token_type", "*")))


def choose(prices: list[dict[str, Any]], model: str, meter: str) -> int | None:
    """Model first: exact, then the longest literal part. Then the token type that is named, then `*`."""
    named = [
        (literal(p["model"]), 1, i) for i, p in enumerate(prices) if meter_of(p) == meter and matches(p["model"], model)
    ]
    starred = [
        (literal(p["model"]), 0, i)
        for i, p in enumerate(prices)
        if meter in TOKEN_TYPES and meter_of(p) == "*" and matches(p["model"], model)
    ]
    found = max(named + starred, default=None)
    if meter not in ("cached_input", "cache_write") or (found and found[1] == 1):
        return found[2] if found else None
    # No price of its own: input's price, unless a `*` for a model at least as specific takes it.
    as_input = max(
        (
            (literal(p["model"]), i)
            for i, p in enumerate(prices)
            if meter_of(p) == "input" and matches(p["model"], model)
        ),
        default=None,
    )
    if as_input is not None and (found is None or as_input[0] > found[0]):
        return as_input[1]
    return found[2] if found else None


def tiers_of(price: dict[str, Any], currency: str) -> list[tuple[Fraction, Fraction | None, Fraction, Fraction]]:
    """(more than, up to, price of one unit, flat fee) for each tier."""
    written = price.get("tiers") or [{"up_to": "inf", "price": price["price"]}]
    found = []
    lower = Fraction(0)
    for tier in written:
        upper = None if tier["up_to"] == "inf" else Fraction(tier["up_to"])
        unit = minor(tier["price"], currency) / price.get("per", 1)
        found.append((lower, upper, unit, minor(tier.get("flat_fee", "0"), currency)))
        lower = upper if upper is not None else lower
    return found


def slices(price: dict[str, Any], quantity: Fraction, currency: str) -> Iterator[tuple[int, Fraction, Fraction]]:
    """(tier, quantity in it, what that costs) for a quantity that may be anything from 0 on."""
    tiers = tiers_of(price, currency)
    if quantity == 0:
        return
    if price.get("round_up"):
        per = price.get("per", 1)
        packages = 0
        while packages * per < quantity and packages < 1000:
            packages += 1
        if packages * per < quantity:
            packages = -(-quantity // per)
        _, _, unit, fee = tiers[0]
        yield 0, quantity, packages * per * unit + fee
    elif price.get("tiers_mode") == "volume":
        for index, (lower, upper, unit, fee) in enumerate(tiers):
            if quantity > lower and (upper is None or quantity <= upper):
                yield index, quantity, quantity * unit + fee
    else:
        for index, (lower, upper, unit, fee) in enumerate(tiers):
            here = (quantity if upper is None else min(quantity, upper)) - lower
            if here > 0:
                yield index, here, here * unit + fee


def bill(plan: dict[str, Any], totals: dict[tuple[str, str], Fraction], share: Fraction = Fraction(1)) -> Verdict:
    """The lines of a period's totals, and what they come to after discount, maximum and minimum.

    A part of a period has its share of the allowance, the maximum and the minimum.
    """
    currency, prices = plan["currency"], plan.get("prices", [])
    step = STEPS.get(currency, 1)
    included = Fraction(nearest(plan.get("included_tokens", 0) * share, 1))
    lines = []
    for index, price in enumerate(prices):
        used = sum((n for (model, meter), n in totals.items() if choose(prices, model, meter) == index), Fraction(0))
        if meter_of(price) in (*TOKEN_TYPES, "*"):
            free = min(included, used)
            included, used = included - free, used - free
        for tier, quantity, exact in slices(price, used, currency):
            lines.append(Line(index, tier, quantity, exact, nearest(exact, step)))
    usage = sum(line.amount for line in lines)
    total = usage + nearest(-usage * Fraction(plan.get("discount_percent", "0")) / 100, step)
    if "maximum" in plan:
        total = min(total, nearest(minor(plan["maximum"], currency) * share, step))
    total = max(total, nearest(minor(plan.get("minimum", "0"), currency) * share, step))
    unpriced = {key for key, n in totals.items() if n and key[1] in TOKEN_TYPES and choose(prices, *key) is None}
    return Verdict(lines, sum((line.exact for line in lines), Fraction(0)), usage, total, unpriced)


def base_fee(plan: dict[str, Any], start: datetime, end: datetime, period: tuple[datetime, datetime]) -> int:
    """A part's share of the base fee by time, rounded once."""
    microseconds = [(b - a).total_seconds() * 10**6 for a, b in ((start, end), period)]
    fee = minor(plan["base_fee"], plan["currency"]) * round(microseconds[0]) / round(microseconds[1])
    return nearest(fee, STEPS.get(plan["currency"], 1))


def counted(usage: dict[str, Any]) -> dict[tuple[str, str], Fraction]:
    """What one event adds to each (model, meter)."""
    cached, written = usage.get("cached_tokens_in", 0), usage.get("cache_write_tokens_in", 0)
    amounts = {
        "input": usage.get("tokens_in", 0) - cached - written,
        "cached_input": cached,
        "cache_write": written,
        "output": usage.get("tokens_out", 0),
        "compute_minutes": Fraction(usage.get("compute_minutes", 0)),
        "requests": 1,
        **{name: Fraction(n) for name, n in usage.get("units", {}).items()},
    }
    return {(usage["model_id"], meter): Fraction(n) for meter, n in amounts.items() if n}


def month_starts(anchor: datetime) -> Iterator[datetime]:
    """Every monthly return of an anchor, from two years before it, by counting months one at a time."""
    year, month = anchor.year - 2, anchor.month
    while year < anchor.year + 12:
        day = min(anchor.day, calendar.monthrange(year, month)[1])
        yield datetime(year, month, day, anchor.hour, anchor.minute, anchor.second, tzinfo=UTC)
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


def period_start(interval: str, at: datetime, anchor: datetime) -> datetime:
    at = at.astimezone(UTC)
    if interval == "year":
        return datetime(at.year, 1, 1, tzinfo=UTC)
    if interval == "month":
        return datetime(at.year, at.month, 1, tzinfo=UTC)
    return max(start for start in month_starts(anchor.astimezone(UTC)) if start <= at)


def in_force(first: int, moves: list[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    """(since, plan) after everything that was said, in the order in which it was said: each holds from its instant on."""
    found = [(datetime.min.replace(tzinfo=UTC), first)]
    for at, plan in moves:
        found = [one for one in found if one[0] < at]
        if found[-1][1] != plan:
            found.append((at, plan))
    return found


class Part(NamedTuple):
    start: datetime
    end: datetime
    plan: int
    share: Fraction


def parts(plans: list[tuple[datetime, int]], start: datetime, end: datetime) -> list[Part]:
    """What a period is made of, where plans follow one another."""
    cuts = [start, *(since for since, _ in plans if start < since < end), end]
    found = []
    for n in range(len(cuts) - 1):
        plan = [name for since, name in plans if since <= cuts[n]][-1]
        microseconds = [round((b - a).total_seconds() * 10**6) for a, b in ((cuts[n], cuts[n + 1]), (start, end))]
        found.append(Part(cuts[n], cuts[n + 1], plan, Fraction(*microseconds)))
    return found


def period_end(interval: str, start: datetime, anchor: datetime) -> datetime:
    if interval == "year":
        return datetime(start.year + 1, 1, 1, tzinfo=UTC)
    if interval == "month":
        return datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
    return min(at for at in month_starts(anchor.astimezone(UTC)) if at > start)


def bills(
    plans: list[dict[str, Any]],
    moves: list[tuple[datetime, int]],
    events: list[tuple[datetime, dict[str, Any]]],
    anchor: datetime,
) -> dict[datetime, list[tuple[Part, Verdict]]]:
    """The bill of every period that has usage, part by part, by the period's start. All plans have one interval."""
    interval = plans[0].get("interval", "month")
    used: dict[datetime, list[tuple[datetime, dict[str, Any]]]] = {}
    for at, usage in events:
        used.setdefault(period_start(interval, at, anchor), []).append((at, usage))
    found: dict[datetime, list[tuple[Part, Verdict]]] = {}
    for start, inside in used.items():
        end = period_end(interval, start, anchor)
        for part in parts(in_force(0, moves), start, end):
            totals: dict[tuple[str, str], Fraction] = {}
            for at, usage in inside:
                if part.start <= at < part.end:
                    for key, quantity in counted(usage).items():
                        totals[key] = totals.get(key, Fraction(0)) + quantity
            found.setdefault(start, []).append((part, bill(plans[part.plan], totals, part.share)))
    return found
