"""What happened in the account: a snapshot event for each change, as Stripe keeps them for thirty days."""

from __future__ import annotations

from typing import Any

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.delivery import new_event
from tollkeeper.testing.stripe_standin.wire import as_read


def emit(account: Account, event_type: str, about: Body, **overrides: Any) -> Body:
    """Keeps an event about the object as it is now."""
    return account.keep(new_event(account, event_type, as_read(about), **overrides))


def emit_thin(account: Account, event_type: str, related: Body, data: Body) -> Body:
    """Keeps a thin event: what is sent names the related object, and `data` is there for whoever fetches the event."""
    event = {
        "id": account.ids.new("evt"),
        "object": "v2.core.event",
        "context": None,
        "created": account.instant.isoformat().replace("+00:00", "Z"),
        "data": data,
        "livemode": False,
        "reason": None,
        "related_object": {
            "id": related["id"],
            "type": related["object"],
            "url": f"/v1/billing/meters/{related['id']}",
        },
        "type": event_type,
    }
    return account.keep(event)


def as_sent(event: Body) -> Body:
    """The event as its delivery carries it: a thin one without its data."""
    if event["object"] == "event":
        return event
    return {name: value for name, value in event.items() if name != "data"}
