"""Event destinations of API v2: the one way to be sent thin events."""

from __future__ import annotations

from stripe.params.v2.core import (
    EventDestinationCreateParams,
    EventDestinationDeleteParams,
    EventDestinationListParams,
    EventDestinationRetrieveParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.problem import bad_request, missing_parameter, not_rehearsed
from tollkeeper.testing.stripe_standin.resources.webhook_endpoints import check_url
from tollkeeper.testing.stripe_standin.routing import Call, route

DESTINATION = "v2.core.event_destination"


def _create(account: Account, call: Call) -> Body:
    """The one answer that carries the signing secret, if it is asked to."""
    params = call.params
    if params["type"] != "webhook_endpoint":
        raise not_rehearsed("a type other than webhook_endpoint")
    if "webhook_endpoint" not in params:
        raise missing_parameter("webhook_endpoint")
    if params["event_payload"] == "thin" and not all(
        name.startswith(("v1.", "v2.")) for name in params["enabled_events"]
    ):
        raise bad_request("enabled_events", "Thin events have names that begin with v1. or v2.")
    check_url(params["webhook_endpoint"]["url"])
    now = account.instant.isoformat().replace("+00:00", "Z")
    destination = account.keep(
        {
            "id": account.ids.new("ed_test"),
            "object": DESTINATION,
            "created": now,
            "description": params.get("description", ""),
            "enabled_events": params["enabled_events"],
            "event_payload": params["event_payload"],
            "events_from": ["@self"],
            "livemode": False,
            "metadata": params.get("metadata", {}),
            "name": params["name"],
            "snapshot_api_version": None,
            "status": "enabled",
            "status_details": None,
            "type": "webhook_endpoint",
            "updated": now,
            "webhook_endpoint": {"signing_secret": None, "url": None},
        }
    )
    if "webhook_endpoint.signing_secret" not in params.get("include", []):
        return destination
    return {**destination, "webhook_endpoint": {"signing_secret": account.ids.new("whsec", 32), "url": None}}


def _retrieve(account: Account, call: Call) -> Body:
    return account.get(DESTINATION, call.named["id"])


def _list(account: Account, call: Call) -> Body:
    """All on one page, newest first: v2 pages by URL and has no cursors."""
    found = list(reversed(account.shelf(DESTINATION).values()))
    return {"data": found[: call.params.get("limit", 20)], "next_page_url": None, "previous_page_url": None}


def _delete(account: Account, call: Call) -> Body:
    destination = _retrieve(account, call)
    del account.shelf(DESTINATION)[destination["id"]]
    return {"id": destination["id"], "object": DESTINATION}


ROUTES = (
    route(
        "POST",
        "/v2/core/event_destinations",
        _create,
        EventDestinationCreateParams,
        "description enabled_events event_payload include metadata name type webhook_endpoint",
    ),
    route("GET", "/v2/core/event_destinations", _list, EventDestinationListParams, "limit"),
    route("GET", "/v2/core/event_destinations/{id}", _retrieve, EventDestinationRetrieveParams),
    route("DELETE", "/v2/core/event_destinations/{id}", _delete, EventDestinationDeleteParams),
)
