"""Paying invoices, and which payment paid which invoice."""

from __future__ import annotations

from stripe.params import InvoicePaymentListParams, InvoicePayParams

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.charging import decline, settle
from tollkeeper.testing.stripe_standin.listing import PAGING, newest_first, page
from tollkeeper.testing.stripe_standin.problem import Problem
from tollkeeper.testing.stripe_standin.resources.payment_methods import pays
from tollkeeper.testing.stripe_standin.routing import Call, route


def _pay(account: Account, call: Call) -> Body:
    """Charges the customer's card. A customer without one is taken to pay in some other way."""
    invoice = account.get("invoice", call.named["invoice"])
    customer = account.shelf("customer")[invoice["customer"]]
    with account.at(account.time_of(customer["id"])):
        has_card = not customer.get("deleted") and customer["invoice_settings"]["default_payment_method"]
        if invoice["status"] == "open" and has_card and not pays(account, customer["id"]):
            decline(account, invoice)
            raise Problem(402, "Your card was declined.", error_type="card_error", code="card_declined")
        return settle(account, invoice)


def _list(account: Account, call: Call) -> Body:
    found = newest_first(account.shelf("invoice_payment"), call, "invoice", "status")
    wanted = call.params.get("payment")
    return page(call, [one for one in found if wanted is None or wanted.items() <= one["payment"].items()])


ROUTES = (
    route("POST", "/v1/invoices/{invoice}/pay", _pay, InvoicePayParams),
    route("GET", "/v1/invoice_payments", _list, InvoicePaymentListParams, f"created invoice payment status {PAGING}"),
)
