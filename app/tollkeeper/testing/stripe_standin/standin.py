"""The stand-in itself: one account behind one door, with handles for the test that drives it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any

import stripe
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from tollkeeper.clock import Clock
from tollkeeper.testing.standin.control import control_routes
from tollkeeper.testing.standin.delivery import Delivery
from tollkeeper.testing.standin.handles import Handles
from tollkeeper.testing.standin.ids import Ids
from tollkeeper.testing.stripe_standin.account import Account, Body, Rules
from tollkeeper.testing.stripe_standin.control import DEEDS
from tollkeeper.testing.stripe_standin.delivery import new_event, send
from tollkeeper.testing.stripe_standin.door import StripeDoor
from tollkeeper.testing.stripe_standin.in_process import InProcessClient
from tollkeeper.testing.stripe_standin.life import Life
from tollkeeper.testing.stripe_standin.resources import (
    connect,
    customers,
    invoice_items,
    invoice_lines,
    invoices,
    meters,
)
from tollkeeper.testing.stripe_standin.resources.meter_events import MeterEventLog
from tollkeeper.testing.stripe_standin.routing import Call

API_KEY = "sk_test_stand_in_for_rehearsals"
"""The key that a stand-in accepts unless it is given another."""


class StripeStandIn(Life, Handles):
    """A Stripe account in memory, as strict as the real API about what it is sent.

    `app` is the ASGI app, `serve()` puts it on a port. All time comes from `clock`. `restricted_keys` maps further keys
    to the operations they may call, such as `"POST /v1/billing/meter_events"` (with `*` as in file names). The same
    `seed` gives the same ids again; without one they are different in every stand-in.
    """

    _door: StripeDoor

    def __init__(
        self,
        clock: Clock,
        *,
        api_key: str = API_KEY,
        restricted_keys: Mapping[str, tuple[str, ...]] | None = None,
        rules: Rules | None = None,
        seed: str | None = None,
    ) -> None:
        self.api_key = api_key
        self.clock = clock
        self._account = Account(clock, Ids(seed), rules or Rules())
        self._door = StripeDoor(self._account, api_key, restricted_keys or {})
        self.app: ASGIApp = Router(routes=[*control_routes(self, DEEDS), Route("/{path:path}", self._door)])

    def http_client(self) -> InProcessClient:
        """For a `StripePayments` in this process: calls without a socket, and hung ones that end when they are told to."""
        return InProcessClient(self._door)

    # What is there

    def add_customer(self, customer_id: str | None = None, **fields: Any) -> str:
        """A customer with this id, or a new one; `fields` such as `email`. Answers the id."""
        with self._account.lock:
            customer = customers.new_customer(self._account, customer_id or self._account.ids.new("cus", 14))
            return str(self._account.keep(customer | fields)["id"])

    def add_meter(self, event_name: str, formula: str = "sum") -> str:
        """An active meter for events of this name. Answers its id."""
        params = {
            "display_name": event_name,
            "event_name": event_name,
            "default_aggregation": {"formula": formula},
        }
        with self._account.lock:
            return str(meters.create(self._account, Call("/v1/billing/meters", params))["id"])

    def meter_events(self) -> list[Body]:
        """Every event received, oldest first, with `status` counted, rejected or cancelled and the `reason`."""
        with self._account.lock:
            return [event.as_dict() for event in self._account.part(MeterEventLog).events]

    def invoices(self) -> list[Body]:
        """Every invoice that was not deleted, oldest first, its lines in it."""
        with self._account.lock:
            return deepcopy(list(self._account.shelf("invoice").values()))

    def invoice_items(self) -> list[Body]:
        """Every invoice item that was not deleted, oldest first; one that waits for an invoice has none."""
        with self._account.lock:
            return deepcopy(list(self._account.shelf("invoiceitem").values()))

    def splits(self) -> dict[str, Body]:
        """By invoice, its `application_fee_amount` and `destination`, where it is split: Stripe's invoice does not show them."""
        with self._account.lock:
            return deepcopy(self._account.part(connect.Splits).by_invoice)

    def delete_customer(self, customer_id: str) -> None:
        """What somebody does in the Dashboard."""
        with self._account.lock:
            customers.delete(self._account, Call(f"/v1/customers/{customer_id}", {}, {"customer": customer_id}))

    # What goes wrong

    def reject_event(self, identifier: str, code: str = "meter_event_invalid_value") -> None:
        """Lets a meter event that was taken not be counted after all; its identifier stays known."""
        with self._account.lock:
            for event in self._account.part(MeterEventLog).events:
                if event.body["identifier"] == identifier:
                    event.status, event.reason = "rejected", code

    def prune_idempotency_keys(self, older_than: timedelta = timedelta(0)) -> int:
        """Forgets kept answers, as Stripe may after 24 hours; how many. Those of 24 hours are forgotten anyway."""
        return self._door.keys.prune(self.clock.now(), older_than)

    def forget_identifiers(self, older_than: timedelta = timedelta(0)) -> int:
        """Forgets identifiers of meter events, as Stripe may after 24 hours; how many."""
        with self._account.lock:
            return self._account.part(MeterEventLog).forget(self._account.now, older_than)

    # What it sends

    def invoice(
        self,
        *,
        customer: str,
        period_start: datetime,
        period_end: datetime,
        amount: int,
        currency: str = "usd",
        status: str = "paid",
        metadata: Mapping[str, str] | None = None,
        subscription: str | None = None,
        description: str = "Usage",
    ) -> Body:
        """An invoice over `amount` minor units for `[period_start, period_end)`, kept and brought to `status`.

        With a `subscription` it looks like that subscription's renewal, otherwise like one made by hand.
        """
        period = int(period_start.timestamp()), int(period_end.timestamp())
        with self._account.lock:
            invoice = invoices.new_invoice(self._account, customer, currency.lower(), period)
            invoice_lines.add_line(self._account, invoice, amount, description, period)
            invoice["metadata"] = dict(metadata or {})
            if subscription:
                invoice_items.take_pending(self._account, invoice)
                invoices.attribute_to_subscription(invoice, subscription)
            self._account.keep(invoice)
            for step in invoices.STEPS[status]:
                if invoice["status"] != status:
                    step(self._account, invoice)
            return deepcopy(invoice)

    def event(self, event_type: str, about: Body, /, **overrides: Any) -> Body:
        """An event about an object, not sent; `overrides` replace its members, such as `id`, `created`, `livemode`."""
        return new_event(self._account, event_type, about, **overrides)

    def deliver(
        self,
        url: str,
        secret: str,
        event_type: str,
        about: Body,
        /,
        *,
        signed_at: datetime | None = None,
        timeout_seconds: float = 10,
        **overrides: Any,
    ) -> Delivery:
        """Posts a signed event about an object to an endpoint, once, and answers how it was received.

        Signed with the clock's time unless `signed_at` is given. Sending again with `id=` of the first delivery is a
        duplicate, as Stripe makes them.
        """
        event = self.event(event_type, about, **overrides)
        return send(url, secret, event, signed_at or self.clock.now(), timeout_seconds)

    @property
    def api_version(self) -> str:
        return stripe.api_version
