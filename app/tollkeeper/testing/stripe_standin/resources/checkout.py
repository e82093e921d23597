"""Checkout sessions: a page on which a customer subscribes. What the customer does there is done by the test."""

from __future__ import annotations

from typing import Any

from stripe.params.checkout import (
    SessionCreateParams,
    SessionExpireParams,
    SessionListParams,
    SessionRetrieveParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.events import emit
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request, missing_parameter, no_such, not_rehearsed
from tollkeeper.testing.stripe_standin.resources.fields import at_most
from tollkeeper.testing.stripe_standin.resources.payment_methods import attach_card
from tollkeeper.testing.stripe_standin.resources.subscriptions import priced_item, start_subscription
from tollkeeper.testing.stripe_standin.routing import Call, route

SESSION = "checkout.session"
_DAY, _HALF_HOUR = 86_400, 1_800
_SUBSCRIPTION_DATA = {"billing_cycle_anchor_config", "metadata", "proration_behavior"}


def _create(account: Account, call: Call) -> Body:
    at_most(call.params, client_reference_id=200)
    params = call.params
    if params.get("mode") != "subscription":
        raise not_rehearsed("a mode other than subscription")
    for name in ("customer", "line_items", "success_url"):
        if name not in params:
            raise missing_parameter(name)
    customer = account.get("customer", params["customer"], "customer")
    if customer.get("deleted"):
        raise no_such("customer", customer["id"], "customer")
    data = params.get("subscription_data", {})
    if unknown := data.keys() - _SUBSCRIPTION_DATA:
        raise not_rehearsed(f"the parameter subscription_data[{min(unknown)}]")
    prices = [priced_item(account, line, f"line_items[{n}]")[0] for n, line in enumerate(params["line_items"])]
    with account.at(account.time_of(customer["id"])):
        session = account.keep(_new(account, customer, prices[0]["currency"], params))
    account.part(Asked)[session["id"]] = {"items": params["line_items"], **data}
    return session


class Asked(dict[str, dict[str, Any]]):
    """What the subscription of each session is to be, by the session's id."""


def _new(account: Account, customer: Body, currency: str, params: dict[str, Any]) -> Body:
    expires = params.get("expires_at", account.now + _DAY)
    if not account.now + _HALF_HOUR <= expires <= account.now + _DAY:
        raise bad_request("expires_at", "The expires_at must be between 30 minutes and 24 hours from now.")
    identity = account.ids.new("cs_test", 58)
    return {
        "id": identity,
        "object": SESSION,
        "amount_subtotal": 0,
        "amount_total": 0,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "created": account.now,
        "currency": currency,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": customer["id"],
        "customer_details": {"email": customer["email"], "name": None, "phone": None, "address": None, "tax_ids": None}
        | {"tax_exempt": "none", "business_name": None, "individual_name": None},
        "expires_at": expires,
        "invoice": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "mode": "subscription",
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "shipping_options": [],
        "status": "open",
        "subscription": None,
        "success_url": params["success_url"],
        "url": f"https://checkout.stripe.com/c/pay/{identity}",
    }


def complete(account: Account, session_id: str, card: str = "pm_card_visa", *, settles_later: bool = False) -> Body:
    """What happens when the customer fills in the page: the card is theirs, the subscription begins.

    With `settles_later` the payment is one that takes days, such as a direct debit.
    """
    session = _open(account, session_id)
    customer = account.shelf("customer")[session["customer"]]
    with account.at(account.time_of(customer["id"])):
        method = attach_card(account, card, customer["id"])
        customer["invoice_settings"]["default_payment_method"] = method["id"]
        subscription = start_subscription(account, customer, account.part(Asked)[session_id])
        if subscription["status"] == "incomplete":
            return subscription  # the card was declined: the page says so, and stays open
        session.update(status="complete", subscription=subscription["id"], invoice=subscription["latest_invoice"])
        due = subscription["latest_invoice"] is not None
        session["payment_status"] = "unpaid" if settles_later else "paid" if due else "no_payment_required"
        emit(account, "checkout.session.completed", session)
    return subscription


def settle_later(account: Account, session_id: str, *, paid: bool) -> Body:
    """How a payment that takes days came out."""
    session = account.get(SESSION, session_id)
    if paid:
        session["payment_status"] = "paid"
    emit(account, f"checkout.session.async_payment_{'succeeded' if paid else 'failed'}", session)
    return session


def _open(account: Account, session_id: str) -> Body:
    session = account.get(SESSION, session_id)
    if session["status"] != "open" or account.time_of(session["customer"]) >= session["expires_at"]:
        raise bad_request(None, f"This Checkout Session is {session['status']} and cannot be completed.")
    return session


def _retrieve(account: Account, call: Call) -> Body:
    return account.get(SESSION, call.named["session"])


def _list(account: Account, call: Call) -> Body:
    return page(call, newest_first(account.shelf(SESSION), call, "customer", "status", "subscription"))


def _expire(account: Account, call: Call) -> Body:
    session = _open(account, call.named["session"])
    session.update(status="expired", url=None)
    emit(account, "checkout.session.expired", session)
    return session


ROUTES = (
    route(
        "POST",
        "/v1/checkout/sessions",
        _create,
        SessionCreateParams,
        "cancel_url client_reference_id customer expires_at line_items metadata mode subscription_data success_url",
    ),
    route("GET", "/v1/checkout/sessions", _list, SessionListParams, f"created customer status subscription {PAGING}"),
    route("GET", "/v1/checkout/sessions/{session}", _retrieve, SessionRetrieveParams),
    route("POST", "/v1/checkout/sessions/{session}/expire", _expire, SessionExpireParams),
)
