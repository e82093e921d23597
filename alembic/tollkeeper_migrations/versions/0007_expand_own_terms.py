"""Expand: terms of a customer's own, in place of what their plan says.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE customers ADD COLUMN own_spend_cap bigint CHECK (own_spend_cap >= 0),
    ADD COLUMN own_discount_percent numeric CHECK (own_discount_percent BETWEEN 0 AND 100),
    ADD COLUMN own_prices jsonb CHECK (jsonb_typeof(own_prices) = 'array');
COMMENT ON COLUMN customers.own_spend_cap IS
    'in place of the plan''s, minor units; an UPDATE is in force at the next request';
COMMENT ON COLUMN customers.own_prices IS
    'before the plan''s; what is charged is in the customer''s own plan_versions, so change it by customers override';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        "ALTER TABLE customers DROP COLUMN own_prices, DROP COLUMN own_discount_percent, DROP COLUMN own_spend_cap"
    )
