"""Webhook endpoints: where events are sent, which ones, and in the shape of which API version."""

from __future__ import annotations

from urllib.parse import urlsplit

from stripe.params import (
    WebhookEndpointCreateParams,
    WebhookEndpointDeleteParams,
    WebhookEndpointListParams,
    WebhookEndpointRetrieveParams,
    WebhookEndpointUpdateParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request
from tollkeeper.testing.stripe_standin.resources.fields import changed
from tollkeeper.testing.stripe_standin.routing import Call, route


def _create(account: Account, call: Call) -> Body:
    """The one answer that carries the signing secret."""
    check_url(call.params["url"])
    endpoint = account.keep(
        {
            "id": account.ids.new("we"),
            "object": "webhook_endpoint",
            "api_version": call.params.get("api_version"),
            "application": None,
            "created": account.now,
            "description": call.params.get("description"),
            "enabled_events": call.params["enabled_events"],
            "livemode": False,
            "metadata": call.params.get("metadata", {}),
            "status": "enabled",
            "url": call.params["url"],
        }
    )
    return {**endpoint, "secret": account.ids.new("whsec", 32)}


def check_url(url: str) -> None:
    """Refuses what no event can be posted to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise bad_request("url", f"Invalid URL: {url}", "url_invalid")


def _retrieve(account: Account, call: Call) -> Body:
    return account.get("webhook_endpoint", call.named["webhook_endpoint"])


def _update(account: Account, call: Call) -> Body:
    endpoint = _retrieve(account, call)
    params = dict(call.params)
    if "url" in params:
        check_url(params["url"])
    if "disabled" in params:
        endpoint["status"] = "disabled" if params.pop("disabled") else "enabled"
    changed(endpoint, params)
    return endpoint


def _list(account: Account, call: Call) -> Body:
    return page(call, newest_first(account.shelf("webhook_endpoint"), call))


def _delete(account: Account, call: Call) -> Body:
    endpoint = _retrieve(account, call)
    del account.shelf("webhook_endpoint")[endpoint["id"]]
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


_FIELDS = "description enabled_events metadata url"
ROUTES = (
    route("POST", "/v1/webhook_endpoints", _create, WebhookEndpointCreateParams, f"api_version {_FIELDS}"),
    route("GET", "/v1/webhook_endpoints", _list, WebhookEndpointListParams, PAGING),
    route("GET", "/v1/webhook_endpoints/{webhook_endpoint}", _retrieve, WebhookEndpointRetrieveParams),
    route(
        "POST", "/v1/webhook_endpoints/{webhook_endpoint}", _update, WebhookEndpointUpdateParams, f"disabled {_FIELDS}"
    ),
    route("DELETE", "/v1/webhook_endpoints/{webhook_endpoint}", _delete, WebhookEndpointDeleteParams),
)
