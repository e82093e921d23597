"""What one Paystack integration holds, in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC
from itertools import count
from typing import Any

from tollkeeper.clock import Clock
from tollkeeper.testing.paystack_standin.problem import not_found
from tollkeeper.testing.standin.ids import Ids

Body = dict[str, Any]


@dataclass(slots=True)
class Card:
    """A stored authorisation, and how its next charges end: `success`, `failed` or `processing`; after them `success`."""

    code: str
    email: str
    reusable: bool
    outcomes: list[str] = field(default_factory=list)

    def next_outcome(self) -> str:
        return self.outcomes.pop(0) if self.outcomes else "success"

    def body(self) -> Body:
        return {
            "authorization_code": self.code,
            "bin": "408408",
            "last4": "4081",
            "exp_month": "12",
            "exp_year": "2030",
            "channel": "card",
            "card_type": "visa",
            "bank": "TEST BANK",
            "country_code": "NG",
            "brand": "visa",
            "reusable": self.reusable,
            "signature": f"SIG_{self.code[5:]}",
        }


class Integration:
    """Customers, payment requests, transactions and cards, and the events they gave rise to. Users hold the `lock`."""

    def __init__(self, clock: Clock, ids: Ids) -> None:
        self.clock = clock
        self.ids = ids
        self.lock = threading.RLock()
        self.customers: dict[str, Body] = {}
        self.requests: dict[str, Body] = {}
        self.transactions: dict[str, Body] = {}
        self.cards: dict[str, Card] = {}
        self.events: list[Body] = []
        self._numbers = count(1)

    def number(self) -> int:
        """A new identity, as Paystack numbers what it keeps."""
        return 1_000_000 + next(self._numbers)

    @property
    def now(self) -> str:
        """The time as in every `created_at`."""
        return self.clock.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def happened(self, event: str, data: Body) -> None:
        """Keep an event as it would be sent now."""
        self.events.append({"event": event, "data": json.loads(json.dumps(data))})

    def customer(self, name: str) -> Body:
        """The customer of this code, number or mail address."""
        return _one(self.customers.values(), name, ("customer_code", "id", "email"), "Customer")

    def request(self, name: str) -> Body:
        """The payment request of this code or number."""
        return _one(self.requests.values(), name, ("request_code", "id"), "Payment request")

    def with_customer(self, request: Body) -> Body:
        """A payment request as it is read: with its customer instead of the customer's number."""
        customer = next(one for one in self.customers.values() if one["id"] == request["customer"])
        return {**deepcopy(request), "customer": deepcopy(customer)}


def _one(bodies: Iterable[Body], name: str, keys: tuple[str, ...], kind: str) -> Body:
    for body in bodies:
        if any(str(body[key]) == name for key in keys):
            return body
    raise not_found(kind)
