"""Receiving: what the payment side tells us. Proven, stored under its id, and only then applied.

An invoice moves forward only, so events may come twice, in any order, days late, or several at once. Money is never taken
over from an event: where it says another amount than ours, ours stays and an alarm is noted on the invoice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from tollkeeper.acting import acting_as
from tollkeeper.domain.customer import plain_text
from tollkeeper.domain.errors import InvalidInput, StoreUnavailable, TollkeeperError
from tollkeeper.payments.invoice_event import InvoiceEvent
from tollkeeper.payments.signature import verify_paystack, verify_stripe
from tollkeeper.payments.stripe import StripeDidNotAnswer, StripeRefused
from tollkeeper.services.heeding import heed, heed_payment
from tollkeeper.services.noting import note_alarm, note_moves, note_payment_failed
from tollkeeper.services.ringing import event_id_of, ring, without_secrets
from tollkeeper.services.subscribing import PaymentSide
from tollkeeper.storage.audit import record
from tollkeeper.storage.database import Database
from tollkeeper.storage.invoices import (
    Invoice,
    InvoiceStatus,
    lines_of,
    lock_by_period,
    lock_by_stripe_id,
    lock_invoice,
    name_stripe_invoice,
    save_status,
    sound_alarm,
)
from tollkeeper.storage.webhooks import (
    Provider,
    StoredWebhook,
    WebhookState,
    claim_webhook,
    due_webhooks,
    insert_webhook,
    is_stripe_customer,
    save_webhook,
)

log = logging.getLogger(__name__)

WAIT_FOR_INVOICE = timedelta(days=3)
"""How long an event about a customer of ours waits for the invoice that it is about."""
_MOST_FAILURES = 20

ALONE = PaymentSide()
"""Nothing but the database: events that have to be read at Stripe wait."""
_MOVES: Mapping[str, InvoiceStatus] = {
    "invoice.finalized": "finalized",
    "invoice.paid": "paid",
    "invoice.voided": "void",
    "invoice.marked_uncollectible": "uncollectible",
}
_PAYMENT_FAILED = "invoice.payment_failed"
# An uncollectible invoice can still be paid or voided; nothing follows those two.
_RANK: Mapping[InvoiceStatus, int] = {"draft": 0, "finalized": 1, "uncollectible": 2, "void": 3, "paid": 3}


class ForeignAccount(TollkeeperError):
    """An event of a connected account came, and we handle our own alone."""


class WrongMode(TollkeeperError):
    """An event of test mode came where live money is handled, or the other way round."""

    def __init__(self, livemode: bool) -> None:
        super().__init__(f"the event is of {'live' if livemode else 'test'} mode, the API key is not")


@dataclass(frozen=True, slots=True)
class Received:
    """An event that is stored. `state` is what was made of it so far; `pending` is tried again later."""

    event_id: str
    type: str
    duplicate: bool
    state: WebhookState


def receive_stripe(
    database: Database,
    body: bytes,
    header: bytes | str | None,
    secret: str,
    *,
    now: datetime,
    livemode: bool | None = None,
    side: PaymentSide = ALONE,
    at_once: bool = True,
) -> Received:
    """Take one event of Stripe's: once this returns it is stored for good, and with `at_once` applied if it can be.

    `livemode` is that of the API key, None where it is not known. Raises `SignatureRefused`, `WrongMode`, `ForeignAccount` or
    `InvalidInput` for what is not a proper event for us, and `StoreUnavailable` where it could not be stored.
    """
    event = verify_stripe(body, header, secret, now)
    return take_stripe_event(database, event, now=now, livemode=livemode, side=side, at_once=at_once)


def take_stripe_event(
    database: Database,
    event: dict[str, Any],
    *,
    now: datetime,
    livemode: bool | None = None,
    side: PaymentSide = ALONE,
    at_once: bool = True,
) -> Received:
    """The same for an event that is known to be Stripe's, such as one that was read there."""
    event_id, event_type = plain_text(event.get("id", ""), "id"), plain_text(event.get("type", ""), "type")
    if livemode is not None and isinstance(event.get("livemode"), bool) and event["livemode"] is not livemode:
        raise WrongMode(event["livemode"])
    if event.get("account") is not None or event.get("context") is not None:
        raise ForeignAccount("the event is of another account, one that is connected to ours")
    return _keep(database, "stripe", event_id, event_type, event, now, side, at_once=at_once)


def receive_paystack(
    database: Database, body: bytes, header: bytes | str | None, secret: str, *, now: datetime
) -> Received:
    """Take one event of Paystack's: once this returns it is stored for good, without the secrets that came in it.

    Raises `SignatureRefused` or `InvalidInput` for what is not a proper event, and `StoreUnavailable` where it could not be
    stored.
    """
    event = without_secrets(verify_paystack(body, header, secret))
    event_id, event_type = event_id_of(event)
    return _keep(database, "paystack", event_id, event_type, event, now)


def _keep(
    database: Database,
    provider: Provider,
    event_id: str,
    event_type: str,
    event: dict[str, Any],
    now: datetime,
    side: PaymentSide = ALONE,
    *,
    at_once: bool = True,
) -> Received:
    """Store an event, and make of it at once what can be made."""
    try:
        with database.transaction() as connection:
            fresh = insert_webhook(connection, provider, event_id, event_type, event, now)
    except DataError as error:
        # JSON that PostgreSQL cannot keep, such as a NUL in a string; nobody sends any.
        raise InvalidInput("body", "characters that can be stored") from error
    state = apply_webhook(database, provider, event_id, now=now, side=side) if at_once else None
    return Received(event_id, event_type, duplicate=not fresh, state=state or "pending")


def apply_webhook(
    database: Database, provider: Provider, event_id: str, *, now: datetime, side: PaymentSide = ALONE
) -> WebhookState | None:
    """Make of a stored event what can be made of it; None where that has to wait, or is somebody else's by now."""
    try:
        return _apply(database, provider, event_id, now, side)
    except (StoreUnavailable, DBAPIError):
        log.exception("webhook event %s is stored and waits to be applied", event_id)
        return None


def apply_pending_webhooks(database: Database, *, now: datetime, limit: int = 100, side: PaymentSide = ALONE) -> int:
    """Apply stored events that wait, at most `limit`; how many are done with after it."""
    with database.transaction() as connection:
        due = due_webhooks(connection, now, limit)
    states = [_apply(database, provider, event_id, now, side) for provider, event_id in due]
    return sum(state is not None and state != "pending" for state in states)


def _apply(
    database: Database, provider: Provider, event_id: str, now: datetime, side: PaymentSide
) -> WebhookState | None:
    """Make of an event what can be made of it; None where somebody else does so or has done."""
    with acting_as(f"{provider} {event_id}"):
        return _apply_as(database, provider, event_id, now, side)


def _apply_as(
    database: Database, provider: Provider, event_id: str, now: datetime, side: PaymentSide
) -> WebhookState | None:
    event: StoredWebhook | None = None
    try:
        with database.transaction() as connection:
            event = claim_webhook(connection, provider, event_id)
            if event is None:
                return None
            state, reason = _outcome(connection, event, now, side)
            _save(connection, event, state, now, reason)
            return state
    except (DataError, IntegrityError, InvalidInput, StripeDidNotAnswer, StripeRefused) as error:
        if event is None:
            raise
        log.exception("webhook event %s cannot be applied", event_id)
        hopeless = not isinstance(error, StripeDidNotAnswer) and event.attempts + 1 >= _MOST_FAILURES
        failed: WebhookState = "failed" if hopeless else "pending"
        with database.transaction() as connection:
            _save(connection, event, failed, now, type(error).__name__)
        return failed


def _save(connection: Connection, event: StoredWebhook, state: WebhookState, now: datetime, reason: str | None) -> None:
    save_webhook(connection, event.provider, event.event_id, state, now, reason)
    if state in ("applied", "failed"):  # the others change nothing, and there may be very many
        record(connection, f"webhook.{state}", event.event_id, now, after={"type": event.type}, reason=reason)


def _outcome(
    connection: Connection, event: StoredWebhook, now: datetime, side: PaymentSide
) -> tuple[WebhookState, str | None]:
    if event.provider == "paystack":
        return ring(connection, event, now)
    heeded = heed(connection, side, event, now)
    if heeded is not None:
        return heeded
    status = _MOVES.get(event.type)
    if status is None and event.type != _PAYMENT_FAILED:
        return "ignored", "nothing is made of this type"
    heed_payment(connection, side, event, now)
    about = InvoiceEvent(event.payload)
    if about.is_of_sign_up:
        return "applied", "what is paid at sign-up is on no invoice of ours"
    invoice = _find(connection, about)
    if invoice is None:
        return _without_invoice(connection, event, about, now)
    if about.id is not None and invoice.stripe_invoice_id not in (None, about.id):
        sound_alarm(connection, invoice.id, f"Stripe's {about.id} says that it is this invoice too")
        return "ignored", f"the invoice is Stripe's {invoice.stripe_invoice_id}"
    if about.id is not None:
        name_stripe_invoice(connection, invoice.id, about.id)
    if status is None:
        note_payment_failed(
            connection,
            invoice,
            now,
            attempt=about.attempts,
            next_attempt_at=about.next_attempt_at,
            payment_url=about.payment_url,
        )
        return "applied", None
    _compare(connection, invoice, about, status, now)
    if _RANK[status] > _RANK[invoice.status]:
        save_status(connection, invoice.id, status, about.moved_at(status) or event.received_at)
        note_moves(connection, [invoice], status, now)
    return "applied", None


def _find(connection: Connection, about: InvoiceEvent) -> Invoice | None:
    """Our invoice: by Stripe's id, else by our own in its metadata, else by customer and exact end of the period."""
    found = None if about.id is None else lock_by_stripe_id(connection, about.id)
    if found is None and about.our_id is not None:
        found = lock_invoice(connection, about.our_id)
    if found is None and about.our_id is None and about.customer is not None and about.period_end is not None:
        found = lock_by_period(connection, about.customer, about.period_end)
        if found is None and about.id is not None:
            # An event beside this one may have named it while this one waited for the row.
            found = lock_by_stripe_id(connection, about.id)
    return found


def _without_invoice(
    connection: Connection, event: StoredWebhook, about: InvoiceEvent, now: datetime
) -> tuple[WebhookState, str]:
    """It may have come before our own close; of a customer who is not ours nothing is to be expected."""
    ours = about.our_id is not None or (about.customer is not None and is_stripe_customer(connection, about.customer))
    if ours and now - event.received_at < WAIT_FOR_INVOICE:
        return "pending", "its invoice is not here yet"
    return "ignored", "it is about no invoice of ours"


def _compare(
    connection: Connection, invoice: Invoice, about: InvoiceEvent, status: InvoiceStatus, now: datetime
) -> None:
    """Note on the invoice where Stripe's money is not ours."""
    fees = sum(line.amount for line in lines_of(connection, invoice.id) if line.kind == "base_fee")
    for alarm in about.differences(invoice.total_amount, fees, invoice.currency, status):
        log.error("invoice %s: %s", invoice.id, alarm)
        sound_alarm(connection, invoice.id, alarm)
        note_alarm(connection, f"invoice {invoice.id}: {alarm}", now, user_id=invoice.user_id)
