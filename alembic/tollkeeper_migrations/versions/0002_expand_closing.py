"""Expand: what the close remembers. Which periods it has looked at, late usage to be found fast, totals carried forward.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE customers ADD COLUMN next_period_end timestamptz;
CREATE INDEX customers_next_period_end ON customers (coalesce(next_period_end, created_at));
COMMENT ON COLUMN customers.next_period_end IS
    'end of the first period that the close has not looked at yet; null: none was, since the customer was added';

CREATE INDEX usage_periods_late ON usage_periods (user_id, period_start)
    WHERE status = 'closed' AND totals <> billed_totals;

ALTER TABLE invoices ADD COLUMN carried bigint NOT NULL DEFAULT 0;
CREATE INDEX invoices_carried ON invoices (user_id) WHERE carried <> 0;
COMMENT ON COLUMN invoices.carried IS
    'above 0: a negative total that was moved on to later invoices; below 0: taken over from earlier ones';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX invoices_carried;
        ALTER TABLE invoices DROP COLUMN carried;
        DROP INDEX usage_periods_late;
        DROP INDEX customers_next_period_end;
        ALTER TABLE customers DROP COLUMN next_period_end;
        """
    )
