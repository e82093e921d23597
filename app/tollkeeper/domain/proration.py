"""Proration: what a part of a period owes of things that are sold by the period.

Time is counted to the microsecond and shares are exact, so the shares of a period's parts add up to 1. Usage is not
prorated: each part is priced with its own tariff on its own totals.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from tollkeeper.domain.currency import display, minor_step
from tollkeeper.domain.money import bigint, round_half_away
from tollkeeper.domain.period import Period, utc
from tollkeeper.domain.pricing import FINE, RatedLine, Tariff, Tier

_TICK = timedelta(microseconds=1)


def trial_end(start: datetime, days: int) -> datetime | None:
    """When a customer's trial is over; None without one. A day has 24 hours."""
    return utc(start) + timedelta(days=days) if days else None


def in_trial(tariff: Tariff) -> Tariff:
    """The tariff at no charge. Its prices still match what they matched, so that what has no price is still found."""
    free = (Tier(None, Decimal(0)),)
    prices = tuple(replace(price, tiers=free, mode="graduated", round_up=False) for price in tariff.prices)
    return replace(tariff, base_fee=0, minimum=0, maximum=None, prices=prices)


def share(part: Period, whole: Period) -> Fraction:
    """How much of a period's time a part takes up; time outside the period does not count."""
    start, end = max(part.start, whole.start), min(part.end, whole.end)
    return Fraction(max((end - start) // _TICK, 0), (whole.end - whole.start) // _TICK)


def for_part(tariff: Tariff, of_period: Fraction) -> Tariff:
    """The tariff for a share of a period: allowance, minimum and maximum shrink with it; prices and tiers do not.

    The base fee stays what it is, because `base_fee_line` takes the share itself.
    """
    if of_period == 1:
        return tariff
    step = minor_step(tariff.currency)
    return replace(
        tariff,
        included_tokens=round_half_away(tariff.included_tokens * of_period),
        minimum=round_half_away(tariff.minimum * of_period, step),
        maximum=None if tariff.maximum is None else round_half_away(tariff.maximum * of_period, step),
    )


def base_fee_line(tariff: Tariff, part: Period, whole: Period, plan_name: str) -> RatedLine | None:
    """The line for a part's share of the base fee, rounded once; None where there is nothing to pay."""
    if not tariff.base_fee:
        return None
    exact = tariff.base_fee * share(part, whole)
    amount = round_half_away(exact, minor_step(tariff.currency))
    if amount == 0:
        return None
    return RatedLine(
        kind="base_fee",
        fine=exact * FINE,
        amount=bigint(amount),
        description=_fee_text(tariff, part, whole, plan_name),
    )


def _fee_text(tariff: Tariff, part: Period, whole: Period, plan_name: str) -> str:
    fee = f"{plan_name}: base fee {display(tariff.base_fee, tariff.currency)}"
    if share(part, whole) == 1:
        return fee
    return f"{fee} for {part.start:%Y-%m-%d %H:%M:%S} to {part.end:%Y-%m-%d %H:%M:%S} UTC"
