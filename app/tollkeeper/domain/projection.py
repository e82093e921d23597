"""Projection: what usage will come to by the period's end if it goes on at the present rate."""

from __future__ import annotations

from datetime import datetime, timedelta

from tollkeeper.domain.money import as_decimal, exact
from tollkeeper.domain.period import Period, utc
from tollkeeper.domain.pricing import Tariff, usage_amount
from tollkeeper.domain.usage import QUANTITY_PLACES, REQUESTS, TOKEN_TYPES, Totals

_TICK = timedelta(microseconds=1)
_WHOLE = frozenset({*TOKEN_TYPES, REQUESTS})


def projected_totals(totals: Totals, period: Period, at: datetime) -> Totals:
    """The totals stretched from the time that has passed to the whole period; as they are at its very beginning or after it."""
    at = utc(at, "at")
    if not period.start < at < period.end:
        return totals
    passed, whole = (at - period.start) // _TICK, (period.end - period.start) // _TICK
    return {
        key: as_decimal(exact(quantity) * whole / passed, 0 if key[1] in _WHOLE else QUANTITY_PLACES)
        for key, quantity in totals.items()
    }


def projected_amount(tariff: Tariff, totals: Totals, period: Period, at: datetime) -> int:
    """The usage charges at the period's end in minor units, walked through the tiers that they will have reached by then."""
    return usage_amount(tariff, projected_totals(totals, period, at))
