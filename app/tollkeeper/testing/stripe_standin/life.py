"""What customers, banks and time do to an account: the handles that no API call has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tollkeeper.clock import Clock
from tollkeeper.testing.standin.delivery import Delivery
from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.charging import change_status
from tollkeeper.testing.stripe_standin.delivery import send
from tollkeeper.testing.stripe_standin.events import as_sent, emit, emit_thin
from tollkeeper.testing.stripe_standin.renewing import run_until
from tollkeeper.testing.stripe_standin.resources import checkout
from tollkeeper.testing.stripe_standin.resources.meter_events import MeterEventLog
from tollkeeper.testing.stripe_standin.resources.meters import METER
from tollkeeper.testing.stripe_standin.resources.payment_methods import attach_card
from tollkeeper.testing.stripe_standin.wire import as_read

_THIN_REPORT = "v1.billing.meter.error_report_triggered"


class Life:
    """The part of a stand-in that acts for the world outside the API."""

    clock: Clock
    _account: Account

    def complete_checkout(self, session_id: str, card: str = "pm_card_visa", *, settles_later: bool = False) -> Body:
        """The customer fills in the page; the subscription as it is then. `settles_later`: paid by something slow."""
        with self._account.lock:
            return dict(as_read(checkout.complete(self._account, session_id, card, settles_later=settles_later)))

    def settle_checkout(self, session_id: str, *, paid: bool) -> Body:
        """A slow payment came through, or did not."""
        with self._account.lock:
            return dict(as_read(checkout.settle_later(self._account, session_id, paid=paid)))

    def give_card(self, customer: str, card: str) -> None:
        """The customer's default card from now on: `pm_card_visa` pays, `pm_card_chargeCustomerFail` does not."""
        with self._account.lock:
            method = attach_card(self._account, card, customer)
            self._account.get("customer", customer)["invoice_settings"]["default_payment_method"] = method["id"]

    def pass_time(self) -> None:
        """Everything that fell due by the clock's time happens, for customers without a test clock."""
        with self._account.lock:
            customers = self._account.shelf("customer").values()
            run_until(self._account, {one["id"] for one in customers if not one.get("test_clock")}, self._account.now)

    def set_subscription_status(self, subscription_id: str, status: str) -> Body:
        """A subscription gets a status that only Stripe gives, such as `paused` or `unpaid`."""
        with self._account.lock:
            subscription = self._account.get("subscription", subscription_id)
            with self._account.at(self._account.time_of(subscription["customer"])):
                change_status(self._account, subscription, status)
            return dict(as_read(subscription))

    def refund(self, invoice_id: str, amount: int) -> Body:
        """Part or all of what was paid for an invoice is given back."""
        with self._account.lock:
            charge = self._charge_of(invoice_id)
            charge["amount_refunded"] += amount
            charge["refunded"] = charge["amount_refunded"] == charge["amount"]
            return emit(self._account, "charge.refunded", charge)

    def dispute(self, invoice_id: str, *, closed_as: str | None = None) -> Body:
        """The customer's bank takes the money back for now; `closed_as` says how an earlier dispute ended."""
        with self._account.lock:
            charge = self._charge_of(invoice_id)
            status = closed_as or "needs_response"
            about = {
                "id": f"du_{charge['id'][3:]}",
                "object": "dispute",
                "amount": charge["amount"],
                "charge": charge["id"],
                "created": self._account.now,
                "currency": charge["currency"],
                "livemode": False,
                "metadata": {},
                "payment_intent": charge["payment_intent"],
                "reason": "fraudulent",
                "status": status,
            }
            return emit(self._account, f"charge.dispute.{'closed' if closed_as else 'created'}", about)

    def reject_meter_event(self, identifier: str, code: str = "meter_event_customer_not_found") -> Body:
        """Stripe finds out after its 200 that an event cannot count, and reports that."""
        with self._account.lock:
            log = self._account.part(MeterEventLog)
            event = next(one for one in log.events if one.body["identifier"] == identifier)
            event.status, event.reason = "rejected", code
            sample = {"error_message": f"Rejected: {code}", "request": {"identifier": identifier}}
            reason = {"error_count": 1, "error_types": [{"code": code, "error_count": 1, "sample_errors": [sample]}]}
            data = {
                "developer_message_summary": f"There is 1 invalid event: {code}",
                "reason": reason,
                "validation_start": self._account.instant.isoformat(),
                "validation_end": self._account.instant.isoformat(),
            }
            return emit_thin(self._account, _THIN_REPORT, self._account.get(METER, event.meter), data)

    def events(self) -> list[Body]:
        """Every event so far as it is sent, oldest first."""
        with self._account.lock:
            return [as_read(as_sent(event)) for event in self._all_events()]

    def deliver_events(
        self, url: str, secret: str, *, after: int = 0, signed_at: datetime | None = None
    ) -> list[Delivery]:
        """Posts all events but the first `after`, oldest first."""
        return [
            send(url, secret, event, signed_at or self.clock.now(), timeout_seconds=10)
            for event in self.events()[after:]
        ]

    def _all_events(self) -> Iterator[Body]:
        everything = [*self._account.shelf("event").values(), *self._account.shelf("v2.core.event").values()]
        return iter(sorted(everything, key=lambda event: self._account.order(event["id"])))

    def _charge_of(self, invoice_id: str) -> Body:
        """The charge behind the payment of an invoice."""
        payment = next(one for one in self._account.shelf("invoice_payment").values() if one["invoice"] == invoice_id)
        identity = f"ch_{payment['id'][6:]}"
        known: dict[str, Any] | None = self._account.shelf("charge").get(identity)
        return known or self._account.keep(
            {
                "id": identity,
                "object": "charge",
                "amount": payment["amount_paid"],
                "amount_captured": payment["amount_paid"],
                "amount_refunded": 0,
                "captured": True,
                "created": payment["created"],
                "currency": payment["currency"],
                "customer": self._account.get("invoice", invoice_id)["customer"],
                "disputed": False,
                "livemode": False,
                "metadata": {},
                "paid": True,
                "payment_intent": payment["payment"]["payment_intent"],
                "refunded": False,
                "status": "succeeded",
            }
        )
