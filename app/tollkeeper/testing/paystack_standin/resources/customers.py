"""Customers: one for each mail address. Making one that is there already answers the one that is there."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tollkeeper.testing.paystack_standin.account import Body, Integration
from tollkeeper.testing.paystack_standin.params import text
from tollkeeper.testing.paystack_standin.problem import invalid
from tollkeeper.testing.paystack_standin.routing import Reply, Route


def keep_customer(integration: Integration, email: str, **fields: Any) -> Body:
    """The customer of this address, made where there is none."""
    for customer in integration.customers.values():
        if customer["email"] == email.lower():
            return customer
    customer = {
        "id": integration.number(),
        "customer_code": integration.ids.new("CUS", 15).lower().replace("cus_", "CUS_"),
        "email": email.lower(),
        "first_name": None,
        "last_name": None,
        "phone": None,
        "metadata": None,
        "risk_action": "default",
        "international_format_phone": None,
        **fields,
    }
    integration.customers[customer["customer_code"]] = customer
    return customer


def create(integration: Integration, params: dict[str, Any], _: str) -> Reply:
    if params["email"].count("@") != 1:
        raise invalid("Email address is invalid", "invalid_email_address")
    return Reply("Customer created", deepcopy(keep_customer(integration, **params)))


def fetch(integration: Integration, _: dict[str, Any], name: str) -> Reply:
    customer = integration.customer(name)
    cards = [card.body() for card in integration.cards.values() if card.email == customer["email"]]
    return Reply("Customer retrieved", {**deepcopy(customer), "authorizations": cards})


def list_all(integration: Integration, params: dict[str, Any], _: str) -> Reply:
    return Reply("Customers retrieved", deepcopy(list(integration.customers.values())))


_FIELDS = {"email": text, "first_name": text, "last_name": text, "phone": text, "metadata": None}

ROUTES = (
    Route("POST", "/customer", create, {**_FIELDS}, "email"),
    Route("GET", "/customer", list_all, {"perPage": text, "page": None, "from": None, "to": None, "use_cursor": None}),
    Route("GET", "/customer/{}", fetch, {}),
)
