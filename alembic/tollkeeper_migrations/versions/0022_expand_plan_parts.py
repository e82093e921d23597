"""Expand: the parts of a period in which the plan changes.

Revision ID: 0022
Revises: 0021
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE usage_periods ADD COLUMN plan_parts jsonb CHECK (jsonb_typeof(plan_parts) = 'array'),
    ADD COLUMN billed_plan_parts jsonb CHECK (jsonb_typeof(billed_plan_parts) = 'array');
COMMENT ON COLUMN usage_periods.plan_parts IS
    'null: one plan has the whole period; else by start the plan, version, share of the time and totals of each part';
COMMENT ON COLUMN usage_periods.billed_plan_parts IS 'the parts as the last close froze them';
COMMENT ON COLUMN usage_periods.plan_id IS 'of several parts, the last one''s';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute("ALTER TABLE usage_periods DROP COLUMN billed_plan_parts, DROP COLUMN plan_parts")
