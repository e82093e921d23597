"""Invoice items: lines put on a draft by hand, and lines that wait for the customer's next invoice."""

from __future__ import annotations

from typing import Any

from stripe.params import (
    InvoiceItemCreateParams,
    InvoiceItemDeleteParams,
    InvoiceItemListParams,
    InvoiceItemRetrieveParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import Problem, bad_request, missing_parameter
from tollkeeper.testing.stripe_standin.resources.fields import at_most, changed
from tollkeeper.testing.stripe_standin.resources.invoice_lines import add_line, take_line
from tollkeeper.testing.stripe_standin.routing import Call, route

ITEM = "invoiceitem"
_MOST_ITEMS = 250
_LARGEST_AMOUNT = 99_999_999


def take_pending(account: Account, invoice: Body) -> None:
    """Puts what waits for the customer's next invoice, in its currency, on this one."""
    for item in account.shelf(ITEM).values():
        waits = item["invoice"] is None and item["customer"] == invoice["customer"]
        if waits and item["currency"] == invoice["currency"]:
            _put_on(account, item, invoice)


def let_go(account: Account, invoice: Body) -> None:
    """Items of a draft that is deleted go with it."""
    shelf = account.shelf(ITEM)
    for identity in [identity for identity, item in shelf.items() if item["invoice"] == invoice["id"]]:
        del shelf[identity]


def _create(account: Account, call: Call) -> Body:
    params = dict(call.params)
    if "customer" not in params:
        raise missing_parameter("customer")
    if "amount" not in params:
        raise missing_parameter("amount")
    at_most(params, description=500)
    customer = account.get("customer", params.pop("customer"), "customer")
    if customer.get("deleted"):
        raise Problem(400, f"No such customer: '{customer['id']}'", code="resource_missing", param="customer")
    if abs(params["amount"]) > _LARGEST_AMOUNT:
        raise bad_request("amount", f"Amount must be no more than {_LARGEST_AMOUNT}.", "amount_too_large")
    invoice = _draft(account, params, customer["id"])
    period = params.pop("period", {"start": account.now, "end": account.now})
    if period["end"] < period["start"]:
        raise bad_request("period", "The period's end must not be before its start.")
    currency = str(params.pop("currency", None) or customer["currency"] or "usd")
    item = _new_item(account, customer["id"], currency.lower(), period)
    changed(item, params)
    item["net_amount"] = item["amount"]
    if invoice is not None:
        _put_on(account, item, invoice)
    return account.keep(item)


def _draft(account: Account, params: dict[str, Any], customer: str) -> Body | None:
    """The draft that the item is for, or None where it is to wait."""
    if "invoice" not in params:
        return None
    invoice = account.get("invoice", params.pop("invoice"), "invoice")
    if invoice["status"] != "draft":
        raise bad_request("invoice", "Items can be added to draft invoices only.")
    if invoice["customer"] != customer:
        raise bad_request("invoice", "The invoice is another customer's.")
    if str(params.get("currency", invoice["currency"])).lower() != invoice["currency"]:
        raise bad_request("currency", f"The invoice is in {invoice['currency']}.")
    if len(invoice["lines"]["data"]) >= _MOST_ITEMS:
        raise bad_request("invoice", f"An invoice takes at most {_MOST_ITEMS} invoice items.")
    params["currency"] = invoice["currency"]
    return invoice


def _new_item(account: Account, customer: str, currency: str, period: dict[str, int]) -> Body:
    return {
        "id": account.ids.new("ii"),
        "object": ITEM,
        "amount": 0,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "date": account.now,
        "description": None,
        "discountable": True,
        "discounts": [],
        "frozen_fields": None,
        "invoice": None,
        "invoicing_rules": None,
        "livemode": False,
        "metadata": {},
        "net_amount": 0,
        "parent": None,
        "period": period,
        "pricing": None,
        "proration": False,
        "proration_details": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "tax_rates": [],
        "test_clock": None,
    }


def _put_on(account: Account, item: Body, invoice: Body) -> None:
    item["invoice"] = invoice["id"]
    period = item["period"]["start"], item["period"]["end"]
    line = add_line(account, invoice, item["amount"], item["description"], period)
    line["discountable"] = item["discountable"]
    line["metadata"] = dict(item["metadata"])
    line["subscription"] = ((invoice["parent"] or {}).get("subscription_details") or {}).get("subscription")
    line["parent"] = {
        "type": "invoice_item_details",
        "invoice_item_details": {
            "invoice_item": item["id"],
            "proration": False,
            "proration_details": None,
            "subscription": None,
        },
        "subscription_item_details": None,
    }


def _retrieve(account: Account, call: Call) -> Body:
    return account.get(ITEM, call.named["invoiceitem"])


def _list(account: Account, call: Call) -> Body:
    params = dict(call.params)
    pending = params.pop("pending", None)
    dated = {identity: {**item, "created": item["date"]} for identity, item in account.shelf(ITEM).items()}
    found = newest_first(dated, Call(call.path, params, call.named), "customer", "invoice")
    fitting = [item for item in found if pending is None or (item["invoice"] is None) is pending]
    return page(call, [account.shelf(ITEM)[item["id"]] for item in fitting])


def _delete(account: Account, call: Call) -> Body:
    item = _retrieve(account, call)
    if item["invoice"] is not None:
        invoice = account.get("invoice", item["invoice"])
        if invoice["status"] != "draft":
            raise bad_request(None, "An item on an invoice that is no draft cannot be deleted.")
        take_line(invoice, item["id"])
    del account.shelf(ITEM)[item["id"]]
    return {"id": item["id"], "object": ITEM, "deleted": True}


ROUTES = (
    route(
        "POST",
        "/v1/invoiceitems",
        _create,
        InvoiceItemCreateParams,
        "amount currency customer description discountable invoice metadata period",
    ),
    route("GET", "/v1/invoiceitems", _list, InvoiceItemListParams, f"created customer invoice pending {PAGING}"),
    route("GET", "/v1/invoiceitems/{invoiceitem}", _retrieve, InvoiceItemRetrieveParams),
    route("DELETE", "/v1/invoiceitems/{invoiceitem}", _delete, InvoiceItemDeleteParams),
)
