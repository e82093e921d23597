"""Authorisations stored at Paystack that customers agreed to have charged, one each. The codes are secrets."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from tollkeeper.storage.database import change, first_row


@dataclass(frozen=True, slots=True)
class ChosenCard:
    """A row of `paystack_cards`."""

    user_id: str
    authorization_code: str = field(repr=False)
    email: str
    customer_code: str
    channel: str | None
    last4: str | None
    chosen_at: datetime


def chosen_card(connection: Connection, user_id: str) -> ChosenCard | None:
    """The card that is charged for a customer's invoices; None where they are asked to pay instead."""
    row = first_row(
        connection,
        """
        SELECT user_id, authorization_code, email, customer_code, channel, last4, chosen_at
        FROM paystack_cards WHERE user_id = :user
        """,
        user=user_id,
    )
    return None if row is None else ChosenCard(**row)


def save_card(connection: Connection, card: ChosenCard) -> None:
    """Choose a card, in place of one that was chosen before."""
    change(
        connection,
        """
        INSERT INTO paystack_cards (user_id, authorization_code, email, customer_code, channel, last4, chosen_at)
        VALUES (:user_id, :authorization_code, :email, :customer_code, :channel, :last4, :chosen_at)
        ON CONFLICT (user_id) DO UPDATE SET
            authorization_code = excluded.authorization_code, email = excluded.email,
            customer_code = excluded.customer_code, channel = excluded.channel, last4 = excluded.last4,
            chosen_at = excluded.chosen_at
        """,
        **asdict(card),
    )


def drop_card(connection: Connection, user_id: str) -> bool:
    """Charge no card any more; False where none was chosen."""
    return change(connection, "DELETE FROM paystack_cards WHERE user_id = :user", user=user_id) == 1
