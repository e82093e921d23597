"""Customers: whom Stripe bills."""

from __future__ import annotations

from typing import Any

from stripe.params import (
    CustomerCreateParams,
    CustomerDeleteParams,
    CustomerListParams,
    CustomerRetrieveParams,
    CustomerUpdateParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.events import emit
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request, no_such, not_rehearsed
from tollkeeper.testing.stripe_standin.resources.fields import at_most, changed
from tollkeeper.testing.stripe_standin.resources.payment_methods import attach_card
from tollkeeper.testing.stripe_standin.routing import Call, route

_FIELDS = "address description email metadata name phone preferred_locales shipping tax_exempt"


def new_customer(account: Account, identity: str) -> Body:
    """A customer of whom nothing is known yet."""
    return {
        "id": identity,
        "object": "customer",
        "address": None,
        "balance": 0,
        "business_name": None,
        "created": account.now,
        "currency": None,
        "customer_account": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "individual_name": None,
        "invoice_prefix": identity[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def create(account: Account, call: Call) -> Body:
    at_most(call.params, email=512)
    params = dict(call.params)
    clock, card = params.pop("test_clock", None), params.pop("payment_method", None)
    settings = params.pop("invoice_settings", {})
    frozen = None if clock is None else account.get("test_helpers.test_clock", clock, "test_clock")
    with account.at(account.now if frozen is None else frozen["frozen_time"]):
        customer = account.keep(new_customer(account, account.ids.new("cus", 14)))
    customer["test_clock"] = clock
    changed(customer, params)
    method = None if card is None else attach_card(account, card, customer["id"])
    _set_default_card(account, customer, settings, card, method)
    emit(account, "customer.created", customer)
    return customer


def retrieve(account: Account, call: Call) -> Body:
    """The customer; of a deleted one only that it was there."""
    return account.get("customer", call.named["customer"])


def update(account: Account, call: Call) -> Body:
    at_most(call.params, email=512)
    customer = _still_there(account, call)
    changed(customer, {name: value for name, value in call.params.items() if name != "invoice_settings"})
    _set_default_card(account, customer, call.params.get("invoice_settings", {}))
    return customer


def _set_default_card(
    account: Account, customer: Body, settings: Any, card: str | None = None, attached: Body | None = None
) -> None:
    """Takes over the default payment method, which has to be the customer's own."""
    if not settings:
        return
    if others := settings.keys() - {"default_payment_method"}:
        raise not_rehearsed(f"the parameter invoice_settings[{min(others)}]")
    wanted = settings["default_payment_method"]
    if attached is None or wanted not in (card, attached["id"]):
        attached = account.get("payment_method", wanted, "invoice_settings[default_payment_method]")
    if attached["customer"] != customer["id"]:
        raise bad_request("invoice_settings[default_payment_method]", "The payment method is not the customer's own.")
    customer["invoice_settings"]["default_payment_method"] = attached["id"]


def delete(account: Account, call: Call) -> Body:
    customer = _still_there(account, call)
    return account.keep({"id": customer["id"], "object": "customer", "deleted": True})


def list_all(account: Account, call: Call) -> Body:
    return page(call, newest_first(account.shelf("customer"), call, "email"))


def _still_there(account: Account, call: Call) -> Body:
    customer = retrieve(account, call)
    if customer.get("deleted"):
        raise no_such("customer", customer["id"])
    return customer


ROUTES = (
    route(
        "POST", "/v1/customers", create, CustomerCreateParams, f"invoice_settings payment_method test_clock {_FIELDS}"
    ),
    route("GET", "/v1/customers", list_all, CustomerListParams, f"created email {PAGING}"),
    route("GET", "/v1/customers/{customer}", retrieve, CustomerRetrieveParams),
    route("POST", "/v1/customers/{customer}", update, CustomerUpdateParams, f"invoice_settings {_FIELDS}"),
    route("DELETE", "/v1/customers/{customer}", delete, CustomerDeleteParams),
)
