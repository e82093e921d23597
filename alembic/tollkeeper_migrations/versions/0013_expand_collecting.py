"""Expand: who collects invoices that we price ourselves, and a ledger of what was asked of them.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE plans
    ADD COLUMN collector text CHECK (collector IN ('stripe', 'paystack')),
    ADD COLUMN days_until_due smallint CHECK (days_until_due BETWEEN 0 AND 365),
    ADD COLUMN split jsonb CHECK (jsonb_typeof(split) = 'object');
COMMENT ON COLUMN plans.days_until_due IS 'within how many days a sent invoice is to be paid; null: it is charged at once';
COMMENT ON COLUMN plans.split IS 'which vendors get how many percent of an invoice, and the fee that the platform has first';

CREATE TABLE collections (
    invoice_id uuid PRIMARY KEY REFERENCES invoices ON DELETE CASCADE,
    user_id text NOT NULL REFERENCES customers,
    collector text NOT NULL CHECK (collector IN ('stripe', 'stripe_items', 'paystack')),
    demand jsonb CHECK (jsonb_typeof(demand) = 'object'),
    external_id text CHECK (octet_length(external_id) BETWEEN 1 AND 255),
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sending', 'issued', 'nothing_due', 'parked')),
    key_attempt integer NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    first_sent_at timestamptz,
    last_sent_at timestamptz,
    next_attempt_at timestamptz,
    issued_at timestamptz,
    last_error text,
    created_at timestamptz NOT NULL,
    CHECK (state <> 'issued' OR (external_id IS NOT NULL AND demand IS NOT NULL AND issued_at IS NOT NULL))
);
CREATE UNIQUE INDEX collections_external_id ON collections (collector, external_id);
CREATE INDEX collections_owed ON collections (next_attempt_at) WHERE state IN ('pending', 'sending', 'issued');
COMMENT ON TABLE collections IS 'one row for each invoice that somebody is told to collect; written before every call';
COMMENT ON COLUMN collections.demand IS 'what is sent, frozen with the first call: a repeated call has the same body';
COMMENT ON COLUMN collections.external_id IS 'the collector''s own name for the invoice, once it is known';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE collections;
        ALTER TABLE plans DROP COLUMN split, DROP COLUMN days_until_due, DROP COLUMN collector;
        """
    )
