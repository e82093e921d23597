"""Rating what had no price when it was used, once its plan has one. Usage without a price is flagged, never free.

A period keeps the version that it is priced by. What is missing there is taken from the plan's newest version, as a version
of that customer's for that period alone, so that nothing which had a price is priced anew. In a closed period the usage is
billed like late usage: its invoice stays as it is, the next one has the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import Connection

from tollkeeper.domain.period import Period
from tollkeeper.domain.plan import version_for
from tollkeeper.domain.plan_part import PlanPart
from tollkeeper.domain.pricing import Price, Tariff
from tollkeeper.domain.pricing.matching import ties
from tollkeeper.domain.pricing.rating import unpriced
from tollkeeper.domain.proration import in_trial
from tollkeeper.domain.usage import Key, Totals, quantities
from tollkeeper.services.invoicing import without_price
from tollkeeper.services.repricing import reprice
from tollkeeper.storage.database import Database
from tollkeeper.storage.event_sums import count_events
from tollkeeper.storage.invoices import call_off_alarm, invoices_of
from tollkeeper.storage.periods import stored_period
from tollkeeper.storage.plans import add_own_version, load_tariff, lock_plans, versions_of
from tollkeeper.storage.unpriced import (
    UnpricedCount,
    UnpricedUsage,
    count_unpriced,
    hand_over,
    save_billed,
    unpriced_requests,
    unpriced_usage,
)
from tollkeeper.storage.usage_periods import UsagePeriod, lock_period

Place: TypeAlias = tuple[str, datetime, str, int, str]
"""(user_id, period_start, plan_id, plan_version, model_id)"""


@dataclass(frozen=True, slots=True)
class Rated:
    """How many events got a price, in how many periods, and how many still have none."""

    events: int
    periods: int
    left: int


def queue(database: Database) -> list[UnpricedUsage]:
    """All usage that waits for a price, of requests to several models only that of the models that have none."""
    with database.transaction() as connection:
        found = _by_model(unpriced_usage(connection))
        for request, parts in unpriced_requests(connection):
            tariff = load_tariff(connection, request.plan_id, request.plan_version)
            for part in parts:
                if any(True for _ in unpriced(tariff, quantities(part))):
                    tokens = request.events * (part.tokens_in + part.tokens_out)
                    _add(found, replace(request, model_id=part.model_id, tokens=tokens))
    return [found[key] for key in sorted(found) if found[key].events]


def count_waiting(database: Database) -> UnpricedCount:
    """How much waits for a price in all: what monitoring looks at."""
    with database.transaction() as connection:
        return count_unpriced(connection)


def _by_model(usage: Sequence[UnpricedUsage]) -> dict[Place, UnpricedUsage]:
    found: dict[Place, UnpricedUsage] = {}
    for one in usage:
        _add(found, one)
    return found


def _add(found: dict[Place, UnpricedUsage], one: UnpricedUsage) -> None:
    key = (one.user_id, one.period_start, one.plan_id, one.plan_version, one.model_id)
    known = found.get(key, replace(one, events=0, tokens=0))
    found[key] = replace(one, events=known.events + one.events, tokens=known.tokens + one.tokens)


def rate_unpriced(database: Database, now: datetime) -> Rated:
    """Rate what waits for a price where its plan has one by now, one period in a transaction. Can be repeated at any time."""
    waiting = count_waiting(database).events
    periods = 0
    for user_id, start in dict.fromkeys((one.user_id, one.period_start) for one in queue(database)):
        with database.transaction() as connection:
            lock_plans(connection)
            period = lock_period(connection, user_id, start)
            periods += period is not None and _rate(connection, period, now)
    left = count_waiting(database).events
    return Rated(waiting - left, periods, left)


def _rate(connection: Connection, period: UsagePeriod, now: datetime) -> bool:
    """Rate one locked period, each part of it by its own plan; False where there is still no price for anything in it."""
    parts = list(period.parts)
    found = [_filled(connection, period.user_id, *one) for one in zip(parts, period.spans, strict=True)]
    if not any(models for _, models in found):
        return False
    if period.status == "closed":
        _reopen(connection, period, [models for _, models in found])
    for n, (after, models) in enumerate(found):
        if models:
            plan_id = parts[n].plan_id
            version = add_own_version(connection, plan_id, period.user_id, after, now, purpose="rating")
            parts[n] = replace(parts[n], plan_version=version)
    reprice(connection, period, parts)
    return True


def _filled(connection: Connection, user_id: str, part: PlanPart, span: Period) -> tuple[Tariff, list[str]]:
    """What a part is priced by once what is missing is taken from its plan's newest version, and the models concerned."""
    before = load_tariff(connection, part.plan_id, part.plan_version)
    missing = list(unpriced(before, part.totals))
    versions = versions_of(connection, part.plan_id, user_id)
    newest = load_tariff(connection, part.plan_id, [one for one in versions if one.until is None][-1].version)
    if version_for(span, versions).until is not None:
        newest = in_trial(newest)
    after = with_prices(before, newest, missing, part.totals)
    return after, sorted({key[0] for key in missing if after.price_of(key) is not None})


def with_prices(tariff: Tariff, newer: Tariff, missing: Sequence[Key], totals: Totals) -> Tariff:
    """The tariff with those prices of a newer one that what is missing needs.

    A pattern that would take usage away from another price, or tie with one, is narrowed down to the very models.
    """
    indices = sorted({index for key in missing if (index := newer.price_of(key)) is not None})
    wide = replace(tariff, prices=(*tariff.prices, *(newer.prices[index] for index in indices)))
    if not any(ties(wide.prices)) and all(
        wide.price_of(key) == tariff.price_of(key) for key in totals if tariff.price_of(key) is not None
    ):
        return wide
    named: dict[tuple[str, int], Price] = {}
    for key in missing:
        index = newer.price_of(key)
        if index is not None:
            named[key[0], index] = replace(newer.prices[index], model=key[0])
    narrow = [price for price in named.values() if (price.model, price.meter) not in _subjects(tariff)]
    return replace(tariff, prices=(*tariff.prices, *narrow))


def _subjects(tariff: Tariff) -> set[tuple[str, str]]:
    return {(price.model, price.meter) for price in tariff.prices}


def _reopen(connection: Connection, period: UsagePeriod, models: Sequence[Sequence[str]]) -> None:
    """Take usage, by part and models, out of what a closed period was billed for, and the alarm about it off its invoice."""
    stored = stored_period(connection, period.user_id, period.period_start)
    assert stored is not None, "its row is locked"
    for part, names in zip(stored.parts, models, strict=True):
        if names:
            hand_over(connection, stored.user_id, part.period, stored.revision, names)
    counted = count_events(connection, [stored])
    save_billed(connection, stored, [counted[part.key].before for part in stored.parts])
    alarm = without_price(
        (load_tariff(connection, part.plan_id, part.plan_version), part.billed_totals or {}) for part in stored.parts
    )
    for invoice, _ in invoices_of(connection, [stored.key])[stored.key]:
        if alarm is not None:
            call_off_alarm(connection, invoice.id, alarm)
