"""Ringing: what Paystack's webhooks are good for. They carry no id and no time, so nothing is taken over from one.

A webhook only rings: the ledger row of the invoice that it is about becomes due to be looked at, and what Paystack's API then
says of it is what counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from tollkeeper.domain.errors import InvalidInput
from tollkeeper.domain.reference import read_charge_reference
from tollkeeper.services.noting import note_alarm
from tollkeeper.storage.collections import Collection, collection_named, collections_of, look_again_at
from tollkeeper.storage.invoices import sound_alarm
from tollkeeper.storage.webhooks import StoredWebhook, WebhookState

WAIT_UNTIL_ISSUED = timedelta(days=3)
"""How long an event waits for our own ledger to hear that what it is about was issued."""

_LOOK = ("charge.success", "paymentrequest.success")
_ALARMS = {
    "charge.dispute.create": "a dispute about it was opened at Paystack",
    "refund.processed": "a refund of it went out at Paystack",
}
_SECRET = "authorization_code"  # noqa: S105  # the name of a member, not a secret
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LONGEST_ID = 255


def event_id_of(event: Mapping[str, Any]) -> tuple[str, str]:
    """What makes two of Paystack's events the same, and their type: the type, and the number or reference of the thing."""
    kind, data = event.get("event"), _object(event.get("data"))
    if not isinstance(kind, str) or not re.fullmatch(r"[a-z_.-]{1,100}", kind):
        raise InvalidInput("event", "the name of an event")
    named = next(
        (data[name] for name in ("id", "reference", "request_code") if isinstance(data.get(name), int | str)), None
    )
    event_id = f"{kind}:{named}"
    if named is None or len(event_id.encode("utf-8", "replace")) > _LONGEST_ID or not event_id.isprintable():
        event_id = f"{kind}:{hashlib.sha256(json.dumps(event, sort_keys=True).encode()).hexdigest()}"
    return event_id, kind


def without_secrets(event: Mapping[str, Any]) -> dict[str, Any]:
    """The event as it may be kept: an authorisation code moves money, so it is not."""

    def drop(members: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in members.items() if name != _SECRET}

    try:
        kept: dict[str, Any] = json.loads(json.dumps(event), object_hook=drop)
    except RecursionError:
        raise InvalidInput("body", "JSON that is not absurdly deep") from None
    return kept


def ring(connection: Connection, event: StoredWebhook, now: datetime) -> tuple[WebhookState, str | None]:
    """Make the invoice that an event is about due to be looked at, or note a dispute on it."""
    if event.type not in _LOOK and event.type not in _ALARMS:
        return "ignored", "nothing is made of this type"
    found = _find(connection, _object(event.payload.get("data")))
    if found is None:
        return "ignored", "it is about no invoice of ours"
    if event.type in _ALARMS:
        sound_alarm(connection, found.invoice_id, _ALARMS[event.type])
        note_alarm(connection, f"invoice {found.invoice_id}: {_ALARMS[event.type]}", now, user_id=found.user_id)
        return "applied", None
    if found.state == "issued":
        look_again_at(connection, found.invoice_id, now)
        return "applied", None
    if found.state != "nothing_due" and now - event.received_at < WAIT_UNTIL_ISSUED:
        return "pending", "its invoice is not known to be issued yet"
    return "ignored", f"its invoice is {found.state.replace('_', ' ')}"


def _find(connection: Connection, data: Mapping[str, Any]) -> Collection | None:
    """The ledger's row: by our own reference or the request's code, else by our invoice's id in the description."""
    transaction = _object(data.get("transaction"))
    for name in (data.get("reference"), data.get("transaction_reference"), transaction.get("reference")):
        ours = read_charge_reference(name) if isinstance(name, str) else None
        if ours is not None:
            return collections_of(connection, [ours[0]]).get(ours[0])
    code = data.get("request_code")
    found = collection_named(connection, "paystack", code) if isinstance(code, str) else None
    if found is None and isinstance(description := data.get("description"), str):
        named = [UUID(text) for text in _UUID.findall(description[:1000])]
        return next(iter(collections_of(connection, named).values()), None)
    return found


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
