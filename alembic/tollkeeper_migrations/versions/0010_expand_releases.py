"""Expand: that a person let a parked period pass.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_STATEMENTS = """
ALTER TABLE usage_periods ADD COLUMN released_at timestamptz;
CREATE INDEX usage_periods_parked ON usage_periods (period_start, user_id) WHERE status = 'parked';
COMMENT ON COLUMN usage_periods.released_at IS
    'a person looked at what was parked and let it pass: its amount parks it no more, a wrong sum still does';
"""


def upgrade() -> None:
    op.execute(_STATEMENTS)


def downgrade() -> None:
    op.execute(
        """
        DROP INDEX usage_periods_parked;
        ALTER TABLE usage_periods DROP COLUMN released_at;
        """
    )
