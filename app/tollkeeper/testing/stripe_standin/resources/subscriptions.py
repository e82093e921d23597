"""Subscriptions: what a customer agreed to pay again and again. Metered items have no quantity: their meter counts."""

from __future__ import annotations

from typing import Any

from stripe.params import (
    SubscriptionCancelParams,
    SubscriptionCreateParams,
    SubscriptionListParams,
    SubscriptionResumeParams,
    SubscriptionRetrieveParams,
    SubscriptionUpdateParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.charging import change_status, charge
from tollkeeper.testing.stripe_standin.cycles import first_anchor, period_end
from tollkeeper.testing.stripe_standin.events import emit
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import bad_request, missing_parameter, no_such, not_rehearsed
from tollkeeper.testing.stripe_standin.renewing import (
    LIVE,
    add_licensed_lines,
    current_period,
    draft_invoice,
    finalize_and_charge,
)
from tollkeeper.testing.stripe_standin.resources import invoices
from tollkeeper.testing.stripe_standin.resources.fields import changed
from tollkeeper.testing.stripe_standin.routing import Call, route

_ANCHORS = "billing_cycle_anchor billing_cycle_anchor_config proration_behavior"


def create(account: Account, call: Call) -> Body:
    params = call.params
    for name in ("customer", "items"):
        if name not in params:
            raise missing_parameter(name)
    customer = account.get("customer", params["customer"], "customer")
    if customer.get("deleted"):
        raise no_such("customer", customer["id"], "customer")
    with account.at(account.time_of(customer["id"])):
        return start_subscription(account, customer, params)


def start_subscription(account: Account, customer: Body, params: dict[str, Any]) -> Body:
    """A new subscription of a customer, with its first invoice where something is due at once."""
    items = [priced_item(account, item, f"items[{n}]") for n, item in enumerate(params["items"])]
    _check_alike([price for price, _ in items])
    recurring = items[0][0]["recurring"]
    anchor = _anchor(account, params)
    config = params.get("billing_cycle_anchor_config")
    day = config and config["day_of_month"]
    end = period_end(account.now, anchor, recurring, day)
    subscription = _new(account, customer, items[0][0]["currency"], anchor, params)
    subscription["items"]["data"] = [
        _item(account, subscription, price, quantity, (account.now, end)) for price, quantity in items
    ]
    account.keep(subscription)
    if anchor > account.now:  # the time until the anchor is free without proration
        emit(account, "customer.subscription.created", subscription)
        return subscription
    return _bill_first_period(account, subscription, (account.now, end))


def _bill_first_period(account: Account, subscription: Body, period: tuple[int, int]) -> Body:
    invoice = draft_invoice(account, subscription, (account.now, account.now), "subscription_create")
    add_licensed_lines(account, invoice, subscription, period)
    invoice["automatically_finalizes_at"] = None
    subscription["status"] = "incomplete" if invoice["amount_due"] else "active"
    emit(account, "customer.subscription.created", subscription)
    invoices.finalize(account, invoice)
    if invoice["status"] == "open":
        charge(account, invoice)
    return subscription


def priced_item(account: Account, asked: dict[str, Any], path: str) -> tuple[Body, int | None]:
    """The price and quantity of an item or a line; a metered price has none, any other has one unless said otherwise."""
    if unknown := asked.keys() - {"price", "quantity", "id", "deleted", "metadata"}:
        raise not_rehearsed(f"the parameter {path}[{min(unknown)}]")
    if "price" not in asked:
        raise missing_parameter(f"{path}[price]")
    price = account.get("price", asked["price"], f"{path}[price]")
    if not price["active"]:
        raise bad_request(f"{path}[price]", f"The price {price['id']} is inactive.")
    if price["recurring"] is None:
        raise bad_request(f"{path}[price]", f"The price {price['id']} is not recurring.")
    if price["recurring"]["usage_type"] == "metered":
        if "quantity" in asked:
            raise bad_request(f"{path}[quantity]", "Quantity should not be specified where usage_type is metered.")
        return price, None
    return price, asked.get("quantity", 1)


def _check_alike(prices: list[Body]) -> None:
    for name in ("interval", "interval_count"):
        if len({price["recurring"][name] for price in prices}) > 1:
            raise not_rehearsed(f"prices of different {name} in one subscription")
    if len({price["currency"] for price in prices}) > 1:
        raise bad_request("items", "All prices on a subscription must have the same currency.")
    if len({price["id"] for price in prices}) < len(prices):
        raise bad_request("items", "A price can be on a subscription only once.")


def _anchor(account: Account, params: dict[str, Any]) -> int:
    """When the periods begin. A stub before it is free here, so anything else than no proration is refused."""
    if "billing_cycle_anchor" in params and "billing_cycle_anchor_config" in params:
        raise bad_request("billing_cycle_anchor", "Give either billing_cycle_anchor or its config.")
    if "billing_cycle_anchor_config" in params:
        anchor = first_anchor(params["billing_cycle_anchor_config"], account.now)
    else:
        anchor = params.get("billing_cycle_anchor", account.now)
    if anchor < account.now:
        raise bad_request("billing_cycle_anchor", "The billing_cycle_anchor must be in the future.")
    if anchor > account.now and params.get("proration_behavior") != "none":
        raise not_rehearsed("a billing_cycle_anchor without proration_behavior none")
    return int(anchor)


def _new(account: Account, customer: Body, currency: str, anchor: int, params: dict[str, Any]) -> Body:
    identity = account.ids.new("sub")
    return {
        "id": identity,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": anchor,
        "billing_cycle_anchor_config": _whole_config(params.get("billing_cycle_anchor_config")),
        "billing_mode": {"type": "flexible", "flexible": None, "updated_at": None},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": params.get("cancel_at_period_end", False),
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": account.now,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/subscription_items?subscription={identity}",
        },
        "latest_invoice": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": None,
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": account.now,
        "status": "active",
        "test_clock": customer["test_clock"],
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    }


def _whole_config(config: dict[str, Any] | None) -> Body | None:
    return None if config is None else {"hour": None, "minute": None, "month": None, "second": None, **config}


def _item(account: Account, subscription: Body, price: Body, quantity: int | None, period: tuple[int, int]) -> Body:
    item = {
        "id": account.ids.new("si", 14),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": account.now,
        "current_period_end": period[1],
        "current_period_start": period[0],
        "discounts": [],
        "metadata": {},
        "price": {name: value for name, value in price.items() if name != "tiers"},
        "subscription": subscription["id"],
        "tax_rates": [],
    }
    return item if quantity is None else {**item, "quantity": quantity}


def _retrieve(account: Account, call: Call) -> Body:
    return account.get("subscription", call.named["subscription"])


def _update(account: Account, call: Call) -> Body:
    subscription = _retrieve(account, call)
    params = dict(call.params)
    if subscription["status"] not in (*LIVE, "incomplete", "unpaid", "paused"):
        raise bad_request(None, "A canceled subscription can only update its cancellation_details and metadata.")
    with account.at(account.time_of(subscription["customer"])):
        proration = params.pop("proration_behavior", None)
        if "items" in params:
            if proration != "none":
                raise not_rehearsed("changed items without proration_behavior none")
            _change_items(account, subscription, params.pop("items"))
        changed(subscription, params)
        if "cancel_at_period_end" in params:
            subscription["canceled_at"] = account.now if params["cancel_at_period_end"] else None
            subscription["cancel_at"] = current_period(subscription)[1] if params["cancel_at_period_end"] else None
        emit(account, "customer.subscription.updated", subscription)
    return subscription


def _change_items(account: Account, subscription: Body, asked: list[dict[str, Any]]) -> None:
    """Items named by their `id` get another price or go, others come; all stay in the period that is open."""
    period, items = current_period(subscription), subscription["items"]["data"]
    for number, change in enumerate(asked):
        old = next((item for item in items if item["id"] == change.get("id")), None)
        if "id" in change and old is None:
            raise no_such("subscription_item", change["id"], f"items[{number}][id]")
        if old is not None:
            items.remove(old)
        if not change.get("deleted"):
            price, quantity = priced_item(account, change, f"items[{number}]")
            new = _item(account, subscription, price, quantity, period)
            items.append(new if old is None else {**new, "id": old["id"]})
    _check_alike([account.shelf("price")[item["price"]["id"]] for item in items])


def _cancel(account: Account, call: Call) -> Body:
    """At once. Usage of the open period is billed only with `invoice_now`."""
    subscription = _retrieve(account, call)
    if subscription["status"] in ("canceled", "incomplete_expired"):
        raise no_such("subscription", subscription["id"])
    if call.params.get("prorate"):
        raise not_rehearsed("the parameter prorate")
    with account.at(account.time_of(subscription["customer"])):
        if call.params.get("invoice_now"):
            start, _ = current_period(subscription)
            final = draft_invoice(account, subscription, (start, account.now), "subscription_cycle")
            finalize_and_charge(account, final)
        change_status(account, subscription, "canceled")
    return subscription


def _resume(account: Account, call: Call) -> Body:
    subscription = _retrieve(account, call)
    if subscription["status"] != "paused":
        raise bad_request(None, "Only a paused subscription can be resumed.")
    with account.at(account.time_of(subscription["customer"])):
        change_status(account, subscription, "active")
        emit(account, "customer.subscription.resumed", subscription)
    return subscription


def _list(account: Account, call: Call) -> Body:
    """Without canceled ones, unless a `status` asks for them."""
    status = call.params.get("status")
    found = newest_first(account.shelf("subscription"), call, "customer")
    if status is None:
        found = [one for one in found if one["status"] not in ("canceled", "incomplete_expired")]
    elif status != "all":
        found = [one for one in found if one["status"] == status]
    return page(call, found)


ROUTES = (
    route(
        "POST",
        "/v1/subscriptions",
        create,
        SubscriptionCreateParams,
        f"cancel_at_period_end customer items metadata {_ANCHORS}",
    ),
    route("GET", "/v1/subscriptions", _list, SubscriptionListParams, f"created customer status {PAGING}"),
    route("GET", "/v1/subscriptions/{subscription}", _retrieve, SubscriptionRetrieveParams),
    route(
        "POST",
        "/v1/subscriptions/{subscription}",
        _update,
        SubscriptionUpdateParams,
        "cancel_at_period_end items metadata proration_behavior",
    ),
    route("DELETE", "/v1/subscriptions/{subscription}", _cancel, SubscriptionCancelParams, "invoice_now prorate"),
    route("POST", "/v1/subscriptions/{subscription}/resume", _resume, SubscriptionResumeParams),
)
