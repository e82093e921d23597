"""Projection: what usage will come to by the period's end if it goes on at the present rate."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from tollkeeper.domain.money import as_decimal, bigint, exact
from tollkeeper.domain.period import Period, utc
from tollkeeper.domain.pricing import Tariff, usage_amount
from tollkeeper.domain.usage import QUANTITY_PLACES, REQUESTS, TOKEN_TYPES, Key, Totals

_TICK = timedelta(microseconds=1)
_WHOLE = frozenset({*TOKEN_TYPES, REQUESTS})


def projected_totals(totals: Totals, used: Totals, part: Period, period: Period, at: datetime) -> Totals:
    """A part's totals with what is to come in it, if what was `used` in the whole period so far goes on at the same rate.

    As they are at the period's very beginning, after it, and where the part is over.
    """
    at = utc(at, "at")
    ahead = part.end - max(at, part.start)
    if not period.start < at < period.end or ahead <= timedelta(0):
        return totals
    passed, rest = (at - period.start) // _TICK, ahead // _TICK
    return {
        key: as_decimal(
            exact(totals.get(key, 0)) + exact(quantity) * rest / passed, 0 if key[1] in _WHOLE else QUANTITY_PLACES
        )
        for key, quantity in used.items()
    }


def projected_amount(parts: Iterable[tuple[Tariff, Totals, Period]], period: Period, at: datetime) -> int:
    """The usage charges at the period's end in minor units, walked through the tiers that they will have reached by then.

    `parts` are what the period is made of: what each is priced by, what was used in it, and its span.
    """
    parts = list(parts)
    used: dict[Key, Decimal | int] = {}
    for _, totals, _ in parts:
        for key, quantity in totals.items():
            used[key] = used.get(key, 0) + quantity
    return bigint(
        sum(usage_amount(tariff, projected_totals(totals, used, span, period, at)) for tariff, totals, span in parts)
    )


def cap_reached_at(spent: int, cap: int, period: Period, at: datetime) -> datetime | None:
    """About when spend comes to the cap at the present rate, without regard to tiers; None where not in this period.

    Neither is it said of a cap that is reached already, or of a period that has just begun or is over.
    """
    at = utc(at, "at")
    if not period.start < at < period.end or not 0 < spent < cap:
        return None
    reached = period.start + timedelta(microseconds=(at - period.start) // _TICK * cap // spent)
    return reached if reached < period.end else None
