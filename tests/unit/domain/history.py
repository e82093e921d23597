"""Random plans and random usage to go with them, in the form in which people write them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any

CURRENCIES = ("usd", "eur", "jpy", "kwd", "isk", "ugx", "ngn", "ghs", "mga")
WHOLE_AMOUNTS = ("jpy", "isk", "ugx", "mga")
MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-5", "claude-opus", "Claude-Opus", "llama")
PATTERNS = ("*", "gpt-*", "gpt-4o*", "gpt-4o", "gpt-4o-mini", "claude-*", "?lama", "*-opus")
METERS = ("input", "cached_input", "cache_write", "output", "*", "*", "*", "compute_minutes", "requests", "images")
BOUNDS = (1, 2, 3, 7, 10, 100, 999, 1_000, 100_000, 1_000_000, 10**15)
PRICES = ("0", "0.003", "0.002", "0.00000015", "1", "0.5", "12.345", "0.005", "99.99", "0.000001")
PERS = (1, 1, 1, 1_000, 1_000_000, 3, 60, 7)
COUNTS = (0, 0, 1, 2, 3, 10, 99, 100, 101, 999, 1_000, 1_001, 50_000, 999_999, 1_000_000, 10**15)
FRACTIONS = ("0", "0.5", "1", "0.000001", "2.25", "33.333333333", "999")


@dataclass(frozen=True)
class History:
    """Plans as their tables in a plan file, a customer's anchor, and events as (instant, usage).

    The customer begins on the first plan; `moves` are (from when on, which plan) in the order in which somebody says so.
    """

    plans: list[dict[str, Any]]
    anchor: datetime
    events: list[tuple[datetime, dict[str, Any]]]
    moves: list[tuple[datetime, int]]

    def toml(self) -> str:
        """The plan file that says so; the plans are called p0, p1 and so on."""
        return "\n".join(as_toml(f"p{n}", plan) for n, plan in enumerate(self.plans))


def as_toml(name: str, plan: dict[str, Any]) -> str:
    """A plan's table in a plan file."""
    fields = {key: value for key, value in plan.items() if key != "prices"}
    lines = [f"[plans.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in fields.items())]
    for price in plan.get("prices", []):
        lines += [f"[[plans.{name}.prices]]", *(f"{key} = {_toml(value)}" for key, value in price.items())]
    return "\n".join(lines)


def random_history(random: Random, most_events: int = 12) -> History:
    anchor = _instant(random, datetime(2026, 1, 31, 14, 37, 5, tzinfo=UTC))
    plans = [random_plan(random, random.choice(CURRENCIES), random.choice(("month", "year", "anniversary")))]
    events = [(_near_a_boundary(random, anchor), random_usage(random)) for _ in range(random.randint(0, most_events))]
    plans += [random_plan(random, plans[0]["currency"], plans[0]["interval"]) for _ in range(random.randint(0, 2))]
    moves = [_move(random, anchor, events, len(plans)) for _ in range(random.randint(0, 3 * len(plans) - 3))]
    return History(plans, anchor, events, moves)


def _move(
    random: Random, anchor: datetime, events: list[tuple[datetime, dict[str, Any]]], plans: int
) -> tuple[datetime, int]:
    """Often at the very instant of an event, so that the event is on the later plan, or a microsecond after it."""
    at = _near_a_boundary(random, anchor)
    if events and random.random() < 0.7:
        at = random.choice(events)[0] + timedelta(microseconds=random.choice((0, 0, 1, 86_400_000_000)))
    return at, random.randrange(plans)


def random_plan(random: Random, currency: str, interval: str) -> dict[str, Any]:
    plan: dict[str, Any] = {"currency": currency, "interval": interval}
    if random.random() < 0.3:
        plan["included_tokens"] = random.choice(BOUNDS)
    if random.random() < 0.2:
        plan["discount_percent"] = random.choice(("0", "10", "33.333", "100"))
    if random.random() < 0.2:
        plan["minimum"] = _amount(currency, random.choice((1, 5, 20)))
    if random.random() < 0.2:
        plan["maximum"] = _amount(currency, random.choice((20, 500, 100_000)))
    plan["prices"] = _without_ties([_price(random) for _ in range(random.randint(0, 5))])
    return plan


def _price(random: Random) -> dict[str, Any]:
    meter = random.choice(METERS)
    price: dict[str, Any] = {"model": random.choice(PATTERNS)}
    price["meter" if meter in ("compute_minutes", "requests", "images") else "token_type"] = meter
    price["per"] = random.choice(PERS)
    kind = random.choice(("per_unit", "package", "graduated", "volume"))
    if kind == "per_unit":
        price["price"] = random.choice(PRICES)
        return price
    if kind == "package":
        return {**price, "round_up": True, "tiers": [_tier(random, "inf")]}
    bounds: list[int | str] = [*sorted(random.sample(BOUNDS, random.randint(0, 3))), "inf"]
    return {**price, "tiers_mode": kind, "tiers": [_tier(random, bound) for bound in bounds]}


def _tier(random: Random, up_to: int | str) -> dict[str, Any]:
    tier: dict[str, Any] = {"up_to": up_to, "price": random.choice(PRICES)}
    if random.random() < 0.3:
        tier["flat_fee"] = random.choice(PRICES)
    return tier


def _without_ties(prices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first price for each literal length and meter: that cannot tie, whatever the patterns are."""
    kept: dict[tuple[Any, ...], dict[str, Any]] = {}
    for price in prices:
        model, meter = price["model"], price.get("meter", price.get("token_type"))
        exact = "*" not in model and "?" not in model
        kept.setdefault((meter, model if exact else len(model.replace("*", "").replace("?", ""))), price)
    return list(kept.values())


def random_usage(random: Random, most: int = 10**15) -> dict[str, Any]:
    tokens_in = min(random.choice(COUNTS), most)
    cached = random.randint(0, tokens_in) if random.random() < 0.3 else 0
    written = random.randint(0, tokens_in - cached) if random.random() < 0.3 else 0
    return {
        "model_id": random.choice(MODELS),
        "tokens_in": tokens_in,
        "tokens_out": min(random.choice(COUNTS), most),
        "cached_tokens_in": cached,
        "cache_write_tokens_in": written,
        "compute_minutes": Decimal(random.choice(FRACTIONS)),
        "units": {"images": Decimal(random.choice(FRACTIONS))} if random.random() < 0.3 else {},
    }


def _near_a_boundary(random: Random, anchor: datetime) -> datetime:
    """Often exactly on a boundary or a microsecond beside it, and in any offset from UTC."""
    month = random.randint(1, 12)
    start = random.choice(
        (
            datetime(2026, month, 1, tzinfo=UTC),
            datetime(2027, 1, 1, tzinfo=UTC),
            datetime(2028, 2, 29, tzinfo=UTC),
            anchor.replace(month=month, day=min(anchor.day, 28), microsecond=0),
        )
    )
    at = start + timedelta(
        microseconds=random.choice((-1, 0, 0, 1, 3_600_000_000, 86_400_000_000 * random.randint(0, 27)))
    )
    return at.astimezone(timezone(timedelta(hours=random.choice((0, 0, -11, 14)), minutes=random.choice((0, 30)))))


def _instant(random: Random, start: datetime) -> datetime:
    return start + timedelta(days=random.randint(0, 120), seconds=random.choice((0, 1, 86_399)))


def _amount(currency: str, major: int) -> str:
    return str(major) if currency in WHOLE_AMOUNTS else f"{major}.50"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)
