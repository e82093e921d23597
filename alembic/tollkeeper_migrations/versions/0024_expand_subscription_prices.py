"""Expand: which prices a subscription has, so that it can be seen which ones are not its plan's any more.

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE subscriptions ADD COLUMN prices text[] NOT NULL DEFAULT '{}', ADD COLUMN follow_at timestamptz;
        COMMENT ON COLUMN subscriptions.follow_at IS 'when it is next looked at, where its prices are not its plan''s';
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE subscriptions DROP COLUMN follow_at, DROP COLUMN prices")
