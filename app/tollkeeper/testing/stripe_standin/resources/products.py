"""Products: what a price is a price of."""

from __future__ import annotations

from typing import Any

from stripe.params import (
    ProductCreateParams,
    ProductDeleteParams,
    ProductListParams,
    ProductRetrieveParams,
    ProductUpdateParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request
from tollkeeper.testing.stripe_standin.resources.fields import changed
from tollkeeper.testing.stripe_standin.routing import Call, route

_FIELDS = "active description metadata name statement_descriptor unit_label url"


def new_product(account: Account, params: dict[str, Any]) -> Body:
    """A product of these parameters, kept."""
    identity = params.get("id") or account.ids.new("prod", 14)
    if identity in account.shelf("product"):
        raise bad_request("id", f"Product already exists: {identity}.", "resource_already_exists")
    product: Body = {
        "id": identity,
        "object": "product",
        "active": True,
        "created": account.now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": None,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": account.now,
        "url": None,
    }
    changed(product, {name: value for name, value in params.items() if name != "id"})
    return account.keep(product)


def _create(account: Account, call: Call) -> Body:
    return new_product(account, call.params)


def _retrieve(account: Account, call: Call) -> Body:
    return account.get("product", call.named["id"])


def _update(account: Account, call: Call) -> Body:
    product = _retrieve(account, call)
    changed(product, call.params)
    product["updated"] = account.now
    return product


def _list(account: Account, call: Call) -> Body:
    wanted = call.params.get("ids")
    found = newest_first(account.shelf("product"), call, "active")
    return page(call, [one for one in found if wanted is None or one["id"] in wanted])


def _delete(account: Account, call: Call) -> Body:
    product = _retrieve(account, call)
    if any(price["product"] == product["id"] for price in account.shelf("price").values()):
        raise bad_request("id", "This product cannot be deleted because it has one or more prices.")
    del account.shelf("product")[product["id"]]
    return {"id": product["id"], "object": "product", "deleted": True}


ROUTES = (
    route("POST", "/v1/products", _create, ProductCreateParams, f"id {_FIELDS}"),
    route("GET", "/v1/products", _list, ProductListParams, f"active created ids {PAGING}"),
    route("GET", "/v1/products/{id}", _retrieve, ProductRetrieveParams),
    route("POST", "/v1/products/{id}", _update, ProductUpdateParams, _FIELDS),
    route("DELETE", "/v1/products/{id}", _delete, ProductDeleteParams),
)
