"""Prices: per unit or by tiers, once or recurring, licensed or metered. Immutable but for their labels."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

from stripe.params import PriceCreateParams, PriceListParams, PriceRetrieveParams, PriceUpdateParams

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request, missing_parameter, not_rehearsed
from tollkeeper.testing.stripe_standin.resources.fields import changed
from tollkeeper.testing.stripe_standin.resources.meters import METER
from tollkeeper.testing.stripe_standin.resources.products import new_product
from tollkeeper.testing.stripe_standin.routing import Call, route

_LABELS = "active metadata nickname"
_LONGEST_INTERVAL = {"day": 1095, "week": 156, "month": 36, "year": 3}


def _create(account: Account, call: Call) -> Body:
    params = call.params
    _check_amounts(params)
    recurring = _recurring(account, params.get("recurring"))
    price = {
        "id": account.ids.new("price"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": params.get("billing_scheme", "per_unit"),
        "created": account.now,
        "currency": params["currency"].lower(),
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": _free_lookup_key(account, params),
        "metadata": params.get("metadata", {}),
        "nickname": params.get("nickname"),
        "product": _product(account, params),
        "recurring": recurring,
        "tax_behavior": "unspecified",
        "tiers_mode": params.get("tiers_mode"),
        "transform_quantity": params.get("transform_quantity"),
        "type": "recurring" if recurring else "one_time",
        **_amounts("unit_amount", params),
        "tiers": [_tier(tier) for tier in params.get("tiers", [])] or None,
    }
    return _shown(account.keep(price), call)


def _check_amounts(params: dict[str, Any]) -> None:
    """One way of saying what it costs, and no rounding of quantities together with tiers."""
    _exclusive(params, "unit_amount", "unit_amount_decimal")
    if params.get("billing_scheme") != "tiered":
        if "tiers" in params or "tiers_mode" in params:
            raise bad_request("billing_scheme", "Tiers need billing_scheme tiered.")
        if "unit_amount" not in params and "unit_amount_decimal" not in params:
            raise missing_parameter("unit_amount")
        return
    for name in ("tiers", "tiers_mode"):
        if name not in params:
            raise missing_parameter(name)
    for name in ("unit_amount", "unit_amount_decimal", "transform_quantity"):
        if name in params:
            raise bad_request(name, f"{name} cannot be combined with tiers.")
    _check_tiers(params["tiers"])


def _check_tiers(tiers: list[dict[str, Any]]) -> None:
    """Upper bounds ascend and the last is `inf`; each tier costs something per unit, flat, or both."""
    *bounds, last = [tier["up_to"] for tier in tiers]
    if last != "inf":
        raise bad_request("tiers", "The last tier must have up_to inf.")
    if "inf" in bounds or any(lower >= upper for lower, upper in pairwise([0, *bounds])):
        raise bad_request("tiers", "The tiers' up_to must ascend.")
    for index, tier in enumerate(tiers):
        _exclusive(tier, "unit_amount", "unit_amount_decimal")
        _exclusive(tier, "flat_amount", "flat_amount_decimal")
        if tier.keys() <= {"up_to"}:
            raise missing_parameter(f"tiers[{index}][unit_amount]")


def _exclusive(params: dict[str, Any], one: str, other: str) -> None:
    if one in params and other in params:
        raise bad_request(one, f"You may only specify one of these parameters: {one}, {other}.", "parameters_exclusive")


def _recurring(account: Account, asked: dict[str, Any] | None) -> Body | None:
    """The recurrence; a metered one needs an active meter, and only a metered one has any."""
    if asked is None:
        return None
    if "trial_period_days" in asked:
        raise not_rehearsed("the parameter recurring[trial_period_days]")
    usage_type, meter = asked.get("usage_type", "licensed"), asked.get("meter")
    if (usage_type == "metered") != (meter is not None):
        raise bad_request("recurring[meter]", "A metered price needs a meter, and only a metered price has one.")
    if meter is not None and account.get(METER, meter, "recurring[meter]")["status"] != "active":
        raise bad_request("recurring[meter]", "A price cannot be attached to an inactive meter.")
    count = asked.get("interval_count", 1)
    if not 1 <= count <= _LONGEST_INTERVAL[asked["interval"]]:
        raise bad_request("recurring[interval_count]", "A price recurs at least once in three years.")
    return {
        "interval": asked["interval"],
        "interval_count": count,
        "meter": meter,
        "trial_period_days": None,
        "usage_type": usage_type,
    }


def _product(account: Account, params: dict[str, Any]) -> str:
    if ("product" in params) == ("product_data" in params):
        raise bad_request("product", "Give either product or product_data.", "parameters_exclusive")
    if "product" in params:
        return str(account.get("product", params["product"], "product")["id"])
    if unknown := params["product_data"].keys() - {"active", "id", "metadata", "name", "unit_label"}:
        raise not_rehearsed(f"the parameter product_data[{min(unknown)}]")
    return str(new_product(account, params["product_data"])["id"])


def _free_lookup_key(account: Account, params: dict[str, Any]) -> str | None:
    """The lookup key, which one price has at a time: it is taken from its holder only if the call asks for that."""
    wanted: str | None = params.get("lookup_key")
    for holder in account.shelf("price").values():
        if wanted and holder["lookup_key"] == wanted:
            if not params.get("transfer_lookup_key"):
                raise bad_request("lookup_key", f"A price already uses the lookup key {wanted}.")
            holder["lookup_key"] = None
    return wanted


def _tier(asked: dict[str, Any]) -> Body:
    return {
        **_amounts("flat_amount", asked),
        **_amounts("unit_amount", asked),
        "up_to": None if asked["up_to"] == "inf" else asked["up_to"],
    }


def _amounts(name: str, asked: dict[str, Any]) -> Body:
    """The amount in both of its forms; the integer one is null where the decimal has a fraction."""
    exact = asked.get(f"{name}_decimal", asked.get(name))
    if exact is None:
        return {name: None, f"{name}_decimal": None}
    whole = int(exact) if exact == int(exact) else None
    return {name: whole, f"{name}_decimal": Decimal(exact)}


def _shown(price: Body, call: Call, expandable: str = "tiers") -> Body:
    """The price as it is answered: without its tiers, unless they are asked for."""
    asked = call.params.get("expand", [])
    if others := set(asked) - {expandable}:
        raise not_rehearsed(f"expanding {min(others)}")
    return price if asked else {name: value for name, value in price.items() if name != "tiers"}


def _retrieve(account: Account, call: Call) -> Body:
    return _shown(account.get("price", call.named["price"]), call)


def _update(account: Account, call: Call) -> Body:
    price = account.get("price", call.named["price"])
    changed(price, {name: value for name, value in call.params.items() if name != "expand"})
    return _shown(price, call)


def _list(account: Account, call: Call) -> Body:
    found = newest_first(account.shelf("price"), call, "active", "currency", "product", "type")
    keys = call.params.get("lookup_keys")
    return page(call, [_shown(one, call, "data.tiers") for one in found if keys is None or one["lookup_key"] in keys])


ROUTES = (
    route(
        "POST",
        "/v1/prices",
        _create,
        PriceCreateParams,
        "billing_scheme currency expand lookup_key product product_data recurring tiers tiers_mode transfer_lookup_key "
        f"transform_quantity unit_amount unit_amount_decimal {_LABELS}",
    ),
    route(
        "GET",
        "/v1/prices",
        _list,
        PriceListParams,
        f"active created currency expand lookup_keys product type {PAGING}",
    ),
    route("GET", "/v1/prices/{price}", _retrieve, PriceRetrieveParams, "expand"),
    route("POST", "/v1/prices/{price}", _update, PriceUpdateParams, f"expand {_LABELS}"),
)
