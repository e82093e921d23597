"""What a meter has counted for a customer in a half-open span of whole minutes, in one sum or by hour or day."""

from __future__ import annotations

from decimal import Decimal
from hashlib import sha256

from stripe.params.billing import MeterListEventSummariesParams

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, page
from tollkeeper.testing.stripe_standin.problem import bad_request
from tollkeeper.testing.stripe_standin.resources.meter_events import MeterEventLog, ReceivedEvent
from tollkeeper.testing.stripe_standin.resources.meters import METER
from tollkeeper.testing.stripe_standin.routing import Call, route

_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}


def list_summaries(account: Account, call: Call) -> Body:
    """Newest window first; a window without events has no summary."""
    meter = account.get(METER, call.named["id"])
    customer = account.get("customer", call.params["customer"], "customer")["id"]
    start, end = _span(call)
    step = _SECONDS[call.params["value_grouping_window"]] if "value_grouping_window" in call.params else end - start
    windows: dict[int, list[ReceivedEvent]] = {}
    for event in _settled(account):
        if event.meter == meter["id"] and event.customer == customer and start <= event.timestamp < end:
            windows.setdefault(start + (event.timestamp - start) // step * step, []).append(event)
    summaries = [_summary(meter, customer, at, at + step, windows[at]) for at in sorted(windows, reverse=True)]
    return page(call, summaries)


def _span(call: Call) -> tuple[int, int]:
    unit = call.params.get("value_grouping_window", "minute")
    for name in ("start_time", "end_time"):
        if call.params[name] % _SECONDS[unit]:
            raise bad_request(name, f"{name} must be aligned with {unit} boundaries.")
    start, end = call.params["start_time"], call.params["end_time"]
    if start >= end:
        raise bad_request("end_time", "end_time must be after start_time.")
    return start, end


def _settled(account: Account) -> list[ReceivedEvent]:
    """The events that count and have been received long enough ago to be in the sums."""
    newest = account.now - account.rules.summaries_lag.total_seconds()
    log = account.part(MeterEventLog)
    return [event for event in log.events if event.status == "counted" and event.received_at <= newest]


def _summary(meter: Body, customer: str, start: int, end: int, events: list[ReceivedEvent]) -> Body:
    identity = sha256(f"{meter['id']} {customer} {start} {end}".encode()).hexdigest()
    return {
        "id": f"mtrusg_test_{identity[:24]}",
        "object": "billing.meter_event_summary",
        "aggregated_value": float(_aggregate(meter["default_aggregation"]["formula"], events)),
        "end_time": end,
        "livemode": False,
        "meter": meter["id"],
        "start_time": start,
    }


def _aggregate(formula: str, events: list[ReceivedEvent]) -> Decimal:
    match formula:
        case "count":
            return Decimal(len(events))
        case "last":
            return max(reversed(events), key=lambda event: event.timestamp).value
        case _:
            return sum((event.value for event in events), Decimal(0))


ROUTES = (
    route(
        "GET",
        "/v1/billing/meters/{id}/event_summaries",
        list_summaries,
        MeterListEventSummariesParams,
        f"customer start_time end_time value_grouping_window {PAGING}",
    ),
)
