"""Expand: a request that used several models keeps what it used of each, so that each is priced as itself.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE usage_events ADD COLUMN parts jsonb CHECK (jsonb_typeof(parts) = 'array');
        COMMENT ON COLUMN usage_events.parts IS
            'one usage for each model, where the request used several; the counts of the row are their sums';
        CREATE INDEX usage_events_parts ON usage_events (user_id, "timestamp") WHERE parts IS NOT NULL;
        """
    )


def downgrade() -> None:
    op.execute("ALTER TABLE usage_events DROP COLUMN parts")
