"""Proration: which part of a period belongs to which plan, and what that part owes of things sold by the period.

Time is counted to the microsecond and shares are exact, so the shares of a period's parts add up to 1. Usage is not
prorated: each part is priced with its own tariff on its own totals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Generic, TypeVar

from tollkeeper.domain.currency import display, minor_step
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.money import bigint, round_half_away
from tollkeeper.domain.period import Period, utc
from tollkeeper.domain.pricing import RatedLine, Tariff, Tier

T = TypeVar("T")

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """A span of a period in which one thing was in force; in the trial, neither base fee nor usage is charged."""

    span: Period
    value: T
    in_trial: bool = False


def parts_of(
    period: Period, changes: Sequence[tuple[datetime, T]], trial_end: datetime | None = None
) -> tuple[Part[T], ...]:
    """The period cut at each change and at the end of the trial.

    `changes` are (instant, what was in force from then on), oldest first; the first also counts for the time before
    it. Of two at the same instant the later one counts.
    """
    if not changes:
        raise InvalidInput("changes", "at least what was in force at first")
    cuts = sorted({*_inside(period, [at for at, _ in changes[1:]]), *_inside(period, [trial_end] if trial_end else [])})
    edges = [period.start, *cuts, period.end]
    return tuple(
        Part(Period(start, end), _in_force(changes, start), trial_end is not None and start < utc(trial_end))
        for start, end in pairwise(edges)
    )


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
    step = minor_step(tariff.currency)
    return replace(
        tariff,
        included_tokens=round_half_away(tariff.included_tokens * of_period),
        minimum=round_half_away(tariff.minimum * of_period, step),
        maximum=None if tariff.maximum is None else round_half_away(tariff.maximum * of_period, step),
    )


def base_fee_line(tariff: Tariff, part: Period, whole: Period, plan_name: str) -> RatedLine | None:
    """The line for a part's share of the base fee, rounded once; None where there is nothing to pay."""
    exact = tariff.base_fee * share(part, whole)
    amount = round_half_away(exact, minor_step(tariff.currency))
    if amount == 0:
        return None
    return RatedLine(
        kind="base_fee", exact=exact, amount=bigint(amount), description=_fee_text(tariff, part, whole, plan_name)
    )


def _inside(period: Period, instants: Sequence[datetime]) -> Iterator[datetime]:
    return (at for at in map(utc, instants) if period.start < at < period.end)


def _in_force(changes: Sequence[tuple[datetime, T]], at: datetime) -> T:
    """The last change at or before an instant; the first reaches back."""
    return next((value for since, value in reversed(changes) if utc(since) <= at), changes[0][1])


def _fee_text(tariff: Tariff, part: Period, whole: Period, plan_name: str) -> str:
    fee = f"{plan_name}: base fee {display(tariff.base_fee, tariff.currency)}"
    if share(part, whole) == 1:
        return fee
    return f"{fee} for {part.start:%Y-%m-%d %H:%M:%S} to {part.end:%Y-%m-%d %H:%M:%S} UTC"
