"""The stand-in's handles for a process that it does not run in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tollkeeper.testing.standin.delivery import Delivery
from tollkeeper.testing.standin.remote import Remote
from tollkeeper.testing.stripe_standin.account import Body


class StandInRemote(Remote):
    """Drives the stand-in at `url` by the names that `StripeStandIn` has; a refusal is a `ValueError`."""

    def meter_events(self) -> list[Body]:
        return list(self._ask("GET", "meter_events"))

    def prune_idempotency_keys(self, older_than: timedelta = timedelta(0)) -> int:
        age = {"older_than_seconds": older_than.total_seconds()}
        return int(self._ask("POST", "idempotency_keys/prune", age)["pruned"])

    def forget_identifiers(self, older_than: timedelta = timedelta(0)) -> int:
        age = {"older_than_seconds": older_than.total_seconds()}
        return int(self._ask("POST", "identifiers/forget", age)["forgotten"])

    def add_customer(self, customer_id: str | None = None, **fields: Any) -> str:
        return str(self._ask("POST", "customers", {"customer_id": customer_id, **fields})["id"])

    def add_meter(self, event_name: str, formula: str = "sum") -> str:
        return str(self._ask("POST", "meters", {"event_name": event_name, "formula": formula})["id"])

    def invoice(self, *, period_start: datetime, period_end: datetime, **fields: Any) -> Body:
        period = {"period_start": period_start.isoformat(), "period_end": period_end.isoformat()}
        return dict(self._ask("POST", "invoices", {**period, **fields}))

    def deliver(
        self,
        url: str,
        secret: str,
        event_type: str,
        about: Body,
        /,
        *,
        signed_at: datetime | None = None,
        **overrides: Any,
    ) -> Delivery:
        asked = {
            "url": url,
            "secret": secret,
            "type": event_type,
            "object": about,
            "signed_at": signed_at.isoformat() if signed_at else None,
            "overrides": overrides,
        }
        return Delivery(**self._ask("POST", "deliver", asked))
