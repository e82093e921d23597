"""The handles of the stand-in over HTTP, under `/_standin`. Not part of Stripe; all bodies are JSON.

| | |
|---|---|
| GET `/_standin` | the API version, the time, the number of calls and events |
| GET `/_standin/calls` | every call and how it was answered |
| GET `/_standin/meter_events` | every event received, and whether it counts |
| GET, DELETE `/_standin/faults` | the faults to come; forget them |
| POST `/_standin/faults` | one more: `kind`, `method`, `path`, `times`, `seconds`, `retry_after`, `status` |
| POST `/_standin/idempotency_keys/prune` | forget kept answers (`older_than_seconds`, 0) |
| POST `/_standin/identifiers/forget` | forget identifiers of meter events (`older_than_seconds`, 0) |
| POST `/_standin/customers`, `/_standin/meters` | `customer_id` and fields; `event_name`, `formula` |
| POST `/_standin/invoices` | make an invoice: `customer`, `period_start`, `period_end` (ISO 8601), `amount`, … |
| GET `/_standin/events` | every event so far |
| POST `/_standin/life/…` | each deed of `Life`, by its name and with its arguments |
| POST `/_standin/deliver` | sign and post an event: `url`, `secret`, `type`, `object`, `signed_at`, `overrides` |
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tollkeeper.testing.standin.control import Deed, instant

if TYPE_CHECKING:
    from tollkeeper.testing.stripe_standin.standin import StripeStandIn

LIFE = (
    "complete_checkout",
    "settle_checkout",
    "give_card",
    "pass_time",
    "set_subscription_status",
    "refund",
    "dispute",
    "reject_meter_event",
    "deliver_events",
)
"""The deeds of `Life`, each under its own name."""


def _overview(standin: StripeStandIn, asked: dict[str, Any]) -> dict[str, Any]:
    return {
        "api_version": standin.api_version,
        "now": standin.clock.now().isoformat(),
        "calls": len(standin.calls()),
        "meter_events": len(standin.meter_events()),
    }


def _add_fault(standin: StripeStandIn, asked: dict[str, Any]) -> list[dict[str, Any]]:
    standin.inject(**asked)
    return standin.faults()


def _clear_faults(standin: StripeStandIn, asked: dict[str, Any]) -> list[dict[str, Any]]:
    standin.clear_faults()
    return standin.faults()


def _age(asked: dict[str, Any]) -> timedelta:
    return timedelta(seconds=asked.get("older_than_seconds", 0))


def _invoice(standin: StripeStandIn, asked: dict[str, Any]) -> dict[str, Any]:
    start, end = instant(asked.pop("period_start")), instant(asked.pop("period_end"))
    return standin.invoice(period_start=start, period_end=end, **asked)


def _deliver(standin: StripeStandIn, asked: dict[str, Any]) -> dict[str, Any]:
    signed_at = instant(asked["signed_at"]) if asked.get("signed_at") else None
    return standin.deliver(
        asked["url"],
        asked["secret"],
        asked["type"],
        asked["object"],
        signed_at=signed_at,
        **asked.get("overrides", {}),
    ).as_dict()


def _lived(name: str) -> Deed[StripeStandIn]:
    def live(standin: StripeStandIn, asked: dict[str, Any]) -> Any:
        answer = getattr(standin, name)(**asked)
        return [one.as_dict() for one in answer] if name == "deliver_events" else answer

    return live


DEEDS: tuple[tuple[str, str, Deed[StripeStandIn]], ...] = (
    ("GET", "", _overview),
    ("GET", "/calls", lambda standin, asked: standin.calls()),
    ("GET", "/meter_events", lambda standin, asked: standin.meter_events()),
    ("GET", "/faults", lambda standin, asked: standin.faults()),
    ("POST", "/faults", _add_fault),
    ("DELETE", "/faults", _clear_faults),
    (
        "POST",
        "/idempotency_keys/prune",
        lambda standin, asked: {"pruned": standin.prune_idempotency_keys(_age(asked))},
    ),
    ("POST", "/identifiers/forget", lambda standin, asked: {"forgotten": standin.forget_identifiers(_age(asked))}),
    ("POST", "/customers", lambda standin, asked: {"id": standin.add_customer(**asked)}),
    ("POST", "/meters", lambda standin, asked: {"id": standin.add_meter(**asked)}),
    ("POST", "/invoices", _invoice),
    ("POST", "/deliver", _deliver),
    ("GET", "/events", lambda standin, asked: standin.events()),
    *(("POST", f"/life/{name}", _lived(name)) for name in LIFE),
)
