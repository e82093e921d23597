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

    def events(self) -> list[Body]:
        return list(self._ask("GET", "events"))

    def complete_checkout(self, session_id: str, card: str = "pm_card_visa", *, settles_later: bool = False) -> Body:
        return dict(self._live("complete_checkout", session_id=session_id, card=card, settles_later=settles_later))

    def settle_checkout(self, session_id: str, *, paid: bool) -> Body:
        return dict(self._live("settle_checkout", session_id=session_id, paid=paid))

    def give_card(self, customer: str, card: str) -> None:
        self._live("give_card", customer=customer, card=card)

    def pass_time(self) -> None:
        self._live("pass_time")

    def set_subscription_status(self, subscription_id: str, status: str) -> Body:
        return dict(self._live("set_subscription_status", subscription_id=subscription_id, status=status))

    def refund(self, invoice_id: str, amount: int) -> Body:
        return dict(self._live("refund", invoice_id=invoice_id, amount=amount))

    def dispute(self, invoice_id: str, *, closed_as: str | None = None) -> Body:
        return dict(self._live("dispute", invoice_id=invoice_id, closed_as=closed_as))

    def reject_meter_event(self, identifier: str, code: str = "meter_event_customer_not_found") -> Body:
        return dict(self._live("reject_meter_event", identifier=identifier, code=code))

    def deliver_events(self, url: str, secret: str, *, after: int = 0) -> list[Delivery]:
        return [Delivery(**one) for one in self._live("deliver_events", url=url, secret=secret, after=after)]

    def _live(self, deed: str, **asked: Any) -> Any:
        return self._ask("POST", f"life/{deed}", asked)

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
