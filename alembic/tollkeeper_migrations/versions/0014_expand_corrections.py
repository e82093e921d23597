"""Expand: drafts that are voided or drafted anew, and adjustments by hand.

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE invoices ADD COLUMN void_reason text, ADD COLUMN replaced boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT invoices_replaced_are_void CHECK (NOT replaced OR status = 'void') NOT VALID;
COMMENT ON COLUMN invoices.replaced IS
    'void because its period was drafted anew: what stands on it bills nothing; what stands on any other void one is written off';

CREATE TABLE adjustments (
    id uuid PRIMARY KEY,
    user_id text NOT NULL REFERENCES customers,
    currency text NOT NULL CHECK (currency ~ '^[a-z]{3}$'),
    amount bigint NOT NULL CHECK (amount <> 0),
    reason text NOT NULL,
    author text NOT NULL,
    created_at timestamptz NOT NULL,
    invoice_id uuid REFERENCES invoices
);
CREATE INDEX adjustments_waiting ON adjustments (user_id) WHERE invoice_id IS NULL;
CREATE INDEX adjustments_invoice_id ON adjustments (invoice_id);
COMMENT ON TABLE adjustments IS 'what a person adds to or takes off a customer''s next invoice, minor units';
COMMENT ON COLUMN adjustments.invoice_id IS 'the invoice that it stands on; null: it waits for the next one';

ALTER TABLE invoice_line_items ADD COLUMN adjustment_id uuid REFERENCES adjustments,
    ADD COLUMN since_revision smallint NOT NULL DEFAULT 1;
UPDATE invoice_line_items SET since_revision = revision WHERE kind = 'late_usage';
COMMENT ON COLUMN invoice_line_items.since_revision IS
    'the line bills the period''s events of this revision up to the other one';

ALTER TABLE credit_entries DROP CONSTRAINT credit_entries_kind_check, DROP CONSTRAINT credit_entries_check,
    DROP CONSTRAINT credit_entries_check1,
    ADD CONSTRAINT credit_entries_kind_check CHECK (kind IN ('grant', 'renewal', 'draw', 'expiry', 'return')),
    ADD CONSTRAINT credit_entries_sign CHECK (
        CASE WHEN kind IN ('grant', 'renewal', 'return') THEN amount > 0 ELSE amount < 0 END),
    ADD CONSTRAINT credit_entries_invoice CHECK ((kind IN ('draw', 'return')) = (invoice_id IS NOT NULL));
CREATE UNIQUE INDEX credit_entries_returned_once ON credit_entries (grant_id, invoice_id) WHERE kind = 'return';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX credit_entries_returned_once;
        ALTER TABLE credit_entries DROP CONSTRAINT credit_entries_kind_check, DROP CONSTRAINT credit_entries_sign,
            DROP CONSTRAINT credit_entries_invoice,
            ADD CONSTRAINT credit_entries_kind_check CHECK (kind IN ('grant', 'renewal', 'draw', 'expiry')),
            ADD CONSTRAINT credit_entries_check CHECK (
                CASE WHEN kind IN ('grant', 'renewal') THEN amount > 0 ELSE amount < 0 END),
            ADD CONSTRAINT credit_entries_check1 CHECK ((kind = 'draw') = (invoice_id IS NOT NULL));
        ALTER TABLE invoice_line_items DROP COLUMN adjustment_id, DROP COLUMN since_revision;
        DROP TABLE adjustments;
        ALTER TABLE invoices DROP COLUMN void_reason, DROP COLUMN replaced;
        """
    )
