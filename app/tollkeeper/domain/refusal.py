"""Why a request is turned away before the route runs."""

from __future__ import annotations

from datetime import datetime

from tollkeeper.domain.currency import display
from tollkeeper.domain.errors import TollkeeperError


class SpendCapReached(TollkeeperError):
    """The request could pass the customer's spend cap. Amounts in minor units."""

    def __init__(
        self, *, spent: int, held: int, cap: int, currency: str, period_end: datetime, upgrade_url: str | None
    ) -> None:
        super().__init__(
            f"This request could pass your spend cap of {display(cap, currency)}: {display(spent, currency)} is spent and "
            f"{display(held, currency)} is set aside for requests that are running. "
            f"A new period begins on {period_end:%Y-%m-%d %H:%M} UTC."
        )
        self.spent = spent
        self.held = held
        self.cap = cap
        self.currency = currency
        self.period_end = period_end
        self.upgrade_url = upgrade_url


class RateLimited(TollkeeperError):
    """The customer sent more requests than the plan allows in its window."""

    transient = True

    def __init__(self, *, limit: int, window_seconds: int, wait_seconds: float) -> None:
        super().__init__(
            f"More than {limit} requests in {window_seconds} s. Try again in {max(1, round(wait_seconds))} s."
        )
        self.limit = limit
        self.window_seconds = window_seconds
        self.wait_seconds = wait_seconds


class ModelUnpriced(TollkeeperError):
    """The plan has no price for the model that the request names, and refuses what it cannot price."""

    def __init__(self, model_id: str) -> None:
        super().__init__(f"The model {model_id[:100]!r} has no price in this plan.")
        self.model_id = model_id
