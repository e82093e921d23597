"""Authorizing: which of a customer's cards stored at Paystack is charged for their invoices. None is, unless somebody chose it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from tollkeeper.domain.customer import validate_user_id
from tollkeeper.domain.errors import InvalidInput
from tollkeeper.payments.outcome import Failed, OutcomeUnknown, RateLimited, Refused, Trouble
from tollkeeper.payments.paystack import PaystackDidNotAnswer, PaystackPayments, PaystackRefused
from tollkeeper.payments.paystack_invoices import Card, Cards
from tollkeeper.payments.paystack_objects import Authorization, PaystackCustomer
from tollkeeper.storage.audit import record
from tollkeeper.storage.customers import load_customer
from tollkeeper.storage.database import Database
from tollkeeper.storage.paystack_cards import ChosenCard, chosen_card, drop_card, save_card

Found = TypeVar("Found")


def cards_of(database: Database) -> Cards:
    """By customer, the card to be charged, as it is at the moment it is asked for."""

    def card_of(user_id: str) -> Card | None:
        with database.transaction() as connection:
            chosen = chosen_card(connection, user_id)
        return None if chosen is None else Card(chosen.authorization_code, chosen.email)

    return card_of


def stored_cards(
    database: Database, payments: PaystackPayments, user_id: str
) -> tuple[tuple[Authorization, ...], ChosenCard | None]:
    """The cards that Paystack could charge again for a customer's address, and the one that is chosen."""
    with database.transaction() as connection:
        email = load_customer(connection, validate_user_id(user_id)).email
        chosen = chosen_card(connection, user_id)
    found = () if email is None else _reusable(_customer(payments, email))
    return found, chosen


def choose_card(database: Database, payments: PaystackPayments, user_id: str, last4: str, now: datetime) -> None:
    """Charge this card from the next invoice on; it is named by the last four digits, so that nobody has to see its code."""
    with database.transaction() as connection:
        email = load_customer(connection, validate_user_id(user_id)).email
    customer = None if email is None else _customer(payments, email)
    card = _the_one(_reusable(customer), last4)
    assert customer is not None, "without a customer there is no card"
    with database.transaction() as connection:
        load_customer(connection, user_id, lock=True)
        before = chosen_card(connection, user_id)
        chosen = ChosenCard(user_id, card.code, customer.email, customer.code, card.channel, card.last4, now)
        save_card(connection, chosen)
        record(
            connection,
            "customer.card_chosen",
            user_id,
            now,
            user_id=user_id,
            before=None if before is None else {"last4": before.last4, "channel": before.channel},
            after={"last4": card.last4, "channel": card.channel},
        )


def forget_card(database: Database, user_id: str, now: datetime) -> bool:
    """Ask the customer to pay each invoice again, from the next one on; False where no card was chosen."""
    with database.transaction() as connection:
        load_customer(connection, validate_user_id(user_id), lock=True)
        forgotten = drop_card(connection, user_id)
        if forgotten:
            record(connection, "customer.card_forgotten", user_id, now, user_id=user_id)
        return forgotten


def _customer(payments: PaystackPayments, email: str) -> PaystackCustomer | None:
    answer = payments.customer(email)
    if isinstance(answer, Refused) and answer.status == 404:
        return None
    return _answered(answer)


def _reusable(customer: PaystackCustomer | None) -> tuple[Authorization, ...]:
    return () if customer is None else tuple(card for card in customer.authorizations if card.reusable)


def _the_one(cards: Sequence[Authorization], last4: str) -> Authorization:
    found = {card.code: card for card in cards if card.last4 == last4}
    if len(found) != 1:
        ends = ", ".join(sorted({card.last4 for card in cards if card.last4})) or "none is stored"
        expected = "the last four digits of one card that Paystack can charge again"
        raise InvalidInput("card", f"{expected} ({ends}), and of no other")
    return next(iter(found.values()))


def _answered(answer: Found | Trouble) -> Found:
    if isinstance(answer, Refused):
        raise PaystackRefused(answer)
    if isinstance(answer, OutcomeUnknown | Failed | RateLimited):
        raise PaystackDidNotAnswer(answer)
    return answer
