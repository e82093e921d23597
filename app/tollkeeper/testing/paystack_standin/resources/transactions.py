"""Transactions: charges of stored authorisations, and what a payment request was paid with. A reference is used once."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tollkeeper.testing.paystack_standin import params as kinds
from tollkeeper.testing.paystack_standin.account import Body, Integration
from tollkeeper.testing.paystack_standin.problem import Problem, invalid
from tollkeeper.testing.paystack_standin.routing import Reply, Route


def new_transaction(
    integration: Integration, reference: str, amount: int, about: dict[str, Any], customer: Body
) -> Body:
    """A transaction that is under way, for `about`'s currency."""
    transaction: Body = {
        "id": integration.number(),
        "domain": "test",
        "status": "processing",
        "reference": reference,
        "amount": amount,
        "message": None,
        "gateway_response": "Processing",
        "paid_at": None,
        "created_at": integration.now,
        "channel": "card",
        "currency": about.get("currency", "NGN"),
        "metadata": "",
        "fees": None,
        "authorization": {},
        "customer": deepcopy(customer),
    }
    integration.transactions[reference] = transaction
    return transaction


def finish(integration: Integration, transaction: Body, status: str) -> None:
    """Bring a transaction to its end; a success is an event, a failure is none."""
    transaction["status"] = status
    transaction["gateway_response"] = {"success": "Approved", "failed": "Insufficient Funds"}.get(status, "Processing")
    if status == "success":
        transaction["paid_at"] = integration.now
        integration.happened("charge.success", transaction)


def charge_authorization(integration: Integration, params: dict[str, Any], _: str) -> Reply:
    if params.get("reference") in integration.transactions:
        raise invalid("Duplicate Transaction Reference", "duplicate_reference")
    card = integration.cards.get(params["authorization_code"])
    if card is None or card.email != params["email"].lower():
        raise invalid("Authorization code is invalid for this customer", "invalid_authorization_code")
    if not card.reusable:
        raise invalid("Authorization is not reusable", "authorization_not_reusable")
    reference = params.get("reference") or integration.ids.new("t", 12).replace("_", "-")
    customer = integration.customer(card.email)
    transaction = new_transaction(integration, reference, params["amount"], params, customer)
    transaction["authorization"] = card.body()
    finish(integration, transaction, card.next_outcome())
    return Reply("Charge attempted", deepcopy(transaction))


def verify(integration: Integration, _: dict[str, Any], reference: str) -> Reply:
    transaction = integration.transactions.get(reference)
    if transaction is None:
        raise Problem(404, "Transaction reference not found.", "transaction_not_found")
    return Reply("Verification successful", deepcopy(transaction))


_CHARGE: dict[str, kinds.Check | None] = {
    "email": kinds.text,
    "amount": kinds.amount,
    "authorization_code": kinds.text,
    "reference": kinds.reference,
    "currency": kinds.currency,
    "queue": kinds.flag,
    "metadata": None,
    "split_code": None,
    "split": None,
    "subaccount": None,
    "transaction_charge": None,
    "bearer": None,
}

ROUTES = (
    Route(
        "POST", "/transaction/charge_authorization", charge_authorization, _CHARGE, "email amount authorization_code"
    ),
    Route("GET", "/transaction/verify/{}", verify, {}),
)
