"""The handles of the stand-in over HTTP, under `/_standin`. Not part of Paystack; all bodies are JSON.

| | |
|---|---|
| GET `/_standin` | the time, and how much there is |
| GET `/_standin/calls`, `/payment_requests`, `/transactions`, `/events` | all of them, oldest first |
| GET, DELETE `/_standin/faults` | the faults to come; forget them |
| POST `/_standin/faults` | one more: `kind`, `method`, `path`, `times`, `seconds`, `retry_after`, `status` |
| POST `/_standin/customers`, `/_standin/cards` | `email`; `email`, `outcomes`, `reusable` |
| POST `/_standin/pay` | the customer pays: `request`, and `amount` if it is to be another |
| POST `/_standin/settle` | the bank decides: `reference`, `status` |
| POST `/_standin/deliver` | sign and post: `url`, and `event`, or all events where it is left out |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tollkeeper.testing.standin.control import Deed

if TYPE_CHECKING:
    from tollkeeper.testing.paystack_standin.standin import PaystackStandIn


def _add_fault(standin: PaystackStandIn, asked: dict[str, Any]) -> list[dict[str, Any]]:
    standin.inject(**asked)
    return standin.faults()


def _clear_faults(standin: PaystackStandIn, asked: dict[str, Any]) -> list[dict[str, Any]]:
    standin.clear_faults()
    return standin.faults()


def _deliver(standin: PaystackStandIn, asked: dict[str, Any]) -> list[dict[str, Any]]:
    if "event" in asked:
        return [standin.deliver(asked["url"], asked["event"]).as_dict()]
    return [delivery.as_dict() for delivery in standin.deliver_all(asked["url"])]


DEEDS: tuple[tuple[str, str, Deed[PaystackStandIn]], ...] = (
    ("GET", "", lambda standin, asked: standin.overview()),
    ("GET", "/calls", lambda standin, asked: standin.calls()),
    ("GET", "/payment_requests", lambda standin, asked: standin.payment_requests()),
    ("GET", "/transactions", lambda standin, asked: standin.transactions()),
    ("GET", "/events", lambda standin, asked: standin.events()),
    ("GET", "/faults", lambda standin, asked: standin.faults()),
    ("POST", "/faults", _add_fault),
    ("DELETE", "/faults", _clear_faults),
    ("POST", "/customers", lambda standin, asked: {"code": standin.add_customer(**asked)}),
    ("POST", "/cards", lambda standin, asked: {"code": standin.add_card(**asked)}),
    ("POST", "/pay", lambda standin, asked: standin.pay(**asked)),
    ("POST", "/settle", lambda standin, asked: standin.settle(**asked)),
    ("POST", "/deliver", _deliver),
)
