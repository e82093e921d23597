"""Heeding: what is made of the events of Stripe that are not about the standing of an invoice.

Subscriptions and checkouts are read at Stripe as they are now. Failed payments, refunds and disputes are written down under
ids of Stripe's, so the same word twice is one word. Usage that Stripe took and then threw away becomes a rejected report.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import Connection

from tollkeeper.payments.stripe_selling import StripeSelling
from tollkeeper.services.dunning import settle_access
from tollkeeper.services.noting import note_alarm
from tollkeeper.services.subscribing import PaymentSide, refresh_checkout, refresh_subscription
from tollkeeper.storage.dunning import note_failure, note_settled, user_of_stripe_customer
from tollkeeper.storage.invoices import load_invoice, lock_by_stripe_id, sound_alarm
from tollkeeper.storage.refunds import Refund, save_refund
from tollkeeper.storage.reports import reject_reported
from tollkeeper.storage.webhooks import StoredWebhook, WebhookState

log = logging.getLogger(__name__)

Outcome: TypeAlias = tuple[WebhookState, str | None]
Reader: TypeAlias = Callable[[Connection, PaymentSide, StripeSelling, StoredWebhook, datetime], Outcome]

WAIT_FOR_KEY = timedelta(days=3)
_NOT_OURS: Outcome = ("ignored", "it is about nobody of ours")
_SETTLED = ("invoice.paid", "invoice.voided")


def heed(connection: Connection, side: PaymentSide, event: StoredWebhook, now: datetime) -> Outcome | None:
    """What became of an event; None for types that are none of this module's."""
    if event.type in _QUIET:
        return "applied", None
    reader = _READERS.get(event.type)
    if reader is None:
        return None
    if side.selling is None:
        waiting = now - event.received_at < WAIT_FOR_KEY
        return "pending" if waiting else "ignored", "STRIPE_API_KEY is not set, so nothing can be read at Stripe"
    return reader(connection, side, side.selling, event, now)


def heed_payment(connection: Connection, side: PaymentSide, event: StoredWebhook, now: datetime) -> bool:
    """Write down that a payment of a customer of ours failed, or that its invoice is settled; whether it was one."""
    invoice = about(event)
    user_id = user_of_stripe_customer(connection, _id(invoice.get("customer")) or "")
    invoice_id = _id(invoice.get("id"))
    if user_id is None or invoice_id is None:
        return False
    if event.type == "invoice.payment_failed":
        attempt = invoice.get("attempt_count")
        note_failure(connection, invoice_id, user_id, _happened_at(event), attempt if type(attempt) is int else 1)
    elif event.type in _SETTLED:
        note_settled(connection, invoice_id, user_id, now)
    settle_access(connection, user_id, now, grace=side.grace, default_plan=side.default_plan)
    return True


def about(event: StoredWebhook) -> Mapping[str, Any]:
    """The object of an event, empty where it has none of the right shape."""
    return _mapping(_mapping(event.payload.get("data")).get("object"))


def _subscription(
    connection: Connection, side: PaymentSide, selling: StripeSelling, event: StoredWebhook, now: datetime
) -> Outcome:
    subscription_id = _id(about(event).get("id"))
    if subscription_id is None or not refresh_subscription(connection, side, selling, subscription_id, now):
        return _NOT_OURS
    return "applied", None


def _checkout(
    connection: Connection, side: PaymentSide, selling: StripeSelling, event: StoredWebhook, now: datetime
) -> Outcome:
    session_id = _id(about(event).get("id"))
    failed = event.type == "checkout.session.async_payment_failed"
    if session_id is None or not refresh_checkout(connection, side, selling, session_id, now, failed=failed):
        return _NOT_OURS
    return "applied", None


def _refund(
    connection: Connection, side: PaymentSide, selling: StripeSelling, event: StoredWebhook, now: datetime
) -> Outcome:
    charge = about(event)
    return _money_back(connection, selling, event, now, "refund", charge.get("amount_refunded"), "refunded")


def _dispute(
    connection: Connection, side: PaymentSide, selling: StripeSelling, event: StoredWebhook, now: datetime
) -> Outcome:
    dispute = about(event)
    status = dispute.get("status")
    status = status if isinstance(status, str) else "disputed"
    return _money_back(connection, selling, event, now, "dispute", dispute.get("amount"), status)


def _money_back(
    connection: Connection,
    selling: StripeSelling,
    event: StoredWebhook,
    now: datetime,
    kind: str,
    amount: object,
    status: str,
) -> Outcome:
    """Note on our invoice that money went back for it. Our total stays: what was owed was owed."""
    thing = about(event)
    identity, payment, currency = _id(thing.get("id")), _id(thing.get("payment_intent")), thing.get("currency")
    if identity is None or payment is None or type(amount) is not int or amount < 0 or not isinstance(currency, str):
        return "ignored", "it names no payment"
    stripe_invoice_id = selling.invoice_paid_by(payment)
    invoice = None if stripe_invoice_id is None else lock_by_stripe_id(connection, stripe_invoice_id)
    if invoice is None:
        return "ignored", "it is about no invoice of ours"
    refund = Refund(identity, invoice.id, kind, amount, currency.lower()[:3], status[:60], _happened_at(event))
    if save_refund(connection, refund):
        said = "was refunded" if kind == "refund" else f"is disputed ({status[:60]})"
        alarm = f"{amount} {refund.currency} of Stripe's {stripe_invoice_id} {said}: {identity}"
        sound_alarm(connection, invoice.id, alarm)
        note_alarm(connection, f"invoice {invoice.id}: {alarm}", now, user_id=invoice.user_id)
    return "applied", None


def _bad_usage(
    connection: Connection, side: PaymentSide, selling: StripeSelling, event: StoredWebhook, now: datetime
) -> Outcome:
    """Stripe could not count events that it had taken. It names samples only; the sums that are read back show the rest."""
    thin = selling.thin_event(event.event_id)
    if thin is None:
        return _NOT_OURS
    rejected = 0
    for identifier, reason in _samples(thin):
        for invoice_id in reject_reported(connection, identifier, reason):
            rejected += 1
            alarm = f"Stripe could not count what was reported: {reason}"
            sound_alarm(connection, invoice_id, alarm)
            note_alarm(
                connection, f"invoice {invoice_id}: {alarm}", now, user_id=load_invoice(connection, invoice_id).user_id
            )
    said = f"Stripe could not count usage ({event.type}): {rejected} reports of ours among its samples"
    log.error(said)
    if not rejected:
        note_alarm(connection, said, now, about=event.event_id)
    return "applied", f"{rejected} reports of ours among its samples"


def _samples(thin: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Identifier and reason of every sample."""
    reason = _mapping(_mapping(thin.get("data")).get("reason"))
    for kind in _listed(reason.get("error_types")):
        for sample in _listed(kind.get("sample_errors")):
            identifier = _id(_mapping(sample.get("request")).get("identifier"))
            if identifier is not None:
                yield identifier, f"{kind.get('code')}: {sample.get('error_message')}"[:500]


def _happened_at(event: StoredWebhook) -> datetime:
    """When Stripe says that it happened, never later than it was heard."""
    created = event.payload.get("created")
    if type(created) is not int or not 0 < created <= event.received_at.timestamp():
        return event.received_at
    return datetime.fromtimestamp(created, UTC)


def _id(value: object) -> str | None:
    """The id of an object, which may have come expanded."""
    identity = value.get("id") if isinstance(value, dict) else value
    return identity if isinstance(identity, str) and 0 < len(identity) <= 255 else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[Mapping[str, Any]]:
    return [_mapping(one) for one in value] if isinstance(value, list) else []


_QUIET = frozenset({"invoice.created", "test_helpers.test_clock.ready"})
"""Nothing has to be done: usage is reported when a period closes, and a test clock that stands still is ready."""
_READERS: Mapping[str, Reader] = {
    "customer.subscription.created": _subscription,
    "customer.subscription.updated": _subscription,
    "customer.subscription.deleted": _subscription,
    "customer.subscription.paused": _subscription,
    "customer.subscription.resumed": _subscription,
    "checkout.session.completed": _checkout,
    "checkout.session.async_payment_succeeded": _checkout,
    "checkout.session.async_payment_failed": _checkout,
    "checkout.session.expired": _checkout,
    "charge.refunded": _refund,
    "charge.dispute.created": _dispute,
    "charge.dispute.updated": _dispute,
    "charge.dispute.closed": _dispute,
    "v1.billing.meter.error_report_triggered": _bad_usage,
    "v1.billing.meter.no_meter_found": _bad_usage,
}
