"""Invoices: drafts, their one way through `open` to `paid`, `void` or `uncollectible`, and what each looks like."""

from __future__ import annotations

from typing import Any

from stripe.params import (
    InvoiceCreateParams,
    InvoiceDeleteParams,
    InvoiceFinalizeInvoiceParams,
    InvoiceListParams,
    InvoiceMarkUncollectibleParams,
    InvoiceRetrieveParams,
    InvoiceUpdateParams,
    InvoiceVoidInvoiceParams,
)

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.events import emit
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import Problem, bad_request, missing_parameter, not_rehearsed
from tollkeeper.testing.stripe_standin.resources.connect import split_invoice
from tollkeeper.testing.stripe_standin.resources.fields import changed
from tollkeeper.testing.stripe_standin.resources.invoice_items import let_go, take_pending
from tollkeeper.testing.stripe_standin.routing import Call, route

_UPDATABLE = "auto_advance description metadata"
_DAY = 86400
_SMALLEST_CHARGE = {"usd": 50, "eur": 50, "gbp": 30, "jpy": 50, "hkd": 400, "mxn": 1000, "huf": 17500, "czk": 1500}
"""What Stripe charges at least; less goes to the customer's balance."""


def new_invoice(account: Account, customer: str | None, currency: str, period: tuple[int, int]) -> Body:
    """An empty draft. `period` is the span it is for, `[start, end)` in Unix seconds."""
    identity = account.ids.new("in")
    known = account.shelf("customer").get(customer or "", {})
    return {
        "id": identity,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Stand-in",
        "account_tax_ids": None,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": account.now,
        "currency": currency,
        "custom_fields": None,
        "customer": customer,
        "customer_account": None,
        "customer_address": known.get("address"),
        "customer_email": known.get("email"),
        "customer_name": known.get("name"),
        "customer_phone": known.get("phone"),
        "customer_shipping": known.get("shipping"),
        "customer_tax_exempt": known.get("tax_exempt", "none"),
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": {"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{identity}/lines"},
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": None,
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": period[1],
        "period_start": period[0],
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": None,
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": None,
    }


def attribute_to_subscription(invoice: Body, subscription: str) -> None:
    """Makes it, and its lines, what the renewal of that subscription looks like."""
    invoice["billing_reason"] = "subscription_cycle"
    invoice["parent"] = {
        "type": "subscription_details",
        "quote_details": None,
        "subscription_details": {"metadata": {}, "subscription": subscription},
    }
    for line in invoice["lines"]["data"]:
        line["subscription"] = subscription


def finalize(account: Account, invoice: Body) -> Body:
    """Draft to open; an invoice over nothing is paid at once."""
    _require(invoice, "finalized", "draft")
    _settle_with_balance(account, invoice)
    number = len(account.shelf("invoice"))
    invoice.update(
        status="open",
        number=f"{invoice['id'][-8:].upper()}-{number:04}",
        effective_at=account.now,
        hosted_invoice_url=f"https://invoice.stripe.com/i/{invoice['id']}",
        invoice_pdf=f"https://pay.stripe.com/invoice/{invoice['id']}/pdf",
    )
    invoice["status_transitions"]["finalized_at"] = account.now
    emit(account, "invoice.finalized", invoice)
    return invoice if invoice["amount_due"] else pay(account, invoice)


def _settle_with_balance(account: Account, invoice: Body) -> None:
    """What the customer has in credit there is taken off, and what is too little to charge is put to what they owe."""
    customer = account.shelf("customer").get(invoice["customer"] or "", {})
    due = invoice["total"] + customer.get("balance", 0)
    smallest = _SMALLEST_CHARGE.get(invoice["currency"], 1)
    charged = invoice["collection_method"] == "charge_automatically"
    carried = due if due <= 0 or (charged and due < smallest) else 0
    invoice.update(starting_balance=customer.get("balance", 0), ending_balance=carried)
    invoice["amount_due"] = invoice["amount_remaining"] = due - carried
    if "balance" in customer:
        customer["balance"] = carried


def pay(account: Account, invoice: Body) -> Body:
    _require(invoice, "paid", "open", "uncollectible")
    invoice.update(
        status="paid",
        amount_paid=invoice["amount_due"],
        amount_remaining=0,
        attempted=True,
        attempt_count=invoice["attempt_count"] + (1 if invoice["amount_due"] else 0),
    )
    invoice["status_transitions"]["paid_at"] = account.now
    if invoice["amount_paid"]:
        account.keep(_payment(account, invoice))
    emit(account, "invoice.paid", invoice)
    return invoice


def void(account: Account, invoice: Body) -> Body:
    _require(invoice, "voided", "open", "uncollectible")
    invoice.update(status="void", amount_remaining=0)
    invoice["status_transitions"]["voided_at"] = account.now
    emit(account, "invoice.voided", invoice)
    return invoice


def mark_uncollectible(account: Account, invoice: Body) -> Body:
    _require(invoice, "marked uncollectible", "open")
    invoice["status"] = "uncollectible"
    invoice["status_transitions"]["marked_uncollectible_at"] = account.now
    emit(account, "invoice.marked_uncollectible", invoice)
    return invoice


def _payment(account: Account, invoice: Body) -> Body:
    """Which payment paid it."""
    return {
        "id": account.ids.new("inpay"),
        "object": "invoice_payment",
        "amount_paid": invoice["amount_paid"],
        "amount_requested": invoice["amount_due"],
        "created": account.now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"type": "payment_intent", "payment_intent": account.ids.new("pi")},
        "status": "paid",
        "status_transitions": {"canceled_at": None, "paid_at": account.now},
    }


STEPS = {
    "draft": (),
    "open": (finalize,),
    "paid": (finalize, pay),
    "void": (finalize, void),
    "uncollectible": (finalize, mark_uncollectible),
}
"""How an invoice comes from draft to each status."""


def _require(invoice: Body, deed: str, *statuses: str) -> None:
    if invoice["status"] not in statuses:
        raise bad_request(None, f"An invoice that is {invoice['status']} cannot be {deed}.")


def _create(account: Account, call: Call) -> Body:
    params = dict(call.params)
    if "customer" not in params:
        raise missing_parameter("customer")
    customer = account.get("customer", params.pop("customer"), "customer")
    if customer.get("deleted"):
        raise Problem(400, f"No such customer: '{customer['id']}'", code="resource_missing", param="customer")
    include = params.pop("pending_invoice_items_behavior", "exclude") == "include"
    if params.pop("discounts", "") != "":
        raise not_rehearsed("discounts on an invoice")
    fee, destination = params.pop("application_fee_amount", None), params.pop("transfer_data", None)
    currency = params.pop("currency", customer["currency"] or "usd").lower()
    invoice = new_invoice(account, customer["id"], currency, (account.now, account.now))
    _set_due_date(account, invoice, params)
    changed(invoice, params)
    split_invoice(account, invoice, fee, destination)
    if include:
        take_pending(account, invoice)
    account.keep(invoice)
    emit(account, "invoice.created", invoice)
    return invoice


def _set_due_date(account: Account, invoice: Body, params: dict[str, Any]) -> None:
    days = params.pop("days_until_due", None)
    if (params.get("collection_method") == "send_invoice") != (days is not None):
        raise bad_request(
            "days_until_due", "days_until_due goes with collection_method send_invoice, and only with it."
        )
    if days is not None:
        invoice["due_date"] = account.now + days * _DAY


def _retrieve(account: Account, call: Call) -> Body:
    return account.get("invoice", call.named["invoice"])


def _list(account: Account, call: Call) -> Body:
    return page(call, newest_first(account.shelf("invoice"), call, "collection_method", "customer", "status"))


def _update(account: Account, call: Call) -> Body:
    invoice = _retrieve(account, call)
    if invoice["status"] in ("paid", "void") and set(call.params) - {"metadata"}:
        raise bad_request(None, "Only the metadata of an invoice that is finished can be changed.")
    changed(invoice, call.params)
    return invoice


def _delete(account: Account, call: Call) -> Body:
    invoice = _retrieve(account, call)
    _require(invoice, "deleted", "draft")
    let_go(account, invoice)
    del account.shelf("invoice")[invoice["id"]]
    return {"id": invoice["id"], "object": "invoice", "deleted": True}


def _finalize(account: Account, call: Call) -> Body:
    invoice = finalize(account, _retrieve(account, call))
    changed(invoice, call.params)
    return invoice


def _void(account: Account, call: Call) -> Body:
    return void(account, _retrieve(account, call))


def _mark_uncollectible(account: Account, call: Call) -> Body:
    return mark_uncollectible(account, _retrieve(account, call))


ROUTES = (
    route(
        "POST",
        "/v1/invoices",
        _create,
        InvoiceCreateParams,
        "application_fee_amount collection_method currency customer days_until_due discounts "
        f"pending_invoice_items_behavior transfer_data {_UPDATABLE}",
    ),
    route("GET", "/v1/invoices", _list, InvoiceListParams, f"collection_method created customer status {PAGING}"),
    route("GET", "/v1/invoices/{invoice}", _retrieve, InvoiceRetrieveParams),
    route("POST", "/v1/invoices/{invoice}", _update, InvoiceUpdateParams, _UPDATABLE),
    route("DELETE", "/v1/invoices/{invoice}", _delete, InvoiceDeleteParams),
    route("POST", "/v1/invoices/{invoice}/finalize", _finalize, InvoiceFinalizeInvoiceParams, "auto_advance"),
    route("POST", "/v1/invoices/{invoice}/void", _void, InvoiceVoidInvoiceParams),
    route("POST", "/v1/invoices/{invoice}/mark_uncollectible", _mark_uncollectible, InvoiceMarkUncollectibleParams),
)
