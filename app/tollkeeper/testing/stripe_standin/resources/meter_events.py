"""Meter events, their cancelling, and the log that sums are made of.

Two defences stand against counting twice: the idempotency key of the call, and the event's own `identifier`, which is
refused a second time for a day. Some flaws are found only after an event was answered with 200; which, the rules say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from stripe.params.billing import MeterEventAdjustmentCreateParams, MeterEventCreateParams

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.problem import bad_request, missing_parameter
from tollkeeper.testing.stripe_standin.resources.fields import at_most
from tollkeeper.testing.stripe_standin.resources.meters import active_meter
from tollkeeper.testing.stripe_standin.routing import Call, route

_OLDEST = timedelta(days=35)
_FURTHEST_AHEAD = timedelta(minutes=5)
_CANCELLABLE_FOR = timedelta(hours=24)
_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,12})?")


@dataclass(slots=True)
class ReceivedEvent:
    """One event that was answered with 200. `status`: counted, rejected (`reason` is Stripe's code) or cancelled."""

    body: Body
    meter: str
    customer: str | None
    value: Decimal
    status: str = "counted"
    reason: str | None = None

    @property
    def received_at(self) -> int:
        return int(self.body["created"])

    @property
    def timestamp(self) -> int:
        return int(self.body["timestamp"])

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.body,
            "meter": self.meter,
            "customer": self.customer,
            "status": self.status,
            "reason": self.reason,
        }


@dataclass
class MeterEventLog:
    """Every event received, oldest first, and the identifiers that are still refused a second time."""

    events: list[ReceivedEvent] = field(default_factory=list)
    identifiers: dict[str, int] = field(default_factory=dict)

    def add(self, event: ReceivedEvent) -> None:
        self.events.append(event)
        self.identifiers[event.body["identifier"]] = event.received_at

    def knows(self, identifier: str, now: int, kept_for: timedelta) -> bool:
        received_at = self.identifiers.get(identifier)
        return received_at is not None and now - received_at < kept_for.total_seconds()

    def forget(self, now: int, older_than: timedelta) -> int:
        """Forgets identifiers of at least that age; how many they were."""
        old = [name for name, at in self.identifiers.items() if now - at >= older_than.total_seconds()]
        for name in old:
            del self.identifiers[name]
        return len(old)


def create(account: Account, call: Call) -> Body:
    at_most(call.params, event_name=100, identifier=100)
    log = account.part(MeterEventLog)
    meter = active_meter(account, call.params["event_name"])
    if meter is None:
        raise bad_request("event_name", f'No active meter found for event name "{call.params["event_name"]}".')
    event = _event(account, call.params)
    if log.knows(event["identifier"], account.now, account.rules.identifiers_kept_for):
        raise bad_request(None, f"An event already exists with identifier {event['identifier']}.")
    log.add(_received(account, meter, event))
    return event


def _event(account: Account, params: dict[str, Any]) -> Body:
    return {
        "object": "billing.meter_event",
        "created": account.now,
        "event_name": params["event_name"],
        "identifier": params.get("identifier") or account.ids.new("evt_meter"),
        "livemode": False,
        "payload": params["payload"],
        "timestamp": params.get("timestamp", account.now),
    }


def _received(account: Account, meter: Body, event: Body) -> ReceivedEvent:
    """The event with what was found wrong with it; a flaw that shows at once is a refusal."""
    value = event["payload"].get(meter["value_settings"]["event_payload_key"], "")
    received = ReceivedEvent(
        body=event,
        meter=meter["id"],
        customer=event["payload"].get(meter["customer_mapping"]["event_payload_key"]),
        value=Decimal(value) if _DECIMAL.fullmatch(value) else Decimal(0),
    )
    for code, sentence in _flaws(account, received, value):
        if code not in account.rules.refused_later:
            raise bad_request(None, sentence, code)
        received.status, received.reason = "rejected", code
    return received


def _flaws(account: Account, event: ReceivedEvent, value: str) -> Iterator[tuple[str, str]]:
    now = account.time_of(event.customer)
    if event.timestamp < now - _OLDEST.total_seconds():
        yield "timestamp_too_far_in_past", "The timestamp is more than 35 days in the past."
    if event.timestamp > now + _FURTHEST_AHEAD.total_seconds():
        yield "timestamp_in_future", "The timestamp is more than 5 minutes in the future."
    if not _DECIMAL.fullmatch(value):
        yield "meter_event_invalid_value", f"The value {value!r} is not a decimal number."
    if not event.customer:
        yield "meter_event_no_customer_defined", "The payload names no customer."
    elif account.shelf("customer").get(event.customer, {"deleted": True}).get("deleted"):
        yield "meter_event_customer_not_found", f"No such customer: '{event.customer}'"


def cancel(account: Account, call: Call) -> Body:
    identifier = call.params.get("cancel", {}).get("identifier")
    if identifier is None:
        raise missing_parameter("cancel[identifier]")
    event = _cancellable(account, identifier, call.params["event_name"])
    event.status = "cancelled"
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": call.params["event_name"],
        "livemode": False,
        "status": "complete",
        "type": "cancel",
    }


def _cancellable(account: Account, identifier: str, event_name: str) -> ReceivedEvent:
    for event in reversed(account.part(MeterEventLog).events):
        if event.body["identifier"] == identifier and event.body["event_name"] == event_name:
            if account.now - event.received_at > _CANCELLABLE_FOR.total_seconds():
                raise bad_request("cancel[identifier]", "An event can be cancelled within 24 hours of its receipt.")
            if event.status == "cancelled":
                raise bad_request("cancel[identifier]", "This event was cancelled before.")
            return event
    raise bad_request("cancel[identifier]", f"No event with identifier {identifier} was received.")


ROUTES = (
    route(
        "POST",
        "/v1/billing/meter_events",
        create,
        MeterEventCreateParams,
        "event_name identifier payload timestamp",
    ),
    route(
        "POST",
        "/v1/billing/meter_event_adjustments",
        cancel,
        MeterEventAdjustmentCreateParams,
        "cancel event_name type",
    ),
)
