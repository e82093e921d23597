"""Expand: which of the authorisations that Paystack stores may be charged for a customer's invoices.

Revision ID: 0016
Revises: 0015
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE paystack_cards (
            user_id text PRIMARY KEY REFERENCES customers,
            authorization_code text NOT NULL CHECK (octet_length(authorization_code) BETWEEN 1 AND 255),
            email text NOT NULL CHECK (octet_length(email) BETWEEN 3 AND 320),
            customer_code text NOT NULL,
            channel text,
            last4 text,
            chosen_at timestamptz NOT NULL
        );
        COMMENT ON COLUMN paystack_cards.authorization_code IS 'a secret: with the API key it moves money';
        COMMENT ON COLUMN paystack_cards.email IS 'whom Paystack stored it for; it is charged under no other address';
        """
    )


def downgrade() -> None:
    op.execute("DROP TABLE paystack_cards")
