"""Events as Stripe signs and sends them."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, get_args

import stripe

from tollkeeper.testing.signing import sign_stripe
from tollkeeper.testing.standin.delivery import Delivery, post
from tollkeeper.testing.stripe_standin.account import Account, Body

_EVENT_TYPES = frozenset(get_args(stripe.Event.__annotations__["type"]))
_EVENT_FIELDS = frozenset(stripe.Event.__annotations__)


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
    status, text = post(url, body, headers, timeout_seconds)
    return Delivery(event["id"], status, text)
