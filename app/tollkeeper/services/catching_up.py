"""Catching up: events that no webhook brought, because we were away for longer than Stripe tries, are read at Stripe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tollkeeper.payments.stripe_selling import StripeSelling
from tollkeeper.services.receiving import take_stripe_event
from tollkeeper.services.subscribing import PaymentSide
from tollkeeper.storage.database import Database

MOST_TYPES = 20
"""As many as Stripe takes in one question."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """How many events Stripe has of the time, and how many of them had not been heard of."""

    seen: int
    new: int


def catch_up(
    database: Database,
    side: PaymentSide,
    selling: StripeSelling,
    *,
    types: Sequence[str],
    since: datetime,
    now: datetime,
) -> CaughtUp:
    """Take in what happened since an instant. What was heard of before stays as it is."""
    events = [
        event
        for start in range(0, len(types), MOST_TYPES)
        for event in selling.events_since(types[start : start + MOST_TYPES], since)
    ]
    events.sort(key=lambda event: event["created"])
    taken = [take_stripe_event(database, event, now=now, side=side) for event in events]
    return CaughtUp(len(taken), sum(not one.duplicate for one in taken))
