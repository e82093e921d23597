"""Customers: whom Stripe bills."""

from __future__ import annotations

from stripe.params import (
    CustomerCreateParams,
    CustomerDeleteParams,
    CustomerListParams,
    CustomerRetrieveParams,
    CustomerUpdateParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import no_such
from tollkeeper.testing.stripe_standin.resources.fields import at_most, changed
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
    customer = new_customer(account, account.ids.new("cus", 14))
    changed(customer, call.params)
    return account.keep(customer)


def retrieve(account: Account, call: Call) -> Body:
    """The customer; of a deleted one only that it was there."""
    return account.get("customer", call.named["customer"])


def update(account: Account, call: Call) -> Body:
    at_most(call.params, email=512)
    customer = _still_there(account, call)
    changed(customer, call.params)
    return customer


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
    route("POST", "/v1/customers", create, CustomerCreateParams, _FIELDS),
    route("GET", "/v1/customers", list_all, CustomerListParams, f"created email {PAGING}"),
    route("GET", "/v1/customers/{customer}", retrieve, CustomerRetrieveParams),
    route("POST", "/v1/customers/{customer}", update, CustomerUpdateParams, _FIELDS),
    route("DELETE", "/v1/customers/{customer}", delete, CustomerDeleteParams),
)
