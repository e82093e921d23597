"""Linting plans: what is sold below cost, what can never match, and what Stripe could not tell apart.

Costs are the public list prices that the package `genai-prices` carries with it; nothing is fetched. They are in US dollars,
so plans in another currency are not compared with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, TypeAlias

from tollkeeper.domain.errors import ExtraMissing
from tollkeeper.domain.margin import MILLION, margin_percent, sharing_a_meter, sold_at
from tollkeeper.domain.money import as_decimal
from tollkeeper.domain.own_terms import OwnTerms
from tollkeeper.domain.plan import Collect, Plan
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.pricing.matching import ties, unreachable
from tollkeeper.domain.usage import TokenType
from tollkeeper.storage.database import Database
from tollkeeper.storage.own_terms import own_terms_of
from tollkeeper.storage.plans import list_plans
from tollkeeper.storage.used_models import UsedModel, used_models

LOOKED_BACK = timedelta(days=30)
_SAMPLE = 1_000
"""Tokens whose cost is looked up: few, so that no model's dearer price for long contexts is taken."""

FindingKind = Literal["below_cost", "overlap", "never_matches", "shared_meter", "no_price"]
CostOf: TypeAlias = Callable[[str, str, datetime], Decimal | None]
"""What a million tokens of a model and token type cost at an instant, in US cents; None for a model nobody knows."""


@dataclass(frozen=True, slots=True)
class Margin:
    """What a million tokens of a model are sold for and cost, in minor units; None where there is nothing to compare."""

    plan_id: str
    model_id: str
    token_type: str
    tokens: int
    currency: str
    sold: Decimal | None
    cost: Decimal | None
    percent: Decimal | None
    user_id: str | None = None
    """Set where it is about one customer, who has terms of their own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a plan."""

    plan_id: str
    kind: FindingKind
    detail: str


@dataclass(frozen=True, slots=True)
class Lint:
    """What was looked at and what was found."""

    margins: tuple[Margin, ...]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        return not self.findings


def list_price(model_id: str, token_type: str, at: datetime) -> Decimal | None:
    """The model's list price by `genai-prices`; `ExtraMissing` without that package."""
    try:
        from genai_prices import Usage, calc_price
    except ImportError as error:
        raise ExtraMissing("genai-prices", "lint") from error
    usage = {
        TokenType.INPUT: Usage(input_tokens=_SAMPLE),
        TokenType.CACHED_INPUT: Usage(input_tokens=_SAMPLE, cache_read_tokens=_SAMPLE),
        TokenType.CACHE_WRITE: Usage(input_tokens=_SAMPLE, cache_write_tokens=_SAMPLE),
        TokenType.OUTPUT: Usage(output_tokens=_SAMPLE),
    }[TokenType(token_type)]
    for name in dict.fromkeys((model_id, model_id.rsplit("/", 1)[-1])):
        try:
            found = calc_price(usage, model_ref=name, genai_request_timestamp=at)
        except LookupError:
            continue
        return as_decimal(found.total_price * 100 * MILLION / _SAMPLE)
    return None


def lint_plans(database: Database, now: datetime, *, collect: Collect = "meters", cost_of: CostOf = list_price) -> Lint:
    """Look at every plan, over the models that its customers used in the 30 days before `now`.

    `collect` is for plans that do not say.
    """
    with database.transaction() as connection:
        plans = {listing.plan.id: listing.plan for listing in list_plans(connection)}
        used = used_models(connection, now - LOOKED_BACK, now)
        own = {user_id: own_terms_of(connection, user_id) for one in used if (user_id := one.user_id) is not None}
    tariffs = [_charged(plans[one.plan_id], own.get(one.user_id or "")) for one in used]
    margins = tuple(_margin(tariff, one, cost_of, now) for tariff, one in zip(tariffs, used, strict=True))
    findings = [finding for plan in plans.values() for finding in _of_the_plan(plan, plan.collect or collect)]
    return Lint(margins, (*findings, *_of_the_margins(margins)))


def _charged(plan: Plan, own: OwnTerms | None) -> Tariff:
    """What a plan charges, or who has terms of their own on it."""
    return plan.tariff if own is None else own.applied_to(plan.tariff)


def _margin(tariff: Tariff, used: UsedModel, cost_of: CostOf, now: datetime) -> Margin:
    index = tariff.price_of((used.model_id, used.token_type))
    sold = None if index is None else sold_at(tariff, tariff.prices[index])
    cost = cost_of(used.model_id, used.token_type, now) if tariff.currency == "usd" else None
    percent = None if sold is None or cost is None else margin_percent(sold, cost)
    return Margin(
        used.plan_id,
        used.model_id,
        used.token_type,
        used.tokens,
        tariff.currency,
        sold,
        cost,
        percent,
        used.user_id,
    )


def _of_the_plan(plan: Plan, collect: Collect) -> Iterator[Finding]:
    for earlier, later in ties(plan.prices):
        yield Finding(plan.id, "overlap", f"prices[{earlier}] and prices[{later}] match the same thing equally")
    for index in unreachable(plan.prices):
        yield Finding(
            plan.id, "never_matches", f"prices[{index}]: each of its token types has a price for the same model"
        )
    if collect == "meters":
        for meter, indices in sharing_a_meter(plan.prices):
            names = ", ".join(f"prices[{index}]" for index in indices)
            yield Finding(plan.id, "shared_meter", f"{names} share Stripe's meter {meter}; give each its stripe_meter")


def _of_the_margins(margins: Sequence[Margin]) -> Iterator[Finding]:
    for margin in margins:
        what = f"{margin.model_id} {margin.token_type}"
        if margin.user_id is not None:
            what = f"{what} for customer {margin.user_id}"
        if margin.sold is None:
            yield Finding(margin.plan_id, "no_price", f"{what}: {margin.tokens:,} tokens were used and have no price")
        elif margin.cost is not None and margin.sold < margin.cost:
            detail = f"{what}: sold at {margin.sold:f} and bought at {margin.cost:f} cents for a million"
            yield Finding(margin.plan_id, "below_cost", detail)
