"""Charging an invoice, and what becomes of its subscription."""

from __future__ import annotations

from tollkeeper.testing.stripe_standin.account import Account, Body
from tollkeeper.testing.stripe_standin.events import emit
from tollkeeper.testing.stripe_standin.resources.invoices import pay
from tollkeeper.testing.stripe_standin.resources.payment_methods import pays

_NEXT_TRY = 3 * 86_400


def charge(account: Account, invoice: Body) -> bool:
    """Tries to collect an open invoice from the customer's card; whether it was paid."""
    if not pays(account, invoice["customer"]):
        decline(account, invoice)
        return False
    settle(account, invoice)
    return True


def settle(account: Account, invoice: Body) -> Body:
    """The invoice is paid, and its subscription in order."""
    pay(account, invoice)
    subscription = subscription_of(account, invoice)
    if subscription is not None and subscription["status"] in ("past_due", "incomplete", "unpaid"):
        change_status(account, subscription, "active")
    return invoice


def decline(account: Account, invoice: Body) -> None:
    """The card was declined: Stripe will try again, and the subscription is past due."""
    attempts = invoice["attempt_count"] + 1
    invoice.update(attempted=True, attempt_count=attempts, next_payment_attempt=account.now + _NEXT_TRY)
    emit(account, "invoice.payment_failed", invoice)
    subscription = subscription_of(account, invoice)
    if subscription is not None and subscription["status"] == "active":
        change_status(account, subscription, "past_due")


def change_status(account: Account, subscription: Body, status: str) -> None:
    """A subscription gets another status, and says so."""
    subscription["status"] = status
    if status == "canceled":
        subscription["ended_at"] = account.now
        subscription["canceled_at"] = subscription["canceled_at"] or account.now
        emit(account, "customer.subscription.deleted", subscription)
        return
    emit(account, "customer.subscription.updated", subscription)
    if status == "paused":
        emit(account, "customer.subscription.paused", subscription)


def subscription_of(account: Account, invoice: Body) -> Body | None:
    """The subscription whose invoice this is."""
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    return account.shelf("subscription").get(details.get("subscription", ""))
