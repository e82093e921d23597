"""Events, for whoever missed a delivery or was sent a thin one."""

from __future__ import annotations

from stripe.params import EventListParams, EventRetrieveParams
from stripe.params.v2.core import EventRetrieveParams as ThinRetrieveParams

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.routing import Call, route


def _list(account: Account, call: Call) -> Body:
    """Newest first; `types` is a list of exact names."""
    found = newest_first(account.shelf("event"), call, "type")
    types = call.params.get("types")
    return page(call, [one for one in found if types is None or one["type"] in types])


def _retrieve(account: Account, call: Call) -> Body:
    return account.get("event", call.named["id"])


def _retrieve_thin(account: Account, call: Call) -> Body:
    return account.get("v2.core.event", call.named["id"])


ROUTES = (
    route("GET", "/v1/events", _list, EventListParams, f"created type types {PAGING}"),
    route("GET", "/v1/events/{id}", _retrieve, EventRetrieveParams),
    route("GET", "/v2/core/events/{id}", _retrieve_thin, ThinRetrieveParams),
)
