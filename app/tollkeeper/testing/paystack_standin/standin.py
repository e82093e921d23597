"""The stand-in itself: one integration behind one door, with handles for the test that drives it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from starlette.routing import Route, Router
from starlette.types import ASGIApp

from tollkeeper.clock import Clock
from tollkeeper.testing.paystack_standin.account import Body, Card, Integration
from tollkeeper.testing.paystack_standin.control import DEEDS
from tollkeeper.testing.paystack_standin.door import PaystackDoor
from tollkeeper.testing.paystack_standin.resources import payment_requests, transactions
from tollkeeper.testing.paystack_standin.resources.customers import keep_customer
from tollkeeper.testing.signing import sign_paystack
from tollkeeper.testing.standin.control import control_routes
from tollkeeper.testing.standin.delivery import Delivery, post
from tollkeeper.testing.standin.handles import Handles
from tollkeeper.testing.standin.ids import Ids

SECRET_KEY = "sk_test_paystack_stand_in_for_rehearsals"  # noqa: S105  # accepted by stand-ins alone
"""The key that a stand-in accepts and signs with unless it is given another."""


class PaystackStandIn(Handles):
    """A Paystack integration in memory, as strict as the real API about what it is sent.

    `app` is the ASGI app, `serve()` puts it on a port. All time comes from `clock`. The same `seed` gives the same codes.
    """

    _door: PaystackDoor

    def __init__(self, clock: Clock, *, secret_key: str = SECRET_KEY, seed: str | None = None) -> None:
        self.secret_key = secret_key
        self.clock = clock
        self._integration = Integration(clock, Ids(seed))
        self._door = PaystackDoor(self._integration, secret_key)
        self.app: ASGIApp = Router(routes=[*control_routes(self, DEEDS), Route("/{path:path}", self._door)])

    # What is there

    def add_customer(self, email: str) -> str:
        """A customer of this address. Answers the code."""
        with self._integration.lock:
            return str(keep_customer(self._integration, email)["customer_code"])

    def add_card(self, email: str, *, outcomes: Sequence[str] = (), reusable: bool = True) -> str:
        """A stored authorisation of this address; its next charges end as `outcomes` say. Answers its code."""
        with self._integration.lock:
            keep_customer(self._integration, email)
            card = Card(self._integration.ids.new("AUTH", 10), email.lower(), reusable, list(outcomes))
            self._integration.cards[card.code] = card
            return card.code

    def payment_requests(self) -> list[Body]:
        """Every payment request, oldest first, archived ones too."""
        with self._integration.lock:
            return deepcopy(list(self._integration.requests.values()))

    def transactions(self) -> list[Body]:
        """Every transaction, oldest first."""
        with self._integration.lock:
            return deepcopy(list(self._integration.transactions.values()))

    def collected(self, currency: str = "NGN") -> int:
        """What all transactions that succeeded add up to, in Paystack's minor units."""
        return sum(
            one["amount"]
            for one in self.transactions()
            if one["status"] == "success" and one["currency"] == currency.upper()
        )

    # What customers and banks do

    def pay(self, request: str, amount: int | None = None) -> Body:
        """The customer pays a pending payment request, or another amount than it asks for."""
        with self._integration.lock:
            return payment_requests.pay(self._integration, request, amount)

    def settle(self, reference: str, status: str = "success") -> Body:
        """The bank brings a charge that was processing to `success` or `failed`."""
        with self._integration.lock:
            transaction = self._integration.transactions[reference]
            if transaction["status"] != "processing" or status not in ("success", "failed"):
                raise ValueError(f"{reference} is {transaction['status']}, it cannot become {status}")
            transactions.finish(self._integration, transaction, status)
            return deepcopy(transaction)

    # What it sends

    def events(self) -> list[Body]:
        """Every event that there was reason for, oldest first. None is sent before `deliver` sends it."""
        with self._integration.lock:
            return deepcopy(self._integration.events)

    def deliver(self, url: str, event: Body, *, timeout_seconds: float = 10) -> Delivery:
        """Signs an event and posts it to an endpoint, once; an endpoint that cannot be reached raises `OSError`."""
        body = json.dumps(event).encode()
        headers = {"Content-Type": "application/json", "x-paystack-signature": sign_paystack(body, self.secret_key)}
        status, text = post(url, body, headers, timeout_seconds)
        return Delivery(str(event.get("event")), status, text)

    def deliver_all(self, url: str) -> list[Delivery]:
        """Every event so far, oldest first, whether it was sent before or not."""
        return [self.deliver(url, event) for event in self.events()]

    def overview(self) -> dict[str, Any]:
        """The time, and how much there is."""
        return {
            "now": self.clock.now().isoformat(),
            "calls": len(self.calls()),
            "payment_requests": len(self.payment_requests()),
            "transactions": len(self.transactions()),
            "events": len(self.events()),
        }
