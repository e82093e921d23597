"""Events, and their way to the endpoint that receives them."""

from __future__ import annotations

import http.client
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, get_args
from urllib.parse import urlsplit

import stripe

from tollkeeper.testing.signing import sign_stripe
from tollkeeper.testing.stripe_standin.account import Account, Body

_EVENT_TYPES = frozenset(get_args(stripe.Event.__annotations__["type"]))
_EVENT_FIELDS = frozenset(stripe.Event.__annotations__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """How one delivery was answered."""

    event_id: str
    status: int
    body: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def new_event(account: Account, event_type: str, about: Body, /, **overrides: Any) -> Body:
    """A snapshot event in the shape of the pinned API version; `overrides` replace members such as `id` or `livemode`.

    An event type that Stripe does not know is a `ValueError`, and so is a member that events do not have.
    """
    if event_type not in _EVENT_TYPES:
        raise ValueError(f"Stripe sends no events of the type {event_type}")
    if strangers := overrides.keys() - _EVENT_FIELDS:
        raise ValueError(f"events have no {', '.join(sorted(strangers))}")
    event = {
        "id": account.ids.new("evt"),
        "object": "event",
        "api_version": stripe.api_version,
        "created": account.now,
        "data": {"object": about},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": event_type,
    }
    return event | overrides


def send(url: str, secret: str, event: Body, signed_at: datetime, timeout_seconds: float) -> Delivery:
    """Signs the event and posts it, once; an endpoint that cannot be reached raises `OSError`."""
    body = json.dumps(event, indent=2).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Stripe-Signature": sign_stripe(body, secret, signed_at),
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    }
    status, text = _post(url, body, headers, timeout_seconds)
    return Delivery(event["id"], status, text)


def _post(url: str, body: bytes, headers: dict[str, str], timeout_seconds: float) -> tuple[int, str]:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=timeout_seconds)
    try:
        connection.request("POST", f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}", body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()
