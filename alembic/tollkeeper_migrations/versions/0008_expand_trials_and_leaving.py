"""Expand: until when a customer's trial runs, and since when a customer is gone. Both cut periods in two.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE customers ADD COLUMN trial_end timestamptz, ADD COLUMN closed_at timestamptz;
        COMMENT ON COLUMN customers.trial_end IS
            'fixed when the customer was added: a period that it lies in is two, and the one before it is free';
        COMMENT ON COLUMN customers.closed_at IS 'when the customer left: their last period ends here';
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE customers DROP COLUMN closed_at, DROP COLUMN trial_end")
