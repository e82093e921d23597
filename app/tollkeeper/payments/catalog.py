"""What a plan needs at Stripe so that Stripe's meters charge exactly what we would; or why they cannot.

Pure: from a plan to parameters. Names are made from the plan's own, so the same plan leads to the same objects every time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tollkeeper.domain.errors import TollkeeperError
from tollkeeper.domain.plan import Plan
from tollkeeper.domain.pricing import Price, Tier

MOST_PLACES = 12
MOST_UNIT_AMOUNT = 99_999_999
BASE = "base"
_NAMESPACE = "tollkeeper"


class PlanUnfit(TollkeeperError):
    """Stripe's meters cannot charge what this plan says; `reasons` lists why."""

    def __init__(self, plan_id: str, reasons: tuple[str, ...]) -> None:
        super().__init__(f"plan {plan_id} cannot be charged by Stripe's meters: {'; '.join(reasons)}")
        self.plan_id = plan_id
        self.reasons = reasons


@dataclass(frozen=True, slots=True)
class WantedPrice:
    """One price of a plan. `meter` is the event name that it counts, None for the base fee."""

    plan_id: str
    part: str
    meter: str | None
    params: dict[str, Any]

    @property
    def lookup_key(self) -> str:
        """The name under which Stripe finds it again."""
        return f"{_NAMESPACE}:{self.plan_id}:{self.part}"

    @property
    def fingerprint(self) -> str:
        """Changes with anything that decides what it charges; prices at Stripe cannot be changed themselves."""
        return hashlib.sha256(json.dumps(self.params, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything that one plan needs: a product, its prices, and the meters they count by."""

    plan_id: str
    product_id: str
    product_name: str
    prices: tuple[WantedPrice, ...]

    @property
    def meters(self) -> tuple[str, ...]:
        return tuple(price.meter for price in self.prices if price.meter is not None)


def wanted_by(plan: Plan) -> Wanted:
    """What the plan needs, or `PlanUnfit`."""
    reasons = tuple(_unfit(plan))
    if reasons:
        raise PlanUnfit(plan.id, reasons)
    base = [_base(plan)] if plan.base_fee else []
    metered = [_metered(plan, price) for price in plan.prices]
    return Wanted(plan.id, product_id(plan.id), plan.name, (*base, *metered))


def product_id(plan_id: str) -> str:
    """The product's own id: Stripe lets us choose it, so it is made once whoever tries."""
    if "." not in plan_id:
        return f"{_NAMESPACE}_{plan_id}"
    return f"{_NAMESPACE}_{plan_id.replace('.', '_')}_{hashlib.sha256(plan_id.encode()).hexdigest()[:8]}"


def _unfit(plan: Plan) -> Iterator[str]:
    tariff = plan.tariff
    if tariff.minimum or tariff.maximum is not None:
        yield "Stripe knows no minimum and no maximum of usage charges"
    if tariff.discount_percent:
        yield "its discount is not among Stripe's prices"
    if tariff.trial_days:
        yield "Stripe would charge the usage of its trial"
    if tariff.base_fee > MOST_UNIT_AMOUNT:
        yield f"Stripe takes at most {MOST_UNIT_AMOUNT} minor units as a fee"
    if not plan.prices and not plan.base_fee:
        yield "it has no price and no fee"
    for meter, number in Counter(price.event_name for price in plan.prices).items():
        if number > 1:
            yield f"{number} prices share the meter {meter}; give each its stripe_meter"
    if tariff.included_tokens and sum(price.counts_tokens for price in plan.prices) > 1:
        yield "its included tokens are for several prices, and Stripe's are each for itself"
    for index, price in enumerate(plan.prices):
        for reason in _unfit_price(plan, price):
            yield f"prices[{index}] {reason}"


def _unfit_price(plan: Plan, price: Price) -> Iterator[str]:
    included = plan.included_tokens if price.counts_tokens else 0
    if included and price.kind in ("volume", "package"):
        yield f"has included tokens, which Stripe's {price.kind} prices cannot leave out"
    if not included and price.tiers[0].flat_fee:
        yield "has a flat fee in its first tier, which Stripe takes without any usage, too"
    for tier in price.tiers:
        per = 1 if price.kind == "package" else price.per
        if any(_decimal(amount) is None for amount in (Fraction(tier.price) / per, Fraction(tier.flat_fee))):
            yield f"costs more decimals a unit than the {MOST_PLACES} that Stripe takes"
            return


def _base(plan: Plan) -> WantedPrice:
    params = {"currency": plan.currency, "unit_amount": plan.base_fee, "recurring": {"interval": _interval(plan)}}
    return WantedPrice(plan.id, BASE, None, params)


def _metered(plan: Plan, price: Price) -> WantedPrice:
    """The meter itself is put in by whoever knows its id; its name is part of what is compared."""
    included = plan.included_tokens if price.counts_tokens else 0
    recurring = {"interval": _interval(plan), "usage_type": "metered", "meter": price.event_name}
    params = {"currency": plan.currency, "recurring": recurring, **_amounts(price, included)}
    return WantedPrice(plan.id, price.event_name, price.event_name, params)


def _amounts(price: Price, included: int) -> dict[str, Any]:
    """One way of saying what it costs: by unit, by package or by tiers, which Stripe does not let be mixed."""
    if price.kind == "package":
        transform = {"divide_by": price.per, "round": "up"}
        return {"unit_amount_decimal": _decimal(Fraction(price.tiers[0].price)), "transform_quantity": transform}
    if price.kind == "per_unit" and not included:
        return {"unit_amount_decimal": _decimal(Fraction(price.tiers[0].price) / price.per)}
    free = [{"up_to": included, "unit_amount_decimal": "0"}] if included else []
    tiers = [*free, *(_tier(tier, price.per, included) for tier in price.tiers)]
    return {"billing_scheme": "tiered", "tiers_mode": price.mode, "tiers": tiers}


def _tier(tier: Tier, per: int, included: int) -> dict[str, Any]:
    """Both sides take `up_to` as inclusive; what is included comes before the first tier."""
    up_to = "inf" if tier.up_to is None else tier.up_to + included
    flat = {"flat_amount_decimal": _decimal(Fraction(tier.flat_fee))} if tier.flat_fee else {}
    return {"up_to": up_to, "unit_amount_decimal": _decimal(Fraction(tier.price) / per), **flat}


def _decimal(amount: Fraction) -> str | None:
    """In minor units, without an exponent; None where twelve places do not hold it."""
    scaled = amount * 10**MOST_PLACES
    if scaled.denominator != 1:
        return None
    whole, rest = divmod(int(scaled), 10**MOST_PLACES)
    decimals = f"{rest:0{MOST_PLACES}d}".rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)


def _interval(plan: Plan) -> str:
    return "year" if plan.interval == "year" else "month"
