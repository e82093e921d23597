"""Expand: reports that missed Stripe's own invoice and are settled by items, of which an invoice may have several sets.

Revision ID: 0025
Revises: 0024
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE stripe_reports DROP CONSTRAINT stripe_reports_state_check,
    ADD CONSTRAINT stripe_reports_state_check
        CHECK (state IN ('pending', 'sending', 'acknowledged', 'confirmed', 'rejected', 'missed')) NOT VALID;
COMMENT ON COLUMN stripe_reports.state IS 'missed: Stripe priced the period without it, an invoice item has its money';

ALTER TABLE collections ADD COLUMN part smallint NOT NULL DEFAULT 0, DROP CONSTRAINT collections_pkey,
    ADD PRIMARY KEY (invoice_id, part);
COMMENT ON COLUMN collections.part IS '0: what was known at the close; more: items for reports that missed Stripe''s invoice';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DELETE FROM collections WHERE part > 0;
        ALTER TABLE collections DROP CONSTRAINT collections_pkey, DROP COLUMN part, ADD PRIMARY KEY (invoice_id);
        UPDATE stripe_reports SET state = 'rejected' WHERE state = 'missed';
        ALTER TABLE stripe_reports DROP CONSTRAINT stripe_reports_state_check,
            ADD CONSTRAINT stripe_reports_state_check
                CHECK (state IN ('pending', 'sending', 'acknowledged', 'confirmed', 'rejected')) NOT VALID;
        """
    )
