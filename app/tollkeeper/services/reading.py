"""Reading: what Stripe itself has counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from tollkeeper.domain.period import Period

if TYPE_CHECKING:
    from tollkeeper.payments.stripe import StripePayments


@dataclass(frozen=True, slots=True)
class Untold:
    """Why a sum could not be read; `for_now` where asking again may help."""

    reason: str
    for_now: bool
    gone: bool = False
    """Stripe has no such customer, so it counts nothing."""


_MOST_FAILURES_IN_A_ROW = 3


class SumReader:
    """Reads Stripe's sums. Which meter counts which events is asked once; a Stripe that does not answer is not asked for ever."""

    def __init__(self, stripe: StripePayments) -> None:
        self._stripe = stripe
        self._meters: dict[str, str | None] = {}
        self._failures = 0

    def total(self, event_name: str, stripe_customer_id: str, period: Period) -> Decimal | Untold:
        """What Stripe has counted for a customer in a period, or why that cannot be told."""
        from tollkeeper.payments.stripe import StripeDidNotAnswer, StripeRefused

        if self._failures >= _MOST_FAILURES_IN_A_ROW:
            return Untold("Stripe did not answer and was not asked again", for_now=True)
        start, end = span_of_sum(period)
        try:
            if event_name not in self._meters:
                self._meters[event_name] = self._stripe.meter_id_for(event_name)
            meter_id = self._meters[event_name]
            if meter_id is None:
                return Untold(f"Stripe has no active meter for {event_name}", for_now=False)
            total = self._stripe.metered_total(meter_id=meter_id, customer=stripe_customer_id, start=start, end=end)
            self._failures = 0
            return total.normalize()
        except (StripeDidNotAnswer, StripeRefused) as error:
            self._failures += error.transient
            gone = isinstance(error, StripeRefused) and error.outcome.code == "resource_missing"
            return Untold(str(error), for_now=error.transient, gone=gone)


def span_of_sum(period: Period) -> tuple[datetime, datetime]:
    """The span that Stripe is asked to sum up for a period.

    It sums whole minutes, and rounding the start down would bring in the period before, whose report stands at its end.
    """
    start = period.start.replace(second=0, microsecond=0)
    return (start if start == period.start else start + timedelta(minutes=1)), period.end
