"""Owing: which quantities of a closed period Stripe has to be told, each under an identifier that never changes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

from tollkeeper.domain.money import round_half_away
from tollkeeper.domain.period import Period
from tollkeeper.domain.pricing import Tariff
from tollkeeper.domain.usage import TOKEN_TYPES, Key, Totals
from tollkeeper.storage.periods import StoredPeriod
from tollkeeper.storage.reports import Report

TOKENS_EVENT = "ai_tokens"
MOST_BYTES = 100
"""The longest identifier that Stripe takes."""

_REPORTS = UUID("0b9e1a52-6d0c-4e0e-9d43-5c7d3c1c8a77")
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


def reports_owed(
    stored: StoredPeriod, tariff: Tariff, told: Sequence[Report], *, invoice_id: UUID | None, now: datetime
) -> list[Report]:
    """A report for each model and token type of what Stripe was not `told` of the period before, as one more revision."""
    revision = 1 + max((report.revision for report in told), default=0)
    return [
        new_report(stored, tariff, key, value, revision, invoice_id=invoice_id, now=now)
        for key, value in untold(stored.totals, tariff, told).items()
    ]


def new_report(
    stored: StoredPeriod,
    tariff: Tariff,
    key: Key,
    value: int,
    revision: int,
    *,
    invoice_id: UUID | None,
    now: datetime,
    window: Period | None = None,
) -> Report:
    """A row for the ledger, stamped with the last second of its window, or of its period where it has none."""
    model_id, meter = key
    identifier = identifier_of(stored.user_id, stored.period, model_id, meter, revision)
    event_name = event_name_of(tariff, key)
    assert event_name is not None, "what has none is not owed"
    return Report(
        id=uuid5(_REPORTS, identifier),
        invoice_id=invoice_id,
        user_id=stored.user_id,
        period=stored.period,
        window=window,
        model_id=model_id,
        token_type=meter,
        revision=revision,
        event_name=event_name,
        identifier=identifier,
        value=Decimal(value),
        timestamp=max((window or stored.period).last_second, stored.period.start),
        created_at=now,
    )


def untold(totals: Totals, tariff: Tariff, told: Iterable[Report]) -> dict[Key, int]:
    """What of a period's totals Stripe was not told yet, by model and token type, in whole units.

    Below zero where it was told of something that has been taken back since. Fractions are rounded on the period's total,
    half up, so revisions add up to what one report would have said. Tokens are owed whether they have a price here or not;
    any other meter only where it has one.
    """
    left = {key: round_half_away(total) for key, total in totals.items()}
    for report in told:
        key = (report.model_id, report.token_type)
        left[key] = left.get(key, 0) - int(report.value)
    return {key: value for key, value in left.items() if value and event_name_of(tariff, key) is not None}


def event_name_of(tariff: Tariff, key: Key) -> str | None:
    """The meter at Stripe that a quantity belongs to; None for one that nobody is charged for."""
    index = tariff.price_of(key)
    if index is not None:
        return tariff.prices[index].event_name
    return TOKENS_EVENT if key[1] in TOKEN_TYPES else None


def identifier_of(user_id: str, period: Period, model_id: str, meter: str, revision: int) -> str:
    """At most 100 characters, the same for the same thing for ever: readable where it can be, else a hash of the same parts."""
    parts = (user_id, f"{period.start:%Y%m%dT%H%M%SZ}", model_id, meter, f"r{revision}")
    readable = ":".join(parts)
    if len(readable) <= MOST_BYTES and all(_PLAIN.fullmatch(part) for part in parts):
        return readable
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def next_identifier(identifier: str) -> str:
    """Another one for the same thing, where Stripe has taken the first one and not counted it: `…:r1.2`, then `…:r1.3`."""
    base, _, number = identifier.rpartition(".")
    again = f"{base}.{int(number) + 1}" if base and re.fullmatch("[0-9]{1,4}", number) else f"{identifier}.2"
    return again if len(again) <= MOST_BYTES else hashlib.sha256(again.encode()).hexdigest()
