"""The stand-in's handles for a process that it does not run in."""

from __future__ import annotations

from typing import Any

from tollkeeper.testing.paystack_standin.account import Body
from tollkeeper.testing.standin.delivery import Delivery
from tollkeeper.testing.standin.remote import Remote


class PaystackRemote(Remote):
    """Drives the stand-in at `url` by the names that `PaystackStandIn` has; a refusal is a `ValueError`."""

    def add_customer(self, email: str) -> str:
        return str(self._ask("POST", "customers", {"email": email})["code"])

    def add_card(self, email: str, **fields: Any) -> str:
        return str(self._ask("POST", "cards", {"email": email, **fields})["code"])

    def payment_requests(self) -> list[Body]:
        return list(self._ask("GET", "payment_requests"))

    def transactions(self) -> list[Body]:
        return list(self._ask("GET", "transactions"))

    def events(self) -> list[Body]:
        return list(self._ask("GET", "events"))

    def pay(self, request: str, amount: int | None = None) -> Body:
        return dict(self._ask("POST", "pay", {"request": request, "amount": amount}))

    def settle(self, reference: str, status: str = "success") -> Body:
        return dict(self._ask("POST", "settle", {"reference": reference, "status": status}))

    def deliver(self, url: str, event: Body) -> Delivery:
        (delivery,) = self._ask("POST", "deliver", {"url": url, "event": event})
        return Delivery(**delivery)
