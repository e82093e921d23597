"""Meters: what is counted, under which event name, and how it is added up."""

from __future__ import annotations

from stripe.params.billing import (
    MeterCreateParams,
    MeterDeactivateParams,
    MeterListParams,
    MeterReactivateParams,
    MeterRetrieveParams,
    MeterUpdateParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request
from tollkeeper.testing.stripe_standin.resources.fields import at_most
from tollkeeper.testing.stripe_standin.routing import Call, route

METER = "billing.meter"


def active_meter(account: Account, event_name: str) -> Body | None:
    """The one meter that counts events of this name now."""
    meters = account.shelf(METER).values()
    return next((one for one in meters if one["event_name"] == event_name and one["status"] == "active"), None)


def create(account: Account, call: Call) -> Body:
    at_most(call.params, display_name=250, event_name=100)
    _refuse_second_active(account, call.params["event_name"])
    return account.keep(
        {
            "id": account.ids.new("mtr_test"),
            "object": METER,
            "created": account.now,
            "customer_mapping": call.params.get(
                "customer_mapping", {"event_payload_key": "stripe_customer_id", "type": "by_id"}
            ),
            "default_aggregation": call.params["default_aggregation"],
            "display_name": call.params["display_name"],
            "event_name": call.params["event_name"],
            "event_time_window": call.params.get("event_time_window"),
            "livemode": False,
            "status": "active",
            "status_transitions": {"deactivated_at": None},
            "updated": account.now,
            "value_settings": call.params.get("value_settings", {"event_payload_key": "value"}),
        }
    )


def retrieve(account: Account, call: Call) -> Body:
    return account.get(METER, call.named["id"])


def update(account: Account, call: Call) -> Body:
    at_most(call.params, display_name=250)
    meter = retrieve(account, call)
    meter.update(call.params, updated=account.now)
    return meter


def list_all(account: Account, call: Call) -> Body:
    return page(call, newest_first(account.shelf(METER), call, "status"))


def deactivate(account: Account, call: Call) -> Body:
    meter = retrieve(account, call)
    if meter["status"] == "inactive":
        raise bad_request(None, "This meter is already inactive.")
    meter.update(status="inactive", status_transitions={"deactivated_at": account.now}, updated=account.now)
    return meter


def reactivate(account: Account, call: Call) -> Body:
    meter = retrieve(account, call)
    _refuse_second_active(account, meter["event_name"])
    meter.update(status="active", status_transitions={"deactivated_at": None}, updated=account.now)
    return meter


def _refuse_second_active(account: Account, event_name: str) -> None:
    if active_meter(account, event_name):
        raise bad_request("event_name", f"An active meter with the event name {event_name} already exists.")


ROUTES = (
    route(
        "POST",
        "/v1/billing/meters",
        create,
        MeterCreateParams,
        "customer_mapping default_aggregation display_name event_name value_settings",
    ),
    route("GET", "/v1/billing/meters", list_all, MeterListParams, f"status {PAGING}"),
    route("GET", "/v1/billing/meters/{id}", retrieve, MeterRetrieveParams),
    route("POST", "/v1/billing/meters/{id}", update, MeterUpdateParams, "display_name"),
    route("POST", "/v1/billing/meters/{id}/deactivate", deactivate, MeterDeactivateParams),
    route("POST", "/v1/billing/meters/{id}/reactivate", reactivate, MeterReactivateParams),
)
